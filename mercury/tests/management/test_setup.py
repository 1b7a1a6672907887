import json
import shlex
import socket

import pytest
from django.contrib.auth import get_user_model

from mails.access import api_keys
from mails.models import ApiKey
from mails.tests.commandline import run

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def static_folder(settings, tmp_path):
    settings.STATIC_ROOT = tmp_path / "staticfiles"


def test_the_first_start_makes_an_operator_and_a_key():
    made = run("setup", "--json").document

    operator = get_user_model().objects.get(username=made["username"], is_superuser=True)
    assert operator.check_password(made["password"])
    key = api_keys.find(made["key"])
    assert key is not None
    assert api_keys.Scope.STATS_READ in key.scopes


def test_the_second_start_keeps_everything_and_shows_no_secret():
    run("setup")

    again = run("setup")

    assert "changepassword mercury" in again.out
    assert "apikey create" in again.out
    assert "mk_" not in again.out
    assert get_user_model().objects.count() == ApiKey.objects.count() == 1


def test_the_printed_curl_line_submits_an_email(client):
    printed = run("setup").out
    words = shlex.split(printed[printed.index("curl -i") :].replace("\\\n", " "))
    headers = dict(word.split(": ") for word in words if ": " in word and not word.startswith("{"))

    answer = client.post(
        "/api/v1.0/mails/",
        json.loads(words[-1]),
        content_type=headers["Content-Type"],
        headers={"Authorization": headers["Authorization"]},
    )

    assert answer.status_code == 202, answer.content


def test_a_port_in_use_is_reported_before_anything_is_done():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        ran = run("setup", "--port", str(port))

    assert ran.code == 1
    assert f"make run PORT={port + 1}" in ran.error
    assert not get_user_model().objects.exists()


def test_a_dry_run_tells_a_first_start_from_a_later_one():
    first = run("setup", "--dry-run", "--json").document
    assert not get_user_model().objects.exists()
    run("setup")

    later = run("setup", "--dry-run")

    assert (first["migrations"], first["first_login"]) == (0, True)
    assert "Existing users and keys are kept" in later.out
