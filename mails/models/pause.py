"""Pauses of all sending and of one queue."""

from django.db import models
from django.db.models import Q

from mails.models.people import format_person
from mails.queues import QueueName


class Pause(models.Model):
    """Pause of one queue, or of all sending where the queue is blank. Until it is resumed, none of its emails is sent.

    Rows are kept: who paused what, when and why, and who resumed it.
    """

    id = models.BigAutoField(primary_key=True)
    queue = models.CharField(max_length=16, choices=QueueName.choices, blank=True, help_text="Blank: all sending.")
    paused_at = models.DateTimeField()
    paused_by = models.CharField(max_length=128)
    note = models.TextField(blank=True)
    at_start = models.BooleanField(default=False, help_text="Created by MERCURY_START_PAUSED.")
    resumed_at = models.DateTimeField(null=True)
    resumed_by = models.CharField(max_length=128, blank=True)

    class Meta:
        verbose_name = "pause"
        constraints = [
            models.UniqueConstraint(
                fields=("queue",), condition=Q(resumed_at__isnull=True), name="one_active_pause_per_queue"
            )
        ]

    def __str__(self) -> str:
        return f"{self.queue or 'all sending'} paused by {self.paused_by}"

    @property
    def who(self) -> str:
        """Name who paused it, for people."""
        return format_person(self.paused_by)
