"""Send an email with the client that openapi-python-client made: python THIS URL KEY."""

import json
import sys

from mercury_client import AuthenticatedClient
from mercury_client.api.events import append_event
from mercury_client.api.mails import create_mail, list_mails, read_mail
from mercury_client.models import AcceptedMail, Event, Mail, NewEvent, PageOfMails, Problem, Submission

url, key = sys.argv[1:]
client = AuthenticatedClient(base_url=url, token=key)
email = Submission(
    sender="zeus@olimpus.com", recipients=["hera@olimpus.com", "iris@olimpus.com"], subject="Grüße", content="Hi"
)

accepted = create_mail.sync(client=client, body=email, idempotency_key="python-client-1")
assert isinstance(accepted, AcceptedMail), accepted
again = create_mail.sync(client=client, body=email, idempotency_key="python-client-1")
assert isinstance(again, AcceptedMail), again
refused = create_mail.sync(client=client, body=Submission(sender="zeus@olimpus.com"))
assert isinstance(refused, Problem), refused
event = append_event.sync(mail_id=str(accepted.id), client=client, body=NewEvent(event="READ BY HERA"))
assert isinstance(event, Event), event
read = read_mail.sync(mail_id=str(accepted.id), client=client)
assert isinstance(read, Mail), read
page = list_mails.sync(client=client, expand=True)
assert isinstance(page, PageOfMails), page

found = {"id": str(accepted.id), "again": str(again.id), "subject": read.subject, "listed": len(page.mails)}
sys.stdout.write(json.dumps(found | {"refused": refused.errors[0].pointer}))
