"""Workers and the periodic tasks they share."""

from django.db import models


class Worker(models.Model):
    """A process that dispatches emails. When its heartbeat stops, others take over its emails."""

    id = models.CharField(primary_key=True, max_length=96, help_text="host:pid:random")
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField(db_index=True)
    queues = models.JSONField(default=list)
    concurrency = models.PositiveIntegerField(default=0, help_text="Maximum number of requests in progress.")
    in_flight = models.PositiveIntegerField(default=0, help_text="Requests in progress.")
    closed = models.PositiveBigIntegerField(default=0, help_text="Requests that ended since it started.")
    done = models.PositiveBigIntegerField(default=0, help_text="Emails that a provider accepted since it started.")
    polled_at = models.DateTimeField(null=True, help_text="When it last looked for due emails.")
    trouble = models.CharField(
        max_length=200,
        default="",
        db_default="",
        blank=True,
        help_text="Resources that its machine lacked in the last minute.",
    )
    leases_kept = models.JSONField(
        default=list,
        null=True,  # for a worker of the previous version, while two versions run
        help_text="Ids of emails that it keeps after their leases ended, valid while its heartbeat is.",
    )

    def __str__(self) -> str:
        return self.id


class PeriodicTask(models.Model):
    """A periodic task of the instance; the process that holds the lease of the row runs it."""

    name = models.CharField(primary_key=True, max_length=32)
    leader = models.CharField(max_length=96, blank=True)
    expires_at = models.DateTimeField(null=True)
    done_until = models.DateTimeField(null=True, help_text="Up to which time it is done, if it works through time.")

    def __str__(self) -> str:
        return self.name
