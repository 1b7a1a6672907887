"""How large a body may be, where, from whom, and how many at once."""

import gc
import io
import json
import threading
import tracemalloc
from itertools import pairwise

import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from mails.api.serializers.requests import MAX_BLOB
from mails.models import Mail
from mails.tests.callers import HELLO, MAILS, caller, problem, send_raw
from mails.tests.people import browser_of, hermes, zeus
from mercury.lib.rest import large_bodies
from mercury.lib.rest.large_bodies import SMALL, Budget
from mercury.lib.rest.problems import Problem
from mercury.middleware.body_limits import EVENT_LIMIT

pytestmark = pytest.mark.one_leg  # what is refused by its length reaches no database

MEGABYTE = 1_000_000


def peak_of(work):
    """Bytes that were allocated at once while `work` ran."""
    gc.collect()
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def paths(patterns, before="/"):
    for pattern in patterns:
        text = str(pattern.pattern).replace("^", "").replace("$", "")
        if isinstance(pattern, URLResolver):
            yield from paths(pattern.url_patterns, before + text)
        elif isinstance(pattern, URLPattern):
            yield before + text


def concrete(path):
    """An address that the pattern fits, near enough for what looks at its beginning and its end."""
    text = path.replace("/?", "")
    for mark, end in (("(?P<", ")"), ("<", ">"), ("(", ")")):
        while mark in text:
            start = text.index(mark)
            text = text[:start] + "1" + text[text.index(end, start) + 1 :].lstrip("/+")
    return text


ALL = sorted({concrete(path) for path in paths(get_resolver().url_patterns)})
OF_MAILS = {"/api/v1.0/mails", "/api/v1.0/mails/", "/api/v1.0/mails/batch"}
LARGE = {"/", "/preview"} | OF_MAILS
EVENTS = {path for path in ALL if "/mails/" in path and path.rstrip("/").endswith("/events")}

FILES = {path for path in ALL if path.startswith(("/api/v1.0/files", "/api/v1.0/suppressions/import"))}


def declared(client, path, length, **headers):
    body = b"x" * length if length < MEGABYTE else b""
    return client.generic("POST", path, body, CONTENT_LENGTH=str(length), **headers)


@pytest.mark.django_db
def test_only_paths_that_accept_mails_accept_more_than_64_kb():
    browser = browser_of(hermes())

    refused = {path for path in ALL if declared(browser, path, SMALL + 1).status_code == 413}

    assert set(ALL) - refused == LARGE | EVENTS | FILES
    assert all(declared(browser, path, EVENT_LIMIT + 1).status_code == 413 for path in EVENTS)


@pytest.mark.django_db
@pytest.mark.parametrize("letter", ["é", "\x7f"], ids=["letter", "control character"])
def test_the_longest_blob_is_accepted_however_json_writes_it(letter):
    zeus_calls = caller()
    [mail] = [zeus_calls.post(MAILS, HELLO, format="json").json()]
    blob = letter * (MAX_BLOB // len(letter.encode()))
    body = json.dumps({"event": "SEEN", "blob": blob}).replace("\x7f", "\\u007f").encode()

    answer = send_raw(zeus_calls, body, f"{MAILS}{mail['id']}/events/")

    assert answer.status_code == 201, answer.content[:500]


@pytest.mark.django_db
@pytest.mark.parametrize("length", [SMALL + 1, 10 * MEGABYTE, 10**30])
def test_a_client_without_a_session_sends_no_large_body_anywhere(client, length):
    client.cookies["sessionid"] = "of-nobody"
    paths = set(ALL) - EVENTS - FILES - OF_MAILS  # these look at the key before the body

    assert {path for path in paths if declared(client, path, length).status_code != 413} == set()
    client.cookies.clear()  # the same client, since a new one loads all middleware again
    allowed = set()
    for path in ALL:
        if declared(client, path, length).status_code != 413:
            allowed.add(path)
        client.cookies.clear()
    assert allowed <= EVENTS


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/", "/login/", MAILS])
def test_a_chunked_body_of_a_stranger_is_read_up_to_64_kb(path):
    stream = io.BytesIO(b"x" * 10 * MEGABYTE)
    chunked = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True, "wsgi.input": stream}

    answer = Client().generic("POST", path, b"", **chunked)

    assert (answer.status_code, stream.tell()) == (413, SMALL + 1)


