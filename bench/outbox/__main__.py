"""`python -m outbox KIND N CONTENT`: make the tables, store N mails, and enqueue them with that kind of task."""

import importlib
import sys

import django
from django.core.management import call_command

SENDER, RECIPIENT = "zeus@olimpus.com", "hera@olimpus.com"


def main(kind: str, mails: int, content: str) -> None:
    """Prepare everything before the workers start."""
    django.setup()
    call_command("migrate", run_syncdb=True, verbosity=0)
    if kind == "post_office":
        _fill_post_office(mails, content)
        return
    from outbox.models import Mail

    new = [Mail(sender=SENDER, recipient=RECIPIENT, subject=f"mail {n}", content=content) for n in range(mails)]
    Mail.objects.bulk_create(new, batch_size=1000)
    enqueue = importlib.import_module(f"outbox.by_{kind}").enqueue
    for mail in new:
        enqueue(mail.pk)


def _fill_post_office(mails: int, content: str) -> None:
    from django.conf import settings
    from post_office.models import PRIORITY, STATUS, Attachment, Email

    new = [
        Email(
            from_email=SENDER,
            to=[RECIPIENT],
            subject=f"mail {n}",
            message=content,
            html_message=f"<p>{content}</p>" if settings.ATTACHMENT else "",
            status=STATUS.queued,
            priority=PRIORITY.medium,
        )
        for n in range(mails)
    ]
    Email.objects.bulk_create(new, batch_size=1000)
    if settings.ATTACHMENT:
        file = Attachment.objects.create(name="seal.bin", file="seal.bin", mimetype="application/octet-stream")
        links = [Attachment.emails.through(attachment=file, email=mail) for mail in new]
        Attachment.emails.through.objects.bulk_create(links, batch_size=1000)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
