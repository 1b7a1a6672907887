"""What a query string may hold: parameters that are known, given once and with a value; lists that sort exactly."""

import threading

import pytest
from django.urls import URLPattern

from mails.tests.callers import HELLO, MAILS, caller, problem
from mails.tests.events.webhook_builders import a_delivery, a_webhook
from mails.tests.routing.builders import a_queue_rule, a_rule
from mercury import openapi
from mercury.urls import api

pytestmark = pytest.mark.django_db
LISTS = ["page", "cursor", "per_page", "expand", "filter", "sort"]
PERIOD = ["since", "until", "per"]


@pytest.fixture
def zeus():
    return caller()


@pytest.fixture
def urls(zeus, olympus):
    """Every URL of the API with values for its parameters, and the query parameters of its GET."""
    mail = zeus.post(MAILS, HELLO).json()
    event = zeus.get(mail["events"]).json()["events"][0]
    base = "/api/v1.0"
    delivery = a_delivery(a_webhook(zeus.key))
    webhook = f"{base}/webhooks/{delivery.webhook_id}"
    return {
        f"{base}/": [],
        MAILS: LISTS,
        mail["url"]: [],
        mail["events"]: LISTS,
        event: [],
        f"{base}/dispatcher/providers/": LISTS,
        f"{base}/dispatcher/providers/{olympus.account.pk}": [],
        f"{base}/dispatcher/rules/": LISTS,
        f"{base}/dispatcher/rules/{a_rule('greece', 'olympus').pk}": [],
        f"{base}/events/": ["cursor", "limit", "event", "mail", "since"],
        f"{base}/webhooks/": LISTS,
        webhook: [],
        f"{webhook}/deliveries/": LISTS,
        f"{webhook}/deliveries/{delivery.pk}": [],
        f"{base}/dispatcher/queue-rules/": LISTS,
        f"{base}/dispatcher/queue-rules/{a_queue_rule().pk}": [],
        f"{base}/files/": LISTS,
        f"{base}/links/": LISTS,
        f"{base}/suppressions/": LISTS,
        f"{base}/suppressions/export": ["filter"],
        f"{base}/stats/now": [],
        **{f"{base}/stats/{name}": PERIOD for name in ("queues", "applications", "providers", "series")},
        f"{base}/stats/breakers": PERIOD[:2],
        f"{base}/schema": [],
    }


def test_every_view_names_the_parameters_it_knows_where_it_is_given_another(zeus, urls):
    for url, known in urls.items():
        found = problem(zeus.get(url, {"flter": "x"}), 400, "unknown_parameter")

        assert found["allowed"] == {"parameters": [*known, "format"]}
        assert found["errors"][0]["parameter"] == "flter"
        assert zeus.get(url).status_code == 200
        assert zeus.get(url, {"format": "json"}).status_code == 200


def test_every_view_refuses_a_parameter_that_is_blank_or_given_twice(zeus, urls):
    for url, known in urls.items():
        for name in known:
            assert problem(zeus.get(f"{url}?{name}=1&{name}=2"), 400, f"invalid_{name}")["message"].startswith(name)
            if name != "cursor":
                assert problem(zeus.get(f"{url}?{name}=%20"), 400, f"invalid_{name}")["message"].startswith(name)
        problem(zeus.get(f"{url}?format="), 400, "invalid_format")
        assert problem(zeus.get(f"{url}?format=xml"), 400, "invalid_format")["allowed"]["format"]


def test_a_parameter_that_may_be_blank_is_accepted(zeus):
    assert zeus.get(f"{MAILS}?cursor=").status_code == 200


def test_a_post_takes_no_parameters(zeus):
    problem(zeus.post(f"{MAILS}?dry_run=true", HELLO), 400, "unknown_parameter")

    assert zeus.get(MAILS).json()["mails"] == []


def test_a_missing_method_and_missing_credentials_are_reported_first(zeus, client):
    problem(zeus.put(f"{MAILS}?x=1", {}), 405)
    problem(client.get(f"{MAILS}?x=1"), 401)


def test_the_parameters_that_are_described_are_those_that_are_known(zeus, urls):
    described = {}
    for path, operations in zeus.get("/api/v1.0/schema?format=json").json()["paths"].items():
        parameters = operations.get("get", {}).get("parameters", [])
        described[path] = [found["name"] for found in parameters if found["in"] == "query"]

    known = [sorted(names) for url, names in urls.items() if not url.endswith("/schema")]
    known.append(["address", "sender"])  # of `suppressions/check`, which needs one
    assert sorted(map(sorted, described.values())) == sorted(known + [[]] * (len(described) - len(known)))


def test_every_view_of_the_api_checks_its_query():
    views = [
        getattr(pattern.callback, "cls", None) or pattern.callback.view_class
        for pattern in api
        if isinstance(pattern, URLPattern)
    ]

    assert all(hasattr(view, "query_parameters") for view in views)


def test_a_value_that_a_field_cannot_hold_is_a_400_with_those_it_can(zeus, olympus):
    found = problem(zeus.get(MAILS, {"filter": "status,eq,sent"}), 400, "invalid_filter")
    assert "done" in found["allowed"]["status"]
    assert "done" in found["message"]

    for name, value in (("queue", "fast"), ("delivery_guarantee", "never"), ("failure_class", "mine")):
        assert name in problem(zeus.get(MAILS, {"filter": f"{name},in,{value}"}), 400, "invalid_filter")["allowed"]
    for name, value in (("kind", "pigeon"), ("source", "cloud")):
        answer = zeus.get("/api/v1.0/dispatcher/providers/", {"filter": f"{name},ne,{value}"})
        assert name in problem(answer, 400, "invalid_filter")["allowed"]
    assert zeus.get(MAILS, {"filter": "failure_class,eq,;status,eq,queued"}).status_code == 200


def test_a_list_that_is_sorted_down_is_the_exact_reverse_of_the_same_sorted_up(zeus):
    mails = [zeus.post(MAILS, HELLO).json() for _ in range(5)]
    events = mails[0]["events"]

    for url, fields in ((events, ("created_at", "created_by")), (MAILS, ("sender", "status", "attempts", "created"))):
        for field in fields:
            up, down = (_all_pages(zeus, url, f"{field},{way}") for way in ("asc", "desc"))
            assert up == down[::-1], field
            assert len(up) >= 3


def _all_pages(zeus, url, sort):
    """The ids of a list, read in pages of two by the URLs that it gives."""
    found, following = [], f"{url}?per_page=2&sort={sort}"
    while following:
        page = zeus.get(following).json()
        found += page.get("events") or page["mails"]
        following = page["meta"]["next_url"]
    return found


def test_the_schema_is_built_once_even_if_several_threads_ask_at_the_same_moment(monkeypatch):
    built = []
    made = openapi.SchemaGenerator.get_schema
    monkeypatch.setattr(
        openapi.SchemaGenerator, "get_schema", lambda self, **kwargs: built.append(1) or made(self, **kwargs)
    )
    texts = []
    threads = [threading.Thread(target=lambda: texts.append(openapi.render_schema("json"))) for _ in range(4)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(built) == 1
    assert len(texts) == 4
    assert len(set(texts)) == 1
