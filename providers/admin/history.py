"""The history of all accounts, deleted ones included: shown, never edited."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from mercury.lib.guarded_admin import GuardedAdmin, ReadOnlyMixin
from providers.models import BreakerChange


@admin.register(BreakerChange)
class HistoryAdmin(ReadOnlyMixin, GuardedAdmin):
    """Changes of breakers and settings, by account name."""

    empty_sentence = (
        "A change appears here when somebody changes the settings of an account, or when its breaker opens or closes."
    )
    list_display = ("created_at", "account_name", "what", "who")
    list_filter = ("account_name",)
    search_fields = ("account_name", "by", "what")
    list_per_page = 50
    show_full_result_count = False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return True for users who may view accounts, whose pages show the same lines."""
        return bool(request.user.has_perm("providers.view_account"))

    @admin.display(description="by", ordering="by")
    def who(self, change: BreakerChange) -> str:
        """Return who changed it."""
        return change.who
