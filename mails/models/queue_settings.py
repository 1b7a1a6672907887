"""What people set for a queue."""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q

from mails.models.people import format_person
from mails.queues import QueueName


class QueueSettings(models.Model):
    """Share and rate limit of one queue. A queue without a row has the share of MERCURY_QUEUE_SHARES, and no rate limit."""

    queue = models.CharField(max_length=16, primary_key=True, choices=QueueName.choices)
    share = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(100)],
        help_text="Percent of a worker's slots that the queue may fill while other queues have due email, 1 to 100. "
        "Blank: as in MERCURY_QUEUE_SHARES.",
    )
    rate = models.FloatField(
        null=True,
        blank=True,
        help_text="Emails a second that all workers together begin to send. Blank: no limit.",
    )
    next_at = models.DateTimeField(null=True, editable=False)  # GCRA: see `providers.health.rate_limit`
    changed_at = models.DateTimeField(auto_now=True)
    changed_by = models.CharField(max_length=128, blank=True, editable=False)

    class Meta:
        verbose_name = verbose_name_plural = "settings of queues"
        ordering = ("queue",)
        constraints = [
            models.CheckConstraint(
                condition=Q(share__isnull=True) | Q(share__gte=1, share__lte=100), name="queue_share_is_percent"
            ),
            models.CheckConstraint(condition=Q(rate__isnull=True) | Q(rate__gt=0), name="queue_rate_is_positive"),
        ]

    def __str__(self) -> str:
        return str(self.queue)

    @property
    def who(self) -> str:
        """Name who changed it last, for people."""
        return format_person(self.changed_by)