@pytest.mark.django_db
def test_eight_log_ins_of_ten_megabytes_take_no_memory(rf):
    form = b"username=" + b"%26" * (10 * MEGABYTE // 3)
    streams = [io.BytesIO(form) for _ in range(8)]
    environ = rf.post("/login/", content_type="application/x-www-form-urlencoded").environ
    handler, statuses = WSGIHandler(), []

    def log_in():
        for stream in streams:
            asked = environ | {"wsgi.input": stream, "CONTENT_LENGTH": str(len(form))}
            handler(asked, lambda status, headers: statuses.append(status))

    assert peak_of(log_in) < len(form)  # not one of them was read
    assert {status[:3] for status in statuses} == {"413"}
    assert not any(stream.tell() for stream in streams)


@pytest.mark.django_db
def test_a_log_in_at_the_limit_takes_little():
    form = b"username=" + b"%26" * ((SMALL - 9) // 3)

    def log_in():
        assert Client().post("/login/", form, content_type="application/x-www-form-urlencoded").status_code == 200

    log_in()
    assert peak_of(log_in) < 10 * MEGABYTE


@pytest.mark.django_db
def test_a_refused_form_repeats_no_more_than_a_person_types_and_sends_no_half_of_a_text():
    browser = browser_of(zeus())
    form = dict.fromkeys(("sender", "recipient", "subject", "content"), "x" * (2 * MEGABYTE + 1))

    answer = browser.post("/", form)

    assert answer.status_code == 400
    assert len(answer.content) < 100_000
    assert answer.content.decode().count("Too long to show again") >= 4
    assert "x" * 1000 not in answer.content.decode()


@pytest.mark.django_db
def test_a_form_of_usual_length_is_repeated_whole():
    answer = browser_of(zeus()).post("/", {"sender": "", "recipient": "hera", "content": "y" * 50_000})

    assert "y" * 50_000 in answer.content.decode()


# The budget


def test_a_budget_gives_what_fits_and_takes_it_back():
    budget = Budget()

    took = [budget.acquire(size, limit=10, seconds=0) for size in (6, 5, 4, 1)]
    budget.release(6)

    assert took == [True, False, True, False]
    assert budget.acquire(6, limit=10, seconds=0)


def test_who_waits_goes_on_as_soon_as_there_is_room():
    budget, went_on = Budget(), threading.Event()
    budget.acquire(10, limit=10, seconds=0)

    def wait():
        if budget.acquire(10, limit=10, seconds=30):
            went_on.set()

    thread = threading.Thread(target=wait)
    thread.start()
    budget.release(10)
    thread.join(30)

    assert went_on.is_set()


def test_only_some_threads_wait_so_that_others_serve_what_is_small(monkeypatch):
    monkeypatch.setattr(large_bodies, "WAITING_AT_MOST", 0)
    budget = Budget()
    budget.acquire(10, limit=10, seconds=0)

    assert budget.acquire(1, limit=10, seconds=3600) is False


def fill(monkeypatch, settings):
    """Let the process work on as many large mails as it may."""
    monkeypatch.setattr(large_bodies, "WAIT_SECONDS", 0.0)
    monkeypatch.setattr(large_bodies, "BUDGET", Budget())
    size = large_bodies.AT_ONCE * settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    assert large_bodies.BUDGET.acquire(size, limit=size, seconds=0)


@pytest.fixture
def no_room(monkeypatch, settings):
    fill(monkeypatch, settings)


@pytest.mark.django_db
@pytest.mark.usefixtures("no_room")
def test_a_large_mail_that_finds_no_room_is_asked_to_come_again():
    answer = caller().post(MAILS, HELLO | {"content": "x" * SMALL})

    problem(answer, 503, "busy")
    assert answer["Retry-After"] == "2"


@pytest.mark.django_db
@pytest.mark.usefixtures("no_room")
def test_a_small_mail_needs_no_room_and_neither_does_a_wrong_key():
    assert caller().post(MAILS, HELLO).status_code == 202
    wrong = Client().generic(
        "POST", MAILS, b"x" * (SMALL + 1), HTTP_AUTHORIZATION="Bearer mk_no", content_type="application/json"
    )
    assert wrong.status_code == 401


@pytest.mark.django_db
@pytest.mark.usefixtures("no_room")
def test_a_large_form_that_finds_no_room_is_a_page():
    answer = browser_of(zeus()).post("/", {"content": "x" * (SMALL + 1)}, headers={"Accept": "text/html"})

    assert (answer.status_code, answer["Retry-After"]) == (503, "2")
    assert "busy with large emails" in answer.content.decode()


@pytest.mark.django_db
def test_what_a_request_reserved_is_free_again_whatever_became_of_it(monkeypatch):
    monkeypatch.setattr(large_bodies, "BUDGET", Budget())
    zeus_, person = caller(), browser_of(zeus())
    large = "x" * MEGABYTE

    zeus_.post(MAILS, HELLO | {"content": large})
    zeus_.post(MAILS, {"content": large})
    person.post("/", {"content": large})
    monkeypatch.setattr("mails.api.viewsets.mails._submit", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        zeus_.post(MAILS, HELLO | {"content": large})

    assert large_bodies.BUDGET._reserved == 0


def test_a_request_that_nobody_watches_holds_nothing(rf):
    large_bodies.reserve(rf.get("/"), 10**9)


def test_a_mail_above_all_that_fits_waits_for_an_empty_process(rf, monkeypatch, settings):
    monkeypatch.setattr(large_bodies, "BUDGET", Budget())
    first, second = rf.get("/"), rf.get("/")
    for request in (first, second):
        large_bodies.track(request)
    monkeypatch.setattr(large_bodies, "WAIT_SECONDS", 0.0)

    large_bodies.reserve(first, 10**12)
    with pytest.raises(Problem):
        large_bodies.reserve(second, SMALL + 1)
    large_bodies.release(first)
    large_bodies.reserve(second, SMALL + 1)

    assert large_bodies.BUDGET._reserved == SMALL + 1


# Answers and pages


@pytest.mark.django_db
def test_a_list_of_large_mails_is_small_and_says_what_it_leaves_out():
    client = caller()
    mails = [client.post(MAILS, HELLO | {"content": f"{number:07}" * (60_000)}).json() for number in range(20)]

    def read():
        answers.append(client.get(f"{MAILS}?expand=true&sort=id"))

    answers = []
    assert peak_of(read) < 15 * MEGABYTE
    found = answers[0].json()["mails"]
    assert len(answers[0].content) < 1.1 * MEGABYTE
    assert [mail["content_omitted"] for mail in found] == [False] * 2 + [True] * 18
    assert [mail["content"] for mail in found] == [mails[0]["content"], mails[1]["content"], *[None] * 18]
    whole = client.get(found[-1]["url"]).json()
    assert (whole["content"], whole["content_omitted"]) == (mails[-1]["content"], False)
    assert answers[0].json()["meta"]["total"] == 20


@pytest.mark.django_db
def test_a_small_mail_behind_large_ones_is_shown_whole():
    client = caller()
    for content in ("a" * 900_000, "b" * 900_000, "c"):
        client.post(MAILS, HELLO | {"content": content})

    found = client.get(f"{MAILS}?expand=true&sort=id").json()["mails"]

    assert [mail["content_omitted"] for mail in found] == [False, True, False]
    assert found[2]["content"] == "c"


@pytest.mark.django_db
def test_a_mail_has_room_for_so_many_events_and_no_more(monkeypatch):
    monkeypatch.setattr("mails.lifecycle.writer.CLIENT_EVENTS", 3)
    client = caller()
    events = client.post(MAILS, HELLO).json()["events"]

    answers = [client.post(events, {"event": "READ"}) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [201, 201, 201, 409]
    problem(answers[-1], 409, "too_many_events")
    other = client.post(MAILS, HELLO).json()["events"]
    assert client.post(other, {"event": "READ"}).status_code == 201


@pytest.mark.django_db
def test_the_blobs_of_a_mail_are_bounded_all_together():
    client = caller()
    events = client.post(MAILS, HELLO).json()["events"]

    answers = [client.post(events, {"event": "READ", "blob": "&" * 60_000}) for _ in range(18)]

    assert [answer.status_code for answer in answers] == [201] * 16 + [409] * 2


PAGES = (
    "/mails/{}",
    "/mails/{}?events=all",
    "/mails/{}/timeline",
    "/admin/mails/mail/{}/change/",
    "/admin/mails/mail/{}/change/?events=all",
)


@pytest.mark.django_db
@pytest.mark.parametrize("page", PAGES)
def test_the_page_of_a_mail_with_all_events_that_fit_is_bounded(page):
    client, operator = caller(), browser_of(hermes())
    mail = client.post(MAILS, HELLO).json()
    for size in (60_000,) * 16:
        client.post(mail["events"], {"event": "READ", "blob": "&" * size})

    def read():
        answers.append(operator.get(page.format(mail["id"])))

    answers = []
    assert peak_of(read) < 20 * MEGABYTE
    assert answers[0].status_code == 200
    assert len(answers[0].content) < 0.6 * MEGABYTE


@pytest.mark.django_db
@pytest.mark.parametrize("page", PAGES)
def test_the_page_of_a_large_mail_shows_its_beginning(page):
    client, operator = caller(), browser_of(hermes())
    mail = client.post(MAILS, HELLO | {"content": "&" * 9 * MEGABYTE}).json()

    def read():
        answers.append(operator.get(page.format(mail["id"])))

    answers = []
    assert peak_of(read) < 25 * MEGABYTE
    assert len(answers[0].content) < 3 * MEGABYTE
    if "timeline" not in page:
        assert "Only the beginning is shown" in answers[0].content.decode()


@pytest.mark.django_db
def test_the_download_of_a_large_mail_is_whole_and_waits_for_room(monkeypatch, settings):
    client, operator = caller(), browser_of(hermes())
    mail = client.post(MAILS, HELLO | {"content": "line\n" * 100_000}).json()

    whole = operator.get(f"/mails/{mail['id']}/message.eml").content

    assert whole.count(b"line") == 100_000
    fill(monkeypatch, settings)
    for answer in (operator.get(f"/mails/{mail['id']}/message.eml"), client.get(mail["url"])):
        assert answer.status_code == 503


@pytest.mark.django_db
@pytest.mark.parametrize(
    "submission",
    [
        HELLO | {"recipient": ["x"] * 90_000},
        HELLO | {"recipient": "x," * 4_500_000},
        HELLO | {"recipient": "x" * 9_000_000},
        HELLO | {"sender": "x" * 9_000_000},
        HELLO | {"subject": "x" * 9_000_000},
        HELLO | {"queue": "x" * 9_000_000},
        HELLO | {"x" * 9_000_000: 1},
        HELLO | {f"x{number}": 1 for number in range(90_000)},
        {"metadata": [[]] * 90_000},
    ],
    ids=lambda submission: max(submission, key=lambda name: len(json.dumps(submission[name])))[:12],
)
def test_a_refusal_of_a_large_body_is_small(submission):
    client, operator = caller(), browser_of(hermes())

    answer = client.post(MAILS, submission)

    kept = problem(answer, 400).get("mail")
    assert len(answer.content) < 20_000
    for page in (
        "/admin/mails/mail/",
        "/admin/mails/mail/export/",
        *([f"/mails/{kept.rpartition('/')[2]}"] if kept else []),
    ):
        read = operator.get(page)
        assert len(b"".join(read) if read.streaming else read.content) < 200_000
    assert kept is None or len(client.get(kept).content) < 20_000


@pytest.mark.django_db
def test_the_memory_of_a_large_mail_is_in_proportion_to_it():
    client = caller()
    peaks = []
    for size in (1, 2, 4):
        body = json.dumps(HELLO | {"content": "x" * size * MEGABYTE}).encode()

        def send(body=body):
            assert client.generic("POST", MAILS, body, content_type="application/json").status_code == 202

        peaks.append(peak_of(send) / size / MEGABYTE)

    assert max(peaks) < 20
    assert all(later < 1.5 * earlier for earlier, later in pairwise(peaks))


@pytest.mark.django_db
def test_a_process_keeps_no_more_than_the_last_large_bodies():
    """A request and its answer refer to each other: without a collection of its own, each of them stayed."""
    client = caller()
    body = json.dumps(HELLO | {"content": "x" * 2 * MEGABYTE}).encode()
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        for _ in range(6):
            client.generic("POST", MAILS, body, content_type="application/json")
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
        gc.enable()

    assert kept < 16 * MEGABYTE  # of six, each holds two copies and the test client's own


@pytest.mark.django_db
def test_a_large_mail_is_not_copied_into_a_form():
    client, operator = caller(), browser_of(hermes())
    answers = []
    for size in (900_000, 1_100_000):
        mail = client.post(MAILS, HELLO | {"content": "x" * size}).json()
        Mail.objects.filter(pk=mail["id"]).update(status="done")
        answers.append(operator.get(f"/?copy={mail['id']}").content.decode())

    assert ["x" * 900_000 in answer for answer in answers] == [True, False]
    assert len(answers[1]) < 50_000
    assert "send it again with the API" in answers[1]
