"""One matrix of rights: every address, method and kind of client. See `access_matrix`, and docs/access.md for people."""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from axes.models import AccessAttempt, AccessLog
from django.conf import settings
from django.contrib.auth.models import Group, Permission, User
from django.db import transaction
from django.test import Client
from django.urls import get_resolver
from django.utils import timezone

from mails.access import api_keys
from mails.files import uploads
from mails.intake.client import Client as Submitter
from mails.models import (
    ApiKey,
    BulkAction,
    Event,
    EventSink,
    Mail,
    QueueSettings,
    SenderPermission,
    StoredFile,
    SubmissionStream,
    Suppression,
)
from mails.states import Source
from mails.suppression import entries
from mails.suppression.rules import NewEntry
from mails.tests.builders import HERA, ZEUS, a_mail
from mails.tests.events.webhook_builders import a_delivery, a_webhook
from mails.tests.files.builders import a_link
from mails.tests.routing.builders import a_queue_rule, a_rule
from mercury.lib.audit import log as audit
from mercury.lib.audit.models import Act
from mercury.lib.mail import preview
from mercury.tests.access_matrix import API, MATRIX
from providers import history
from providers.models import BreakerChange
from providers.sandbox import mailbox
from providers.tests.support.builders import sandbox_account

CASES = [
    (route, method, row.who)
    for row in MATRIX
    for route in row.routes
    for method in row.methods.replace(",", "").split()
]
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def routes(resolver: Any = None, prefix: str = "") -> Iterator[str]:
    for pattern in (resolver or get_resolver()).url_patterns:
        route = prefix + str(pattern.pattern)
        if hasattr(pattern, "url_patterns"):
            yield from routes(pattern, route)
        else:
            yield route


@dataclass
class World:
    """One of everything that an address can name, and a browser for each kind of person."""

    mails: dict[str, Mail]
    files: dict[UUID, UUID]  # an upload of the same client, by the email's id
    links: dict[UUID, UUID]  # a download link of the email, by its id
    key: ApiKey
    text: str
    other_text: str
    ended: list[str]
    values: dict[str, str]
    objects: dict[str, str]
    owner: User
    browsers: dict[Any, Client] = field(default_factory=dict)
    anonymous: Client = field(default_factory=lambda: Client(raise_request_exception=False))

    def path(self, route: str, mail: Mail) -> str:
        """An address of this route that leads somewhere."""
        event = str(Event.objects.filter(mail=mail)[0].pk)
        values = {**self.values, "mail_id": str(mail.pk), "event_id": event, "file_id": str(self.files[mail.pk])}
        values["link_id"] = str(self.links[mail.pk])
        pausing = ("admin/sending/", "admin/queues/", "admin/streams/")
        values |= {"verb": "pause"} if route.startswith(pausing) else {}
        values |= {"verb": "test"} if route.startswith("admin/webhooks/") else {}
        values |= {"verb": "up"} if route.startswith("admin/routing/") else {}
        values |= {"name": "force-open"} if "/action/" in route and "account" in route else {}
        for label, pk in self.objects.items():
            if route.startswith(f"admin/{label}/"):
                values |= {"object_id": pk, "id": pk}
        path = re.sub(r"\(\?P<(\w+)>(?:[^()]|\([^()]*\)(?:\{\d\})?)*\)", lambda found: values[found[1]], route)
        path = re.sub(r"<(?:\w+:)?(\w+)>", lambda found: values[found[1]], path)
        query = "?action=hold&scope=all" if path.endswith("/bulk/") else ""
        return "/" + re.sub(r"/\?\$|[\^$]", "", path) + query

    def asks(self, text: str, method: str, path: str, *scopes: str) -> bool:
        """Whether a request with this key is answered, while the key `shop` has these scopes."""
        ApiKey.objects.filter(pk=self.key.pk).update(scopes=list(scopes))
        return answers(self.anonymous, method, path, authorization=f"Bearer {text}")

    def browser(self, *permissions: str, is_staff: bool = False, is_superuser: bool = False) -> Client:
        """A browser signed in as a person with exactly these rights."""
        who = (frozenset(permissions), is_staff, is_superuser)
        if who not in self.browsers:
            name = f"person-{len(self.browsers)}"
            user = User.objects.create_user(name, is_staff=is_staff, is_superuser=is_superuser)
            rows = Permission.objects.select_related("content_type")
            user.user_permissions.set(
                permission
                for permission in rows
                if f"{permission.content_type.app_label}.{permission.codename}" in permissions
            )
            self.browsers[who] = Client(raise_request_exception=False)
            self.browsers[who].force_login(user)
        return self.browsers[who]


