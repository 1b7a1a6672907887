"""A tag or an entry of metadata of an email, so that it is found by it; it outlives the body."""

from django.db import models

from mails.models.mail import Mail

MAX_LABEL_NAME, MAX_LABEL_VALUE = 40, 500


class MailLabel(models.Model):
    """One tag, or one name and text of the metadata. An email without any has no row."""

    id = models.BigAutoField(primary_key=True)
    mail = models.ForeignKey(Mail, on_delete=models.CASCADE, related_name="labels")
    name = models.CharField(max_length=MAX_LABEL_NAME, blank=True, help_text="Of the metadata; blank for a tag.")
    value = models.CharField(max_length=MAX_LABEL_VALUE, blank=True)

    class Meta:
        ordering = ("id",)
        indexes = [models.Index(fields=("name", "value", "mail"), name="label_by_value")]

    def __str__(self) -> str:
        return f"{self.name}={self.value}" if self.name else self.value
