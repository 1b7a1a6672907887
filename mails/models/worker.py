"""Workers and the periodic tasks they share."""

from django.db import models


class Worker(models.Model):
    """A process that dispatches. Its heartbeat tells others when to take over what it holds."""

    id = models.CharField(primary_key=True, max_length=96, help_text="host:pid:random")
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField(db_index=True)
    queues = models.JSONField(default=list)
    concurrency = models.PositiveIntegerField(default=0, help_text="Calls under way at most.")
    in_flight = models.PositiveIntegerField(default=0, help_text="Calls under way.")
    closed = models.PositiveBigIntegerField(default=0, help_text="Calls that came back since it started.")
    done = models.PositiveBigIntegerField(default=0, help_text="Mails that a provider took since it started.")
    polled_at = models.DateTimeField(null=True, help_text="When it last looked for due mails.")
    trouble = models.CharField(
        max_length=200, default="", db_default="", blank=True, help_text="What its machine lacked in the last minute."
    )
    leases_kept = models.JSONField(
        default=list,
        null=True,  # for a worker of the version before, while two versions run
        help_text="Emails that it holds beyond the end of their leases: ids. They count while its heartbeat does.",
    )

    def __str__(self) -> str:
        return self.id


class PeriodicTask(models.Model):
    """A periodic task of the whole house; whichever process holds the row's lease does it."""

    name = models.CharField(primary_key=True, max_length=32)
    leader = models.CharField(max_length=96, blank=True)
    expires_at = models.DateTimeField(null=True)
    done_until = models.DateTimeField(null=True, help_text="How far it has come, where it follows the time.")

    def __str__(self) -> str:
        return self.name
