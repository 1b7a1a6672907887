"""No request gets a 5xx: every URL with odd paths, query strings, methods and bodies, as everybody who may ask."""

import json
import random
from collections.abc import Iterator

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.urls.resolvers import RegexPattern, RoutePattern

from mails.models import Mail
from mails.tests.builders import a_mail
from mails.tests.callers import caller
from mails.tests.people import PASSWORD, hermes, zeus

pytestmark = pytest.mark.django_db

MANY = "9" * 30
ODD_PARTS = ["0", "1", "-1", MANY, "9" * 5000, "x", "%00", "%F0%9F", "..%2F", "a b", "é", "None", "1/1", "_5F", "1e3"]
ODD_VALUES = [
    "",
    "abc",
    "-1",
    "0",
    MANY,
    "[",
    "\\",
    "\x00",
    "é\ud800",
    "1,2",
    "true",
    "*",
    "%",
    "(",
    "0001-01-01",
    "9" * 5000,
]
NAMES = [
    "q", "p", "o", "e", "all", "_popup", "_to_field", "_changelist_filters", "next", "page", "cursor", "sort", "filter",
    "app", "state", "queue", "age", "account", "list", "events", "images", "before", "after", "far", "copy", "kind",
    "period", "since", "until", "per", "id", "id__exact", "name__regex", "name__in", "created_at__gte", "user__username",
    "action", "included", "account_choice", "via", "batches", "at", "seen", "status", "stop", "note", "format", "version", "script", "pk",
]  # fmt: skip
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"]
BODIES = [
    (b"", "application/x-www-form-urlencoded"),
    (b"action=delete_selected&_selected_action=x&select_across=1", "application/x-www-form-urlencoded"),
    (b"action=" + b"x" * 300 + b"&note=%00%ff&overlap=abc&kind=%5B&choice=9999999999999999999999",
     "application/x-www-form-urlencoded"),
    (b"{", "application/json"),
    (b"[1, null, {}]", "application/json"),
    (json.dumps(dict.fromkeys(NAMES, MANY)).encode(), "application/json"),
    (b"--x\r\nContent-Disposition: form-data; name=\"a\"; filename=\"\xff\"\r\n\r\n\x00\r\n--x--", "multipart/form-data; boundary=x"),
    (b"\xff\xfe\x00", "multipart/form-data"),
]  # fmt: skip
QUERIES_OF_A_URL = 2
URLS_OF_EACH = 60  # other ones for each of those who ask: all of them take minutes
MAY_BE_503 = "/health/workers"  # nobody sends while this test runs


