"""Queues are classes of email. Each is an RQ queue of its own, so that workers can be dedicated to one."""

from django.db.models import TextChoices


class QueueName(TextChoices):
    """The queue of an email, chosen once at intake from what it carries, or `bulk` where the client asks for it."""

    TEXT = "text", "Text"
    HTML = "html", "HTML"
    ATTACHMENT = "attachment", "Attachment"
    LARGE = "large", "Large"
    BULK = "bulk", "Bulk"
