"""Sending of email: accounts, routing, sending, the sandbox. Knows nothing of mails."""

from django.apps import AppConfig


class ProvidersConfig(AppConfig):
    """The providers app."""

    name = "providers"
    verbose_name = "Providers"
