"""A mail's life: intake, lifecycle, dispatch, and the doors to them."""

from django.apps import AppConfig

from mails import rq_limits


class MailsConfig(AppConfig):
    """The mails app."""

    name = "mails"
    verbose_name = "Mails"

    def ready(self) -> None:
        """Limit what Redis can make this process do, whatever it is: server, worker or command."""
        rq_limits.apply()
        from mails import trial_rules  # noqa: PLC0415 (it needs the models, which are ready now)

        trial_rules.apply()
