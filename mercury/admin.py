"""Admin pages of other apps' models, with Mercury's guards before them, and the audit log."""

from axes.admin import AccessAttemptAdmin, AccessFailureLogAdmin, AccessLogAdmin
from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.contrib import admin

from mercury.lib.audit.models import AuditEntry
from mercury.lib.guarded_admin import GuardedAdmin, ReadOnlyMixin


class AttemptAdmin(GuardedAdmin, AccessAttemptAdmin):  # type: ignore[misc]  # axes has no types
    """Failed log-ins that count against a limit. To delete one lets its person try again."""


class LogAdmin(ReadOnlyMixin, GuardedAdmin, AccessLogAdmin):  # type: ignore[misc]
    """Log-ins."""


class FailureLogAdmin(ReadOnlyMixin, GuardedAdmin, AccessFailureLogAdmin):  # type: ignore[misc]
    """Failed log-ins."""


@admin.register(AuditEntry)
class AuditAdmin(ReadOnlyMixin, GuardedAdmin):
    """Audit entries: who rotated, revoked, registered, changed, deleted or tested what."""

    list_display = ("created_at", "act", "kind", "name", "who", "detail")
    list_filter = ("act", "kind", "created_at")
    search_fields = ("by", "name")
    list_per_page = 50
    show_full_result_count = False

    @admin.display(description="by", ordering="by")
    def who(self, entry: AuditEntry) -> str:
        """Return the name of the person who did it."""
        return entry.who


_GUARDED = {
    AccessAttempt: AttemptAdmin,
    AccessLog: LogAdmin,
    AccessFailureLog: FailureLogAdmin,
}
for model, guarded in _GUARDED.items():
    admin.site.unregister(model)
    admin.site.register(model, guarded)
