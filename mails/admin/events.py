"""Events as they were recorded: to be read, never to be edited."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from mails.models import Event
from mercury.lib.guarded_admin import GuardedAdmin


@admin.register(Event)
class EventAdmin(GuardedAdmin):
    """One event. There is no list of all events of the house: they are read mail by mail."""

    fields = ("id", "mail", "created_at", "created_by", "event", "blob")
    readonly_fields = fields

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """On to the mails."""
        return redirect("admin:mails_mail_changelist")

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Events are reached from their mail."""
        return False

    def has_view_permission(self, request: HttpRequest, obj: Event | None = None) -> bool:
        """Events are part of their email."""
        return bool(request.user.has_perm("mails.view_mail"))

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Events are lifecycle's to write."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Event | None = None) -> bool:
        """Events are append-only."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Event | None = None) -> bool:
        """Events are append-only."""
        return False
