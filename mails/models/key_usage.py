"""What API keys with limits have used of them."""

from django.db import models

from mails.models.api_key import ApiKey


class KeyUsage(models.Model):
    """The emails of a key in the present minute and its recipients of the present day. Keys without limits have no row.

    Changed by the transaction that stores the emails. No column but the key has an index, so that PostgreSQL rewrites the
    row within its page.
    """

    api_key = models.OneToOneField(ApiKey, primary_key=True, on_delete=models.CASCADE, related_name="usage")
    minute = models.BigIntegerField(default=0, help_text="Minutes since the Unix epoch.")
    emails = models.BigIntegerField(default=0, help_text="Accepted in that minute.")
    day = models.BigIntegerField(default=0, help_text="Days since the Unix epoch, UTC.")
    recipients = models.BigIntegerField(default=0, help_text="Of emails accepted on that day.")

    def __str__(self) -> str:
        return f"usage of key {self.api_key_id}"
