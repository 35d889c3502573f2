"""The web door: ``create_app`` reads the settings, wires the rooms behind it and says who may come in."""

from __future__ import annotations

from pathlib import Path

from flask import Flask
from flask.sessions import SecureCookieSessionInterface
from werkzeug.middleware.proxy_fix import ProxyFix
from whitenoise import WhiteNoise

from webapp import logs
from webapp.assembly import assemble
from webapp.services.wiring import Wiring, install
from webapp.settings import VERSION, Settings, read_settings
from webapp.store.migrate import attach_migrations
from webapp.web import access, context, errors, filters, headers
from webapp.web.bodies import HouseRequest
from webapp.web.routes import BLUEPRINTS

ROOT = Path(__file__).resolve().parents[1]
LARGEST_REQUEST_BYTES = 1024 * 1024
KEPT_SECONDS = 5.0
YEAR_SECONDS = 365 * 24 * 3600


def create_app(settings: Settings | None = None, wiring: Wiring | None = None) -> Flask:
    """The WSGI application. Redis need not be up, and neither need the database be migrated.

    Args:
        settings: Read from the environment when None.
        wiring: For tests that bring their own queue; the one of the settings when None.
    """
    chosen = settings or read_settings()
    if settings is None:
        logs.set_up(chosen.log_level)
    app = Flask(
        "webapp",
        root_path=str(ROOT),
        instance_path=str(chosen.data_directory),
        template_folder="templates",
        static_folder="static",
    )
    app.request_class = HouseRequest
    app.config.from_mapping(_flask_config(chosen))
    assemble(app, chosen)
    attach_migrations(app)
    if wiring is not None:
        install(wiring)
    headers.set_up(app)
    errors.set_up(app)
    access.set_up(app)
    filters.register(app)
    context.set_up(app)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    access.public(app.view_functions["static"])
    access.refuse_undeclared(app)
    _add_middleware(app, chosen)
    return app


def _flask_config(settings: Settings) -> dict[str, object]:
    prefix = "__Host-" if settings.cookie_secure else ""
    return {
        "SECRET_KEY": settings.secret_key,
        "SESSION_COOKIE_NAME": f"{prefix}holdfast-page",
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Lax",
        "SESSION_COOKIE_SECURE": settings.cookie_secure,
        "SESSION_COOKIE_PATH": "/",
        "MAX_CONTENT_LENGTH": LARGEST_REQUEST_BYTES,
        "PROVIDE_AUTOMATIC_OPTIONS": False,
        "TRUSTED_HOSTS": list(settings.allowed_hosts) or None,
        "HOLDFAST_VERSION": VERSION,
        "LAYOUT_KEPT_SECONDS": KEPT_SECONDS * min(settings.poll_scale, 1.0),
        "UI_POLL_SCALE": settings.poll_scale,
    }


def _add_middleware(app: Flask, settings: Settings) -> None:
    """Static files come first and never reach Flask; X-Forwarded-* count only when a proxy in front was declared."""
    app.session_interface = _PageCookie()
    served = WhiteNoise(
        app.wsgi_app,
        root=str(ROOT / "static"),
        prefix="static/",
        max_age=YEAR_SECONDS,
        immutable_file_test=lambda _path, _url: True,  # every link carries the file's hash
        add_headers_function=lambda found, _path, _url: headers.add_security_headers(
            found, secure=settings.cookie_secure
        ),
        allow_all_origins=False,
        charset="utf-8",
    )
    app.wsgi_app = served  # type: ignore[method-assign]
    if settings.trusted_proxies:
        # Not the host: a proxy must pass it on as it came, so that nobody chooses it by a header.
        count = settings.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=count, x_proto=count, x_host=0, x_port=0)  # type: ignore[method-assign]


class _PageCookie(SecureCookieSessionInterface):
    """Flask's signed cookie, used for the CSRF value and for messages only (see web/cookies.py)."""

    salt = "holdfast-page"
