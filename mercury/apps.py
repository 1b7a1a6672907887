"""The project as Django apps: its checks, and the admin site of its own."""

import os

from django.apps import AppConfig
from django.conf import settings
from django.contrib.admin.apps import AdminConfig

from mercury import checks
from mercury.lib.database import any_case
from mercury.lib.runtime.process_state import ProcessState


class MercuryConfig(AppConfig):
    """The project itself."""

    name = "mercury"

    def ready(self) -> None:
        """Make the state of this process, register lookups and checks, and report exceptions to Sentry from here on."""
        self.begin_process()
        os.register_at_fork(after_in_child=self.begin_process)
        any_case.register()
        checks.register_all()
        if settings.SENTRY_DSN:
            from mercury.observability import sentry  # noqa: PLC0415 (a tenth of a second, only for those who use it)

            sentry.start(settings.SENTRY_DSN)

    def begin_process(self) -> None:
        """Make a state for this process, in which nothing has happened yet."""
        self.process_state = ProcessState()


class MercuryAdminConfig(AdminConfig):
    """Django's admin with Mercury's site."""

    default_site = "mercury.console.admin_site.MercuryAdminSite"
