"""Events as recorded: shown, never edited."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from mails.models import Event
from mercury.lib.guarded_admin import GuardedAdmin


@admin.register(Event)
class EventAdmin(GuardedAdmin):
    """One event. There is no list of all events; they are shown with their email."""

    fields = ("id", "mail", "created_at", "created_by", "event", "blob")
    readonly_fields = fields

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Redirect to the list of emails."""
        return redirect("admin:mails_mail_changelist")

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Return False: events are shown with their email."""
        return False

    def has_view_permission(self, request: HttpRequest, obj: Event | None = None) -> bool:
        """Return True for users who may view emails."""
        return bool(request.user.has_perm("mails.view_mail"))

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Return False: only the lifecycle writes events."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Event | None = None) -> bool:
        """Return False: events are append-only."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Event | None = None) -> bool:
        """Return False: events are append-only."""
        return False
