"""HTMX: the only file that reads or writes HX- headers. Without it every page still works; with it parts refresh alone.

A view whose page has live parts::

    return page_or_partial("runs/show.html", "progress", "steps", run=run)

The page's template has ``{% block progress %}``; an element in it asks for ``?_b=progress`` and gets that block alone,
rendered from the same context. A block rendered alone runs nothing outside itself: what it needs is in its context or is
a global (`ui`, `forms`, `charts`, `banner`, `icon`, `url_for`, ...).
"""

from __future__ import annotations

import json
from typing import Any

from flask import Response, after_this_request, flash, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from jinja2_fragments.flask import render_block

SWAP_MORPH = "outerMorph"
"""How a live part replaces itself: keeps focus, typed text and open menus. "outerHTML" with htmx 2."""

CONFIG = {
    "includeIndicatorCSS": False,  # an inline style sheet, which our policy forbids
    "history": "reload",
    "defaultTimeout": 15000,
    "noSwap": [204, 304, "5xx"],
    "morphIgnore": ["data-htmx-powered", "open"],
}
"""For <meta name="htmx-config">: an answer 204 changes nothing, an error of the server is never shown inside a page."""


def is_htmx() -> bool:
    """Whether htmx asks, so that an answer may be a part of a page."""
    return request.headers.get("HX-Request") == "true"


def page_or_partial(template: str, *blocks: str, **context: Any) -> Response:
    """The whole page; or, when htmx asks for one of ``blocks`` by ``?_b=``, that block alone. Same template, same context."""
    wanted = request.args.get("_b", "")
    partial = is_htmx() and wanted in blocks
    body = render_block(template, wanted, **context) if partial else render_template(template, **context)
    response = make_response(body)
    response.vary.add("HX-Request")
    if partial:
        response.headers["Cache-Control"] = "no-store"
    return response


def nothing_new() -> Response:
    """204: what the page shows is still true."""
    return Response(status=204)


def see_other(target: str, **values: Any) -> ResponseReturnValue:
    """Answer a POST by leading to a page: 303, or for htmx a whole new page. ``target`` is an endpoint or a path with "/"."""
    url = target if target.startswith("/") else url_for(target, **values)
    if is_htmx():
        return Response(status=200, headers={"HX-Redirect": url})
    return redirect(url, code=303)


def leave_page(url: str) -> ResponseReturnValue:
    """Send the browser elsewhere because it may not have what it asked for: 303, or for htmx 401 and a whole new page."""
    if is_htmx():
        return Response(status=401, headers={"HX-Redirect": url})
    return redirect(url, code=303)


def toast(text: str, kind: str = "ok") -> None:
    """Tell the person what was done: on the page at once (htmx) or on the next page. ``kind``: ok, run, warn or fail."""
    if not is_htmx():
        flash(text, kind)
        return

    @after_this_request
    def announce(response: Response) -> Response:
        if "HX-Redirect" in response.headers:
            flash(text, kind)
        else:
            response.headers["HX-Trigger"] = json.dumps({"toast": {"text": text, "kind": kind}})
        return response
