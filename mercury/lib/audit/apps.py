"""The audit log as a Django app, because it has a table."""

from django.apps import AppConfig


class AuditConfig(AppConfig):
    """The audit log."""

    name = "mercury.lib.audit"
    label = "audit"
    verbose_name = "Audit log"
    default_auto_field = "django.db.models.BigAutoField"
