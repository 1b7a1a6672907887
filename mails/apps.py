"""A mail's life: intake, lifecycle, dispatch, and the doors to them."""

from django.apps import AppConfig


class MailsConfig(AppConfig):
    """The mails app."""

    name = "mails"
    verbose_name = "Mails"
