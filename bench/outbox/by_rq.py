"""The task in RQ: a job an email."""

import os

import django
from django.apps import apps
from redis import Redis
from rq import Queue

if not apps.ready:
    django.setup()

queue = Queue("mails", connection=Redis.from_url(os.environ["OUTBOX_REDIS"]))


def send(mail_id: int) -> None:
    """Send an email."""
    from outbox.sending import deliver

    deliver(mail_id)


def enqueue(mail_id: int) -> None:
    """Have a worker send it."""
    queue.enqueue(send, mail_id, result_ttl=0)
