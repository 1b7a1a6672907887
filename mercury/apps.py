"""The project as Django apps: its checks, and the admin site of its own."""

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig

from mercury import checks


class MercuryConfig(AppConfig):
    """The project itself."""

    name = "mercury"

    def ready(self) -> None:
        """Register Mercury's checks."""
        checks.register_all()


class MercuryAdminConfig(AdminConfig):
    """Django's admin with Mercury's site."""

    default_site = "mercury.admin_site.MercuryAdminSite"