def urls(patterns, before="/") -> Iterator[str]:
    """Each URL as a text with braces around the names of its parts."""
    for pattern in patterns:
        route = before + _template(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from urls(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern):
            yield route


def _template(pattern) -> str:
    if isinstance(pattern, RoutePattern):
        text = str(pattern)
        for name, converter in pattern.converters.items():
            kind = type(converter).__name__.removesuffix("Converter").lower()
            for written in (f"<{kind}:{name}>", f"<str:{name}>", f"<{name}>"):
                text = text.replace(written, "{" + name + "}")
        return text
    assert isinstance(pattern, RegexPattern)
    text = str(pattern).removeprefix("^").removesuffix("$").removesuffix("/?")
    while "(?P<" in text:
        head, _, rest = text.partition("(?P<")
        name, _, rest = rest.partition(">")
        depth, end = 1, 0
        for end, letter in enumerate(rest):  # noqa: B007 (where the group ends)
            depth += {"(": 1, ")": -1}.get(letter, 0)
            if not depth:
                break
        text = head + "{" + name + "}" + rest[end + 1 :]
    return text.replace("\\", "")


def filled(template: str, chance: random.Random, real: dict[str, str], *, odd: bool) -> str:
    """The URL with real parts, or with odd ones."""
    url = template
    while "{" in url:
        head, _, rest = url.partition("{")
        name, _, rest = rest.partition("}")
        part = chance.choice(ODD_PARTS) if odd else real.get(name, "1")
        url = head + part + rest
    return url


@pytest.fixture
def everybody(olympus):
    """Who may ask, and the parameters of the URLs."""
    person, operator = zeus(), hermes()
    staff = type(person).objects.create_user("iris", password=PASSWORD, is_staff=True)
    mail = a_mail()
    found = {"anonymous": Client(), "key": caller("shop")}
    for name, user in (("person", person), ("staff", staff), ("operator", operator)):
        found[name] = Client()
        found[name].force_login(user)
    for client in found.values():
        client.raise_request_exception = False
    real = {
        "mail_id": str(mail.pk),
        "object_id": str(mail.pk),
        "account": olympus.name,
        "account_id": str(olympus.account.pk),
        "event_id": str(mail.events.first().pk),
        "app_label": "mails",
        "verb": "cancel",
        "name": "text",
        "content_type_id": "1",
        "url": "x",
        "path": "x.css",
    }
    return found, real


def ask(client, method: str, url: str, body: bytes = b"", content_type: str = "text/plain") -> int:
    path, _, query = url.partition("?")
    wire = query.encode("utf-8", "surrogatepass").decode("latin-1")
    answer = client.generic(method, path, body, content_type=content_type, QUERY_STRING=wire)
    if answer.streaming:
        list(answer.streaming_content)
    return answer.status_code


@pytest.mark.parametrize("who", ["anonymous", "person", "staff", "operator", "key"])
def test_no_odd_request_gets_a_5xx(who, everybody):
    clients, real = everybody
    chance = random.Random(who)  # the same requests at every run, others for each of them
    bad = []

    for template in chance.sample(sorted(set(urls(get_resolver().url_patterns))), URLS_OF_EACH):
        asked = []
        for odd in (False, True):
            url = filled(template, chance, real, odd=odd)
            asked.append(("GET", url, b"", "text/plain"))
            for _ in range(QUERIES_OF_A_URL):
                query = "&".join(f"{chance.choice(NAMES)}={chance.choice(ODD_VALUES)}" for _ in range(2))
                asked.append(("GET", f"{url}?{query}", b"", "text/plain"))
            body, content_type = chance.choice(BODIES)
            asked.append((chance.choice(METHODS), url, body, content_type))
            asked.append(("POST", url, body, content_type))
        asked.append(("GET", f"{filled(template, chance, real, odd=False)}?_to_field=", b"", "text/plain"))
        for method, url, body, content_type in asked:
            if (
                "logout" not in url
                and not url.startswith(MAY_BE_503)
                and (status := ask(clients[who], method, url, body, content_type)) >= 500
            ):
                bad.append((status, method, url[:200], body[:60]))

    assert bad == []
    assert Mail.objects.exists()


@pytest.mark.parametrize(
    "url",
    [
        "/admin/mails/mail/?app=abc",
        "/admin/mails/mail/?app=99999999999999999999",
        "/admin/r/1/1/",
        "/admin/r/0/x/",
        "/admin/r/99999999999999999999/1/",
        "/admin/mails/apikey/?name__regex=[",
        "/admin/auth/user/?username__regex=[",
        "/admin/auth/user/?id__exact=99999999999999999999",
        "/admin/auth/user/?date_joined__gte=x",
        "/admin/auth/user/99999999999999999999/change/",
        "/admin/axes/accesslog/?attempt_time__gte=0",
        "/admin/mails/apikey/1/change/?_to_field=",
        "/admin/mails/apikey/%00/change/",
        "/admin/autocomplete/?app_label=auth&model_name=user&field_name=groups&term=x",
        "/admin/jsi18n/?x=%00",
    ],
)
def test_an_operator_gets_no_5xx_for_a_value_that_cannot_be_read(url, everybody):
    clients, _ = everybody

    assert ask(clients["operator"], "GET", url) < 500