@pytest.fixture
def world(db: None, monkeypatch: pytest.MonkeyPatch) -> World:
    owner = User.objects.create_user("zeus")
    SenderPermission.objects.create(user=owner, address=ZEUS)
    # Who is answered is looked at here, not what is shown: to draw the pages takes most of the time.
    monkeypatch.setattr("django.template.backends.django.Template.render", lambda *_, **__: "")
    monkeypatch.setattr("mails.message.mime.render_source", lambda *_, **__: _message().as_bytes())
    monkeypatch.setattr(
        "mails.message.mail_preview.build_preview", lambda *_, **__: preview.read(_message().as_bytes())
    )
    key, text = api_keys.create("shop", scopes=[], senders=[ZEUS])
    till, _text = api_keys.create("till", scopes=["mails:read"], senders=[])
    _other, other_text = api_keys.create("other", scopes=api_keys.SCOPES, senders=["*"])
    revoked, revoked_text = api_keys.create("revoked", scopes=api_keys.SCOPES, senders=["*"])
    api_keys.revoke(revoked)
    _expired, expired_text = api_keys.create(
        "expired", scopes=api_keys.SCOPES, senders=["*"], expires_at=timezone.now()
    )
    file = {"filename": "a.txt", "content": "SGk="}
    ask = {"sender": ZEUS, "recipient": HERA, "subject": "Hi", "content": "Hi", "attachments": [file]}
    mails = {
        "own": a_mail(Submitter(source=Source.FORM, user=owner), **ask),
        "key": a_mail(Submitter(source=Source.API, api_key=key), **ask),
    }
    box = sandbox_account("box").account
    history.record(box, by="test", what="closed")
    stored = mailbox.store("box", _message().as_bytes())
    bulk = BulkAction.objects.create(
        action="hold", requested_by="test", requested_at=timezone.now(), description="all", finished_at=timezone.now()
    )
    plain = User.objects.create_user("iris")
    values = {
        "number": "1",
        "verb": "hold",
        "name": "text",
        "account": "box",
        "account_id": str(box.pk),
        "key": stored,
        "key_id": str(till.pk),
        "bulk_id": str(bulk.pk),
        "content_type_id": "0",
        "object_id": "1",
        "app_label": "audit",
        "url": "nowhere",
        "rest": "nowhere",
        "rule_id": str(a_rule("box-only", "box").pk),
        "queue_rule_id": str(a_queue_rule("letters").pk),
        "token": "nonsense",
        "ticket": "nonsense",
    }
    EventSink.objects.create(name=values["name"], position=0, created_at=timezone.now())
    SubmissionStream.objects.create(name=values["name"], created_at=timezone.now(), rate_since=timezone.now())
    entries.put([NewEntry(HERA, scope="olimpus.com")], source="test")
    delivery = a_delivery(a_webhook(key))
    values |= {"webhook_id": str(delivery.webhook_id), "delivery_id": str(delivery.pk)}
    values["suppression_id"] = str(Suppression.objects.get().pk)
    common = {"username": "zeus", "ip_address": "192.0.2.1", "user_agent": "x", "attempt_time": timezone.now()}
    entry = audit.record(Act.CHANGE, by="test", kind="test", name="test")
    objects = {
        "audit/auditentry": entry.pk,
        "axes/accessattempt": AccessAttempt.objects.create(failures_since_start=1, **common).pk,
        "axes/accesslog": AccessLog.objects.create(**common).pk,
        "providers/account": box.pk,
        "providers/breakerchange": BreakerChange.objects.latest("id").pk,
        "mails/apikey": till.pk,
        "mails/bulkaction": bulk.pk,
        "mails/event": Event.objects.filter(mail=mails["key"])[0].pk,
        "mails/downloadlink": a_link(mail=mails["key"], number=2).pk,
        "mails/suppression": values["suppression_id"],
        "mails/mail": mails["key"].pk,
        "mails/queuerule": values["queue_rule_id"],
        "mails/queuesettings": QueueSettings.objects.create(queue="bulk").pk,
        "mails/storedfile": _upload(mails["key"]).pk,
        "auth/group": Group.objects.create(name="readers").pk,
        "auth/user": plain.pk,
    }
    return World(
        mails=mails,
        files={mail.pk: _upload(mail).pk for mail in mails.values()},
        links={mail.pk: a_link(mail=mail).pk for mail in mails.values()},
        key=key,
        text=text,
        other_text=other_text,
        ended=[revoked_text, expired_text, text[:-3] + "xyz", "nonsense"],
        values=values,
        objects={label: str(pk) for label, pk in objects.items()},
        owner=owner,
    )


