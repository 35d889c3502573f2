"""The web server's command line, and how to see that it answers."""

from __future__ import annotations

import http.client
import sys
from pathlib import Path

from webapp.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
KNOCK_SECONDS = 0.5
LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # where to knock when we listen everywhere


def web_command(settings: Settings) -> list[str]:
    """Gunicorn with threads: a slow page holds up no other, and downloads are not cut by a time limit."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return [
        *(sys.executable, "-m", "gunicorn"),
        *("--bind", f"{host}:{settings.port}"),
        *("--worker-class", "gthread"),
        *("--workers", "1"),
        *("--threads", str(settings.web_threads)),
        *("--graceful-timeout", "5"),
        *("--log-level", "warning"),
        *("--pythonpath", str(ROOT)),
        "--no-control-socket",  # it would lie in the home directory, shared with other programs
        "wsgi:app",
    ]


def web_address(host: str, port: int) -> str:
    """Where a browser on this machine finds it, without a slash at the end."""
    near = LOOPBACK.get(host, host)
    return f"http://{f'[{near}]' if ':' in near else near}:{port}"


def web_answers(host: str, port: int) -> bool:
    """Whether a page comes, whatever it says."""
    connection = http.client.HTTPConnection(LOOPBACK.get(host, host), port, timeout=KNOCK_SECONDS)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status > 0
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
