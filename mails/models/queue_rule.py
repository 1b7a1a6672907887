"""Rules that pick the queue of an email."""

from django.db import models

from mails.models.rule import Rule
from mails.queues import QueueName


class QueueRule(Rule):
    """Puts the emails that meet its conditions into a queue. The first rule that an email meets decides."""

    queue = models.CharField(max_length=16, choices=QueueName.choices)

    class Meta(Rule.Meta):
        verbose_name = "queue rule"
