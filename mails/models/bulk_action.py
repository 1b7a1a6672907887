"""Actions on many emails."""

from django.db import models
from django.db.models import Q

from mails.models.ids import uuid7
from mails.models.people import format_person
from mails.states import (
    Action,
)


class BulkAction(models.Model):
    """Something asked of many mails: who asked, why, of which, and how far it has come. Written by `bulk` only."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    action = models.CharField(max_length=16, choices=Action.choices)
    requested_by = models.CharField(max_length=128)
    requested_at = models.DateTimeField(help_text="What came in later is not meant.")
    note = models.TextField(blank=True)
    description = models.TextField(help_text="Which mails, in words.")
    query = models.TextField(blank=True, help_text="The filter that chose them, as a URL's query.")
    selected_ids = models.JSONField(null=True, help_text="The ids that were ticked, where no filter chose.")
    included = models.JSONField(default=list, help_text="Whom it takes because they were asked for.")
    account_choice = models.CharField(
        max_length=80,
        default="",
        db_default="",
        blank=True,
        help_text="Accounts to use, as `AccountChoice.as_text` writes it.",
    )
    total = models.PositiveIntegerField(null=True, help_text="Mails to look at; unknown where they are very many.")

    batches = models.PositiveIntegerField(default=0, help_text="Batches begun: the fence between two processes.")
    last_examined = models.UUIDField(null=True, help_text="The last mail that was looked at.")
    examined = models.PositiveIntegerField(default=0, help_text="Mails looked at.")
    done = models.PositiveIntegerField(default=0)
    requested = models.PositiveIntegerField(default=0, help_text="Done when the call under way is closed.")
    changed = models.PositiveIntegerField(default=0, help_text="Moved on meanwhile.")
    skipped = models.JSONField(default=dict, help_text="Why -> how many.")
    finished_at = models.DateTimeField(null=True)
    stopped_by = models.CharField(max_length=128, blank=True)

    class Meta:
        ordering = ("-id",)
        indexes = [models.Index(fields=("id",), condition=Q(finished_at__isnull=True), name="bulk_action_unfinished")]

    def __str__(self) -> str:
        return f"{self.get_action_display()}: {self.description}"

    @property
    def who(self) -> str:
        """Who asked for it, as people are told."""
        return format_person(self.requested_by)

    @property
    def who_stopped(self) -> str:
        """Who stopped it, as people are told."""
        return format_person(self.stopped_by)
