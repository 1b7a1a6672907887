"""Configuration of the web process; gunicorn reads this file automatically.

In embedded mode one process serves and sends. `wsgi.py` starts the dispatcher after the fork, so the application must
not be preloaded.
"""

import os
from typing import Any


def _whole(name: str, default: str, *, least: int, most: int) -> int:
    text = os.environ.get(name, "").strip() or default
    if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
        raise SystemExit(f"Mercury does not start. {name}: '{text}' is not a whole number from {least} to {most}.")
    return int(text)


bind = f"{os.environ.get('HOST', '').strip() or '127.0.0.1'}:{_whole('PORT', '8000', least=0, most=65_535)}"
workers = _whole("WEB_CONCURRENCY", "1", least=1, most=1000)
threads = _whole("WEB_THREADS", "8", least=1, most=1000)
worker_class = "mercury.web_worker.WebWorker"  # gunicorn's gthread with an additional thread for /health/live
logger_class = "mercury.web_worker.ServerLog"
preload_app = False
timeout = 60
graceful_timeout = 30  # seconds: more than MERCURY_SEND_TIMEOUT + 5, so that a stop leaves no outcome unknown
keepalive = 5
control_socket_disable = True  # it would be in the home folder, shared by all servers of this machine
accesslog = None  # Mercury logs its own events; an access log would contain addresses from searches


def on_starting(server: Any) -> None:
    """Refuse to start with invalid or contradicting settings, or with development settings that others can reach."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mercury.settings")
    from django.core.exceptions import ImproperlyConfigured  # noqa: PLC0415 (gunicorn sets the path after reading this)

    from mercury import checks  # noqa: PLC0415

    addresses = [
        address if isinstance(address, str) else f"{address[0]}:{address[1]}" for address in server.cfg.address
    ]
    try:
        checks.refuse_start(addresses)
    except ImproperlyConfigured as error:
        raise SystemExit(f"Mercury does not start. {error}") from error


def post_worker_init(worker: Any) -> None:
    """Let at most half of the threads wait long for the database, for uploads, or for slow clients: the others answer."""
    from threading import BoundedSemaphore  # noqa: PLC0415

    from mercury import slow_clients  # noqa: PLC0415
    from mercury.lib.database import database_bounds  # noqa: PLC0415
    from mercury.lib.rest import upload_slots  # noqa: PLC0415

    database_bounds.waits.most = upload_slots.most = max(1, worker.cfg.threads // 2)
    slow_clients.patience = BoundedSemaphore(upload_slots.most)


def worker_exit(server: Any, worker: Any) -> None:
    """Finish the requests in progress while threads can still start; at interpreter exit they cannot."""
    from mails.worker import resident_dispatcher  # noqa: PLC0415

    resident_dispatcher.stop()
