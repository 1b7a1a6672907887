"""Queues are classes of mail. Each is an RQ queue of its own, so that workers can be dedicated to one."""

from django.db.models import TextChoices


class QueueName(TextChoices):
    """The queue of a mail, chosen once at intake from what the mail carries, or `bulk` where the client asks for it."""

    TEXT = "text", "Text"
    HTML = "html", "HTML"
    ATTACHMENT = "attachment", "Attachment"
    BULK = "bulk", "Bulk"
