"""Actions on many emails."""

from django.db import models
from django.db.models import Q

from mails.models.ids import uuid7
from mails.models.people import format_person
from mails.states import (
    Action,
)


class BulkAction(models.Model):
    """An action on many emails: who requested it, why, for which emails, and its progress. Written by `actions.bulk` only."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    action = models.CharField(max_length=16, choices=Action.choices)
    requested_by = models.CharField(max_length=128)
    requested_at = models.DateTimeField(help_text="Excludes email received after this time.")
    note = models.TextField(blank=True)
    description = models.TextField(help_text="Which emails, in words.")
    query = models.TextField(blank=True, help_text="The filter that selected them, as the query of a URL.")
    selected_ids = models.JSONField(null=True, help_text="The selected ids, if no filter was used.")
    included = models.JSONField(default=list, help_text="Emails that are included on request.")
    account_choice = models.CharField(
        max_length=1200,
        default="",
        db_default="",
        blank=True,
        help_text="Accounts to use, as `AccountChoice.as_text` writes it.",
    )
    send_at = models.DateTimeField(null=True, help_text="When they are to be sent, if they are rescheduled.")
    expires_at = models.DateTimeField(null=True, help_text="When they expire, if they are rescheduled.")
    total = models.PositiveIntegerField(null=True, help_text="Emails to check; null if there are very many.")

    batches = models.PositiveIntegerField(default=0, help_text="Batches started: the fence between two processes.")
    last_examined = models.UUIDField(null=True, help_text="The last email that was checked.")
    examined = models.PositiveIntegerField(default=0, help_text="Emails checked.")
    done = models.PositiveIntegerField(default=0)
    requested = models.PositiveIntegerField(default=0, help_text="Pending until the request in progress ends.")
    changed = models.PositiveIntegerField(default=0, help_text="Changed state in the meantime.")
    skipped = models.JSONField(default=dict, help_text="Number of emails by reason.")
    finished_at = models.DateTimeField(null=True)
    stopped_by = models.CharField(max_length=128, blank=True)

    class Meta:
        ordering = ("-id",)
        indexes = [models.Index(fields=("id",), condition=Q(finished_at__isnull=True), name="bulk_action_unfinished")]

    def __str__(self) -> str:
        return f"{self.get_action_display()}: {self.description}"

    @property
    def who(self) -> str:
        """Who requested it, as people read it."""
        return format_person(self.requested_by)

    @property
    def who_stopped(self) -> str:
        """Who stopped it, as people read it."""
        return format_person(self.stopped_by)
