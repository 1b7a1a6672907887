"""Download links of files that are too large for an attachment, and the downloads that they were used for."""

from django.db import models
from django.db.models import Q

from mails.models.ids import uuid7
from mails.models.mail import Mail
from mails.models.stored_file import FileContent


class DownloadLink(models.Model):
    """The link to one file of an email. Whoever has its signed token may download the file until it ends."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    mail = models.ForeignKey(Mail, on_delete=models.PROTECT, related_name="links", db_index=False)
    number = models.PositiveSmallIntegerField(help_text="The place of its file among the email's files, from 1.")
    filename = models.CharField(max_length=255)
    content_type = models.CharField(max_length=255)
    size = models.BigIntegerField()
    content = models.ForeignKey(
        FileContent,
        null=True,
        on_delete=models.PROTECT,
        related_name="links",
        db_index=False,
        help_text="None once the link has ended and retention has released it.",
    )
    sha256 = models.CharField(max_length=64)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)
    revoked_by = models.CharField(max_length=128, blank=True)
    downloads = models.PositiveIntegerField(default=0)
    max_downloads = models.PositiveIntegerField(null=True, help_text="None: no limit.")

    class Meta:
        ordering = ("mail", "number")
        constraints = [
            models.UniqueConstraint(fields=("mail", "number"), name="one_link_per_file"),
            models.CheckConstraint(
                condition=Q(max_downloads=None) | Q(downloads__lte=models.F("max_downloads")), name="link_within_limit"
            ),
        ]
        indexes = [
            models.Index(fields=("content",), condition=Q(content__isnull=False), name="link_by_content"),
            models.Index(fields=("expires_at",), condition=Q(content__isnull=False), name="link_expiring"),
        ]

    def __str__(self) -> str:
        return self.filename


class Download(models.Model):
    """One download, from the press of the button on. It may be interrupted and resumed for a day."""

    id = models.UUIDField(primary_key=True, editable=False)
    link = models.ForeignKey(DownloadLink, on_delete=models.CASCADE, related_name="started", db_index=False)
    started_at = models.DateTimeField(db_index=True)
    sent = models.BigIntegerField(help_text="Bytes that were sent, and those of answers in progress.")

    class Meta:
        indexes = [models.Index(fields=("link",), name="download_by_link")]

    def __str__(self) -> str:
        return str(self.id)
