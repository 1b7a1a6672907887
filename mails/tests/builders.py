"""The cast of the tests: zeus writes, hera receives, the accounts are called olympus and hades."""

from collections.abc import Mapping
from typing import Any

from mails.dispatch.dispatcher import Dispatcher
from mails.intake.accept import accept
from mails.intake.client import Client
from mails.intake.receipts import Receipt, Refused, Stored
from mails.intake.submission import Submission
from mails.models import Mail
from mails.states import NEVER_CALLED, Source
from mercury.lib.runtime import event_loop
from providers.outcomes import Cause, NotAttempted

ZEUS = "zeus@olimpus.com"
HERA = "hera@olimpus.com"
IRIS = "iris@olimpus.com"
HELLO: Mapping[str, Any] = {"sender": ZEUS, "recipient": HERA, "subject": "You made my day", "content": "Hi"}
COMMAND = Client(source=Source.COMMAND)
API = Client(source=Source.API)
NOT_CALLED = NotAttempted(cause=Cause.WORKER, reason_code=NEVER_CALLED, reason="This worker had no free slot.")


def submit(fields: Mapping[str, Any] = HELLO, *, client: Client = COMMAND, key: str | None = None) -> Receipt:
    """The receipt of one submission."""
    (receipt,) = accept([Submission(fields=fields, idempotency_key=key)], client=client)
    return receipt


def a_mail(client: Client = COMMAND, **changes: Any) -> Mail:
    """An email that zeus submitted."""
    receipt = submit({**HELLO, **changes}, client=client)
    assert isinstance(receipt, Stored), receipt
    return receipt.mail


def a_rejected_mail(client: Client = API, **fields: Any) -> Mail:
    """An email of an application with invalid fields, as it is kept."""
    receipt = submit(fields, client=client)
    assert isinstance(receipt, Refused), receipt
    assert receipt.mail_id is not None
    return Mail.objects.get(pk=receipt.mail_id)


def dispatch(*queues: str, concurrency: int = 8) -> int:
    """Dispatch these queues until nothing is due; returns how many mails were done."""
    return event_loop.run(Dispatcher(queues or ("text",), concurrency=concurrency).run(until_idle=True))


def reloaded(mail: Mail) -> Mail:
    return Mail.objects.get(pk=mail.pk)


def event_names(mail: Mail) -> list[str]:
    return list(mail.events.values_list("event", flat=True))
