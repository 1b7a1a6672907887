"""Send an email with the client that openapi-generator made: python THIS URL KEY."""

import json
import sys

from openapi_client import ApiClient, Configuration, EventsApi, MailsApi
from openapi_client.exceptions import BadRequestException
from openapi_client.models import Addresses, NewEvent, Submission

url, key = sys.argv[1:]
with ApiClient(Configuration(host=url, access_token=key)) as client:
    mails = MailsApi(client)
    hera = Addresses("hera@olimpus.com, iris@olimpus.com")
    email = Submission(sender="zeus@olimpus.com", recipient=hera, subject="Grüße", content="Hi")

    accepted = mails.create_mail(email, idempotency_key="generator-1")
    again = mails.create_mail(email, idempotency_key="generator-1")
    pointer = ""
    try:
        mails.create_mail(Submission(sender="zeus@olimpus.com"))
    except BadRequestException as error:
        pointer = json.loads(error.body)["errors"][0]["pointer"]
    event = EventsApi(client).append_event(str(accepted.id), NewEvent(event="READ BY HERA"))
    assert event.event == "READ BY HERA"
    read = mails.read_mail(str(accepted.id))
    page = mails.list_mails(expand=True)

found = {"id": str(accepted.id), "again": str(again.id), "subject": read.subject, "listed": len(page.mails)}
sys.stdout.write(json.dumps(found | {"refused": pointer}))
