"""The task in Celery."""

import os

from celery import Celery

app = Celery("outbox", broker=os.environ["OUTBOX_REDIS"])
if os.environ.get("OUTBOX_REUSE"):
    app.conf.update(CELERY_DB_REUSE_MAX=1_000_000)  # tasks; without it, each task opens a connection to the database


@app.task(ignore_result=True)
def send(mail_id: int) -> None:
    """Send an email."""
    from outbox.sending import deliver

    deliver(mail_id)


enqueue = send.delay
