from django.test import Client


def test_the_root_names_each_endpoint_with_its_method_and_url():
    answer = Client().get("/api/v1.0/", HTTP_HOST="127.0.0.1:8000")

    (version, endpoints), *others = answer.json()["versions"].items()
    assert (version, others) == ("v1.0", [])
    assert endpoints["create an email [POST]"] == "http://127.0.0.1:8000/api/v1.0/mails/"
    assert endpoints["read an event [GET]"] == "http://127.0.0.1:8000/api/v1.0/mails/{mail_id}/events/{event_id}"
    assert endpoints["remove a provider account [DELETE]"].endswith("/api/v1.0/dispatcher/providers/{account_id}")


def test_the_root_of_the_api_answers_without_a_last_slash_too():
    answer = Client().get("/api/v1.0", HTTP_HOST="127.0.0.1:8000")

    assert (answer.status_code, answer.json()) == (200, Client().get("/api/v1.0/", HTTP_HOST="127.0.0.1:8000").json())
