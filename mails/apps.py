"""An email's life: intake, lifecycle, dispatch, and the doors to them."""

from django.apps import AppConfig

from mails.worker import rq_limits


class MailsConfig(AppConfig):
    """The mails app."""

    name = "mails"
    verbose_name = "Emails"

    def ready(self) -> None:
        """Limit what Redis can make this process do, whatever it is: server, worker or command."""
        rq_limits.apply()
        # These need the models, which are ready now.
        from mails.intake import rules_for_test_sends  # noqa: PLC0415
        from mails.reporting import account_refusals  # noqa: PLC0415

        rules_for_test_sends.register_rules()
        account_refusals.register_count()