def _upload(mail: Mail) -> StoredFile:
    return uploads.begin(
        filename="a", declared="text/plain", size=1, owner=uploads.Owner(api_key=mail.api_key, user=mail.user)
    )


def _message() -> EmailMessage:
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = "Hi", ZEUS, HERA
    message.set_content("Hi")
    message.add_alternative("<p>Hi</p>", subtype="html")
    message.add_attachment(b"x", maintype="application", subtype="octet-stream", filename="x.bin")
    return message


def answers(client: Client, method: str, path: str, **headers: str) -> bool:
    """Whether the request was answered; refused is a log-in, a 401, a 403 or a 404. What it changed is undone."""
    with transaction.atomic():
        kind = "application/json" if path.startswith("/api/v") else "application/x-www-form-urlencoded"
        body = "{}" if kind == "application/json" else "overlap=1"
        signed_in = client.cookies.output()
        answer = client.generic(method, path, "" if method == "GET" else body, content_type=kind, headers=headers)
        transaction.set_rollback(True)
    client.cookies.load(signed_in.replace("Set-Cookie: ", ""))  # also after a log-out
    assert answer.status_code < 500 or path == "/health/workers", (method, path, answer.status_code)
    assert answer.status_code != 405, (method, path)
    leads_to = answer.headers.get("Location", "") + answer.headers.get("HX-Redirect", "")
    return answer.status_code not in {401, 403, 404} and "/login/?next=" not in leads_to


def every_permission() -> frozenset[str]:
    rows = Permission.objects.values_list("content_type__app_label", "codename")
    return frozenset(f"{app}.{name}" for app, name in rows)


def test_every_address_has_its_place_in_the_matrix():
    placed = {route for row in MATRIX for route in row.routes}
    there = set(routes())

    assert there - placed == set(), "Give these a row in access_matrix.py and docs/access.md."
    assert placed - there == set(), "These are gone: take their rows out."


def test_the_documentation_has_every_row():
    page = (Path(settings.BASE_DIR) / "docs/access.md").read_text()
    table = [line for line in page.splitlines() if line.startswith("| ") and line.count(" | ") == 3][1:]

    assert table == [str(row) for row in MATRIX]


@dataclass
class Wrong:
    """The cells of the matrix that are not as it says. All of them are looked at before the test fails."""

    cells: list[str] = field(default_factory=list)

    def expect(self, is_answered: bool, expected: bool, *what: object) -> None:
        if is_answered != expected:
            self.cells.append(" ".join(map(str, what)) + (": is answered" if is_answered else ": is refused"))


