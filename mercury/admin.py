"""Admin pages of other apps' models, with Mercury's guards before them, and the audit log."""

from axes.admin import AccessAttemptAdmin, AccessLogAdmin
from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.contrib import admin

from mercury.lib.audit.models import AuditEntry
from mercury.lib.guarded_admin import GuardedAdmin, ReadOnlyMixin


class AttemptAdmin(GuardedAdmin, AccessAttemptAdmin):  # type: ignore[misc]  # axes has no types
    """Failed log-ins that count against a limit. To delete one lets its person try again."""

    empty_sentence = (
        "A failed log-in appears here while it counts against the limit; delete it to let its person try again at once."
    )


class LogAdmin(ReadOnlyMixin, GuardedAdmin, AccessLogAdmin):  # type: ignore[misc]
    """Log-ins."""

    empty_sentence = "Each log-in appears here, with its network and when it ended."


@admin.register(AuditEntry)
class AuditAdmin(ReadOnlyMixin, GuardedAdmin):
    """Audit entries: who rotated, revoked, registered, changed, deleted or tested what."""

    empty_sentence = (
        "An entry appears here when somebody registers, changes, rotates, revokes, deletes or tests something, in the admin, with "
        "a command or over the API."
    )
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
}
for model, guarded in _GUARDED.items():
    admin.site.unregister(model)
    admin.site.register(model, guarded)
admin.site.unregister(AccessFailureLog)  # nothing fills it: failed log-ins are access attempts
