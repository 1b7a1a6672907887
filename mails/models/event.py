"""Events: the append-only history of each email."""

from django.db import models

from mails.models.mail import Mail
from mails.models.querysets import EventQuerySet


class Event(models.Model):
    """A step in the life of an email. Append-only: the database itself refuses to change or delete one.

    On PostgreSQL the table is partitioned by the month of `created_at`, and its key is (id, created_at).
    """

    id = models.BigAutoField(primary_key=True)
    # No constraint: it cost a sixth of an insert, and retention drops whole months after their emails are deleted.
    mail = models.ForeignKey(Mail, on_delete=models.PROTECT, related_name="events", db_index=False, db_constraint=False)
    created_at = models.BigIntegerField(help_text="Nanoseconds since the Unix epoch.")
    created_by = models.CharField(max_length=128)
    event = models.CharField(max_length=64)
    blob = models.TextField(blank=True)

    objects = EventQuerySet.as_manager()

    class Meta:
        ordering = ("id",)
        indexes = [models.Index(fields=("mail", "id"), name="event_by_mail")]

    def __str__(self) -> str:
        return self.event
