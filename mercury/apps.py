"""The project as Django apps: its checks, and the admin site of its own."""

from django.apps import AppConfig
from django.conf import settings
from django.contrib.admin.apps import AdminConfig

from mercury import checks
from mercury.lib.database import any_case


class MercuryConfig(AppConfig):
    """The project itself."""

    name = "mercury"

    def ready(self) -> None:
        """Register Mercury's lookups and checks, and tell a Sentry of exceptions from here on, in whatever process this is."""
        any_case.register()
        checks.register_all()
        if settings.SENTRY_DSN:
            from mercury.observability import sentry  # noqa: PLC0415 (a tenth of a second, only for those who use it)

            sentry.start(settings.SENTRY_DSN)


class MercuryAdminConfig(AdminConfig):
    """Django's admin with Mercury's site."""

    default_site = "mercury.console.admin_site.MercuryAdminSite"
