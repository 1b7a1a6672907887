"""Rules that pick the queue of an email."""

from django.db import models

from mails.models.people import format_person
from mails.queues import QueueName


class QueueRule(models.Model):
    """Puts the emails that meet its conditions into a queue. The first rule that an email meets decides."""

    id = models.BigAutoField(primary_key=True)
    position = models.PositiveIntegerField(default=100, help_text="Rules are tried in this order, the smallest first.")
    name = models.CharField(max_length=64, unique=True)
    conditions = models.JSONField(
        default=dict,
        blank=True,
        help_text='All of them must be met, such as {"tag": ["newsletter"], "recipients": {"from": 20}}. '
        "{}: every email.",
    )
    queue = models.CharField(max_length=16, choices=QueueName.choices)
    enabled = models.BooleanField(default=True)
    changed_at = models.DateTimeField(auto_now=True)
    changed_by = models.CharField(max_length=128, blank=True, editable=False)

    class Meta:
        verbose_name = "queue rule"
        ordering = ("position", "id")

    def __str__(self) -> str:
        return self.name

    @property
    def who(self) -> str:
        """Name who changed it last, for people."""
        return format_person(self.changed_by)
