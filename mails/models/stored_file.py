"""Files: contents that emails and uploads share, uploads, and the files of an email.

The bytes are in Django's storage `mercury_files`, see `mails.files`. A place in the storage is named by a row of
`FileContent`, of `FilePiece`, or of `UnusedFile`: so none is forgotten, whenever a process dies.
"""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.db.models.lookups import GreaterThanOrEqual

from mails.models.api_key import ApiKey
from mails.models.ids import uuid7
from mails.models.mail import Mail
from mails.models.querysets import StoredFileQuerySet

HASH_LENGTH = 64  # SHA-256, hex


class FileContent(models.Model):
    """The content of files, stored once however many emails and uploads have it."""

    sha256 = models.CharField(primary_key=True, max_length=HASH_LENGTH, editable=False)
    size = models.BigIntegerField(help_text="Bytes.")
    location = models.CharField(max_length=255, help_text="Its name in the storage.")
    used_at = models.DateTimeField(
        db_default=Now(), db_index=True, help_text="When it was last about to be used: it is kept for a day more."
    )

    def __str__(self) -> str:
        return self.sha256


class UnusedFile(models.Model):
    """A place in the storage whose bytes are to be deleted: written but not yet kept by anything, or no longer."""

    location = models.CharField(primary_key=True, max_length=255)
    delete_at = models.DateTimeField(db_index=True, help_text="Bytes that are being written have a day.")
    is_deleting = models.BooleanField(default=False, help_text="From here on nothing can keep it.")

    def __str__(self) -> str:
        return self.location


class StoredFile(models.Model):
    """A file that a client uploaded, for any number of its emails. It expires; the emails keep its content."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    api_key = models.ForeignKey(ApiKey, null=True, on_delete=models.PROTECT, related_name="files", db_index=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="files", db_index=False
    )
    filename = models.CharField(max_length=255)
    content_type = models.CharField(max_length=255)
    size = models.BigIntegerField(help_text="Bytes, as announced.")
    received = models.BigIntegerField(default=0, help_text="Bytes that are stored already.")
    content = models.ForeignKey(
        FileContent,
        null=True,
        on_delete=models.PROTECT,
        related_name="files",
        db_index=False,
        help_text="None until all is received.",
    )
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)

    objects = StoredFileQuerySet.as_manager()

    class Meta:
        verbose_name = "uploaded file"
        ordering = ("-id",)
        constraints = [
            models.CheckConstraint(
                condition=GreaterThanOrEqual(models.F("size"), models.F("received")), name="file_received_within_size"
            )
        ]
        indexes = [
            models.Index(fields=("api_key", "-id"), name="file_by_key"),
            models.Index(fields=("user", "-id"), condition=Q(user__isnull=False), name="file_by_user"),
            models.Index(fields=("content",), condition=Q(content__isnull=False), name="file_by_content"),
        ]

    def __str__(self) -> str:
        return self.filename

    @property
    def owner(self) -> str:
        """Return the name of the client that uploaded it."""
        if self.api_key is not None:
            return self.api_key.name
        return self.user.get_username() if self.user is not None else "command line"


class FilePiece(models.Model):
    """A piece of an upload in progress."""

    id = models.BigAutoField(primary_key=True)
    file = models.ForeignKey(StoredFile, on_delete=models.PROTECT, related_name="pieces", db_index=False)
    start = models.BigIntegerField()
    size = models.BigIntegerField()
    location = models.CharField(max_length=255)

    class Meta:
        ordering = ("start",)
        constraints = [models.UniqueConstraint(fields=("file", "start"), name="one_piece_per_start")]

    def __str__(self) -> str:
        return f"{self.file_id} from {self.start}"


class MailFile(models.Model):
    """A file of an email. Its content goes with the email's body, the rest stays as long as the email."""

    id = models.BigAutoField(primary_key=True)
    mail = models.ForeignKey(Mail, on_delete=models.PROTECT, related_name="files", db_index=False)
    number = models.PositiveSmallIntegerField(help_text="Its place among the email's files, from 1.")
    filename = models.CharField(max_length=255)
    content_type = models.CharField(max_length=255)
    size = models.BigIntegerField()
    cid = models.CharField(max_length=255, blank=True, help_text="The Content-ID by which the HTML shows it.")
    content = models.ForeignKey(
        FileContent,
        null=True,
        on_delete=models.PROTECT,
        related_name="mail_files",
        db_index=False,
        help_text="None once it is deleted.",
    )

    class Meta:
        ordering = ("number",)
        constraints = [models.UniqueConstraint(fields=("mail", "number"), name="one_mail_file_per_number")]
        indexes = [models.Index(fields=("content",), condition=Q(content__isnull=False), name="mail_file_by_content")]

    def __str__(self) -> str:
        return self.filename
