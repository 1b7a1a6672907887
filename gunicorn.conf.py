"""How the web process runs; gunicorn reads this file by itself. Without a database and Redis of its own, one process
serves and drains. `wsgi.py` starts the drain after the fork, so the application must not be preloaded."""

import os

bind = f"{os.environ.get('HOST', '127.0.0.1')}:{os.environ.get('PORT', '8000')}"
workers = int(os.environ.get("WEB_CONCURRENCY", "1"))
threads = int(os.environ.get("WEB_THREADS", "8"))
worker_class = "gthread"
preload_app = False
timeout = 60
graceful_timeout = 30  # seconds: more than a call's deadline + 5, so that a stop leaves no outcome unknown
keepalive = 5
accesslog = None  # Mercury logs its own events; an access log would repeat addresses in search words
