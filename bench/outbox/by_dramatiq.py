"""The task in Dramatiq."""

import os

import django
import dramatiq
from django.apps import apps
from dramatiq.brokers.redis import RedisBroker

if not apps.ready:
    django.setup()

dramatiq.set_broker(RedisBroker(url=os.environ["OUTBOX_REDIS"]))


@dramatiq.actor
def send(mail_id: int) -> None:
    """Send an email."""
    from outbox.sending import deliver

    deliver(mail_id)


enqueue = send.send
