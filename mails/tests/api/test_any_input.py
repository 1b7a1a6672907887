"""No input whatsoever gives a 500: raw bodies, headers and query strings that nobody thought of."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from mails.intake.submission import FIELDS
from mails.models import Mail
from mails.tests.callers import HELLO, MAILS, caller, send_raw

_any_text = st.text(st.characters(codec=None), max_size=40)
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _any_text | st.sampled_from(list(HELLO.values())),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_any_text, inner, max_size=3),
    max_leaves=6,
)
_mailboxes = st.fixed_dictionaries({}, optional={"email": _values, "name": _values})
_mails = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys((*FIELDS, "id", "url", "events", "x"), _values | st.lists(_mailboxes | _values, max_size=3)),
).map(lambda changes: HELLO | changes)
_keys = st.sampled_from(["a", "b", "", None]) | _values
_batched = (
    st.just(HELLO) | _values | _mails | st.builds(lambda mail, key: mail | {"idempotency_key": key}, _mails, _keys)
)
_bodies = (
    st.binary(max_size=100)
    | _any_text.map(lambda text: text.encode("utf-8", "surrogatepass"))
    | _values.map(lambda value: json.dumps(value).encode())
    | _mails.map(lambda mail: json.dumps(mail).encode())
)
_latin = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=40)
_headers = st.fixed_dictionaries(
    {},
    optional={
        "CONTENT_TYPE": st.sampled_from(["application/json", "application/json; charset=x", "a/b;c=d;e", ""]) | _latin,
        "HTTP_ACCEPT": st.sampled_from(["application/json", "text/html", "*/*", "a/b;q=x", ";"]) | _latin,
        "HTTP_IDEMPOTENCY_KEY": st.sampled_from(["a", "a b"]) | _latin,
        "HTTP_IF_NONE_MATCH": _latin,
        "HTTP_X_REQUEST_ID": _latin,
        "HTTP_COOKIE": _latin,
        "HTTP_CONTENT_ENCODING": _latin,
        "HTTP_ORIGIN": _latin,
        "HTTP_RANGE": _latin,
        "HTTP_X_CSRFTOKEN": _latin,
    },
)
_queries = st.text(max_size=60) | st.dictionaries(
    st.sampled_from(["page", "per_page", "expand", "filter", "sort", "format"]),
    st.sampled_from(["1", "true", "id,eq,1", "subject,like,%\\", "id,desc", "json", "api"]) | st.text(max_size=30),
).map(lambda query: "&".join(f"{name}={value}" for name, value in query.items()))
_many = settings(max_examples=120, deadline=None)


class AnyInput(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.zeus = caller()
        cls.mail = cls.zeus.post(MAILS, HELLO).json()

    def fine(self, answer):
        assert answer.status_code < 500, (answer.status_code, answer.content)
        if answer.status_code >= 400 and answer.content and answer["Content-Type"].endswith("json"):
            assert answer.json()["error"]
            assert answer.json()["message"]

    @_many
    @given(_bodies)
    def test_any_body_is_a_mail_or_a_4xx(self, body):
        self.fine(send_raw(self.zeus, body))

    @_many
    @given(st.lists(_mails, min_size=1, max_size=4))
    def test_each_email_of_a_batch_is_judged_as_if_it_came_alone(self, batch):
        together = send_raw(self.zeus, json.dumps(batch).encode(), f"{MAILS}batch")
        alone = [send_raw(self.zeus, json.dumps(mail).encode()) for mail in batch]

        if together.status_code == 400:  # the JSON of one is none
            assert 400 in {answer.status_code for answer in alone}
            return
        for number, (result, answer) in enumerate(zip(together.json()["results"], alone, strict=True)):
            found = [(error["code"], error["pointer"]) for error in result.get("errors", [])]
            errors = answer.json().get("errors", [])
            assert result["status"] == answer.status_code
            assert found == [(error["code"], f"/{number}{error['pointer']}") for error in errors][:20]

    @_many
    @given(st.lists(_batched, max_size=5))
    def test_any_batch_stores_what_it_says_it_has_stored(self, batch):
        before = Mail.objects.count()

        answer = send_raw(self.zeus, json.dumps(batch).encode(), f"{MAILS}batch")

        self.fine(answer)
        if answer.status_code >= 400:
            assert Mail.objects.count() == before
            return
        results = answer.json()["results"]
        stored = [result["mail"] for result in results if "mail" in result and not result.get("replayed")]
        assert len(results) == len(batch)
        assert len(set(stored)) == len(stored) == Mail.objects.count() - before
        assert (answer.status_code == 202) == all(result["status"] == 202 for result in results)
        for number, result in enumerate(results):
            for error in result.get("errors", ()):
                assert f"{error['pointer']}/".startswith(f"/{number}/")

    @_many
    @given(_bodies)
    def test_any_body_is_a_batch_or_a_4xx(self, body):
        self.fine(send_raw(self.zeus, body, f"{MAILS}batch"))

    @_many
    @given(
        _bodies
        | st.dictionaries(st.sampled_from(["event", "blob", "id", "x"]), _values).map(lambda e: json.dumps(e).encode())
    )
    def test_any_body_is_an_event_or_a_4xx(self, body):
        self.fine(send_raw(self.zeus, body, self.mail["events"]))

    @_many
    @given(_headers)
    def test_any_headers_do(self, headers):
        for method, url in (("POST", MAILS), ("GET", self.mail["url"])):
            self.fine(self.zeus.generic(method, url, json.dumps(HELLO).encode(), **headers))

    @_many
    @given(_latin)
    def test_any_credentials_do(self, credentials):
        for text in (credentials, f"Bearer {credentials}"):
            self.fine(self.client.get(MAILS, HTTP_AUTHORIZATION=text))

    @_many
    @given(_queries)
    def test_any_query_string_does(self, query):
        for url in (MAILS, self.mail["events"]):
            self.fine(self.zeus.generic("GET", url, QUERY_STRING=query.encode("utf-8", "replace").decode("latin-1")))

    @_many
    @given(st.text(max_size=30), st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "BREW"]))
    def test_any_path_and_method_do(self, path, method):
        for prefix in (MAILS, self.mail["events"], "/api/", "/"):
            url = (prefix + path).encode("utf-8", "replace").decode("latin-1")  # as WSGI hands it over
            self.fine(self.zeus.generic(method, "/", PATH_INFO=url))
