from django.test import Client, RequestFactory

from mercury import error_pages

PAGES = {"HTTP_ACCEPT": "text/html"}


def test_a_host_name_that_is_not_ours_gets_a_friendly_400():
    answer = Client().get("/api/v1.0/", HTTP_HOST="evil.example")

    assert answer.status_code == 400
    assert answer.json()["type"] == "urn:problem:mercury:wrong_host"
    assert "ALLOWED_HOSTS" in answer.json()["detail"]
    page = Client().get("/", HTTP_HOST="evil.example", **PAGES)
    assert page.status_code == 400
    assert "ALLOWED_HOSTS" in page.content.decode()


def test_an_unknown_path_is_json_for_clients_and_a_page_for_people():
    answer = Client().get("/nowhere")
    page = Client().get("/nowhere", **PAGES)

    assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")
    assert (page.status_code, page["Content-Type"].partition(";")[0]) == (404, "text/html")
    assert page["X-Request-ID"] in page.content.decode()
    assert Client().get("/api/v1.0/nowhere", **PAGES)["Content-Type"] == "application/problem+json"


def test_a_form_without_its_token_asks_to_reload(db):
    page = Client(enforce_csrf_checks=True).post("/login/", {}, **PAGES)

    assert page.status_code == 403
    assert "reload" in page.content.decode()


def test_the_error_pages_ask_nothing_of_the_database():
    request = RequestFactory().get("/", **PAGES)

    for page, status in ((error_pages.show_server_error, 500), (error_pages.show_store_unavailable, 503)):
        assert page(request).status_code == status
    for page, status in (
        (error_pages.show_bad_request, 400),
        (error_pages.show_permission_denied, 403),
        (error_pages.show_not_found, 404),
    ):
        assert page(request, Exception()).status_code == status


def test_an_error_page_without_its_template_is_plain_words(settings):
    settings.TEMPLATES = [settings.TEMPLATES[0] | {"DIRS": [], "APP_DIRS": False}]

    page = error_pages.show_server_error(RequestFactory().get("/", **PAGES))

    assert page.status_code == 500
    assert b"Unexpected error" in page.content