@pytest.fixture
def wrong() -> Iterator[Wrong]:
    found = Wrong()
    yield found
    assert not found.cells, "\n" + "\n".join(found.cells)


def test_people(world: World, wrong: Wrong):
    """Anonymous, signed in, staff, superuser; with each set of permissions that suffices, and with all but one of it."""
    everything = every_permission()
    for route, method, who in CASES:
        path = world.path(route, world.mails["key"])
        for_all = who.anybody or who.signed_in
        for_staff = for_all or (who.staff and not who.any_of and who.superuser)

        wrong.expect(answers(world.anonymous, method, path), who.anybody, method, path, "anonymous")
        wrong.expect(answers(world.browser(), method, path), for_all, method, path, "signed in")
        wrong.expect(answers(world.browser(is_staff=True), method, path), for_staff, method, path, "staff")
        boss = world.browser(is_staff=True, is_superuser=True)
        wrong.expect(answers(boss, method, path), who.superuser, method, path, "superuser")
        if route.startswith("admin/"):
            wrong.expect(answers(world.browser(*everything), method, path), who.anybody, method, path, "not staff")
        for needed in who.any_of:
            wrong.expect(answers(world.browser(*needed, is_staff=who.staff), method, path), True, method, path, *needed)
        for lacking in itertools.product(*who.any_of):
            if lacking:
                without = world.browser(*everything - set(lacking), is_staff=True)
                wrong.expect(answers(without, method, path), False, method, path, "all but", *lacking)


def test_owners(world: World, wrong: Wrong):
    """A person with an email of their own, on that and on somebody else's."""
    browser = Client(raise_request_exception=False)
    browser.force_login(world.owner)
    for route, method, who in CASES:
        if ("mail_id" in route or "file_id" in route) and not route.startswith("admin/"):
            own, others = (world.path(route, world.mails[name]) for name in ("own", "key"))
            wrong.expect(answers(browser, method, own), who.owner or who.anybody, method, own, "own")
            wrong.expect(answers(browser, method, others), who.anybody, method, others, "somebody else's")


def test_keys(world: World, wrong: Wrong):
    """Each scope alone, all but one, revoked, expired and wrong keys, and the key of another client."""
    for route, method, who in CASES:
        if not route.startswith(API):
            continue
        path = world.path(route, world.mails["key"])
        for scope in api_keys.SCOPES:
            expected = scope == who.scope or who.anybody
            wrong.expect(world.asks(world.text, method, path, scope), expected, method, path, scope)
        if who.anybody:
            continue
        others = [scope for scope in api_keys.SCOPES if scope != who.scope]
        wrong.expect(world.asks(world.text, method, path, *others), False, method, path, "all but", who.scope)
        for text in world.ended:
            wrong.expect(world.asks(text, method, path, *api_keys.SCOPES), False, method, path, "ended or wrong")
        if any(name in route for name in ("mail_id", "file_id", "webhook_id")):
            wrong.expect(
                world.asks(world.other_text, method, path, *api_keys.SCOPES), False, method, path, "other client"
            )


def test_a_key_opens_no_page(world: World, wrong: Wrong):
    for route, method, who in CASES:
        if not route.startswith(API):
            path = world.path(route, world.mails["key"])
            wrong.expect(world.asks(world.text, method, path, *api_keys.SCOPES), who.anybody, method, path, "a key")


def test_no_other_method_of_the_api_is_answered(world: World):
    boss = world.browser(is_staff=True, is_superuser=True)
    for route in sorted({route for route, _, _ in CASES if route.startswith(API)}):
        path = world.path(route, world.mails["key"])
        for method in set(METHODS) - {method for there, method, _ in CASES if there == route}:
            assert boss.generic(method, path, "{}", "application/json").status_code == 405, (method, path)
