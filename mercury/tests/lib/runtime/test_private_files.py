"""Nobody else on the machine reads what Mercury writes; checks report what was there before."""

import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
from django.conf import settings as django_settings

from mercury import checks
from mercury.lib.database.fair_sqlite.base import DatabaseWrapper
from mercury.lib.runtime import private_files
from providers.sandbox import mailbox

pytestmark = pytest.mark.one_leg


@pytest.fixture(autouse=True)
def careless_umask():
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_folders_and_files_are_their_owner_s_alone(tmp_path):
    private_files.make_folder(tmp_path / "a" / "b")
    private_files.write(tmp_path / "a" / "mail", b"Hi")
    private_files.touch(tmp_path / "a" / "empty")

    assert [mode(path) for path in (tmp_path / "a", tmp_path / "a" / "b")] == [0o700] * 2
    assert [mode(path) for path in (tmp_path / "a" / "mail", tmp_path / "a" / "empty")] == [0o600] * 2


def test_what_is_there_stays_as_it_is(tmp_path):
    (tmp_path / "kept").write_text("Hi")
    (tmp_path / "kept").chmod(0o644)
    tmp_path.chmod(0o750)

    private_files.make_folder(tmp_path)
    private_files.touch(tmp_path / "kept")

    assert (mode(tmp_path), mode(tmp_path / "kept"), (tmp_path / "kept").read_text()) == (0o750, 0o644, "Hi")


def test_a_mailbox_is_its_owner_s_alone(settings, tmp_path):
    settings.MERCURY_DATA = tmp_path / "data"

    mailbox.store("olympus", b"Subject: x\n\nHi")

    found = list((tmp_path / "data").rglob("*"))
    assert len(found) == 6
    assert {mode(path) for path in found if path.is_dir()} == {0o700}
    assert {mode(path) for path in found if path.is_file()} == {0o600}


def test_a_new_sqlite_file_and_those_next_to_it_are_their_owner_s_alone(tmp_path):
    path = tmp_path / "new.sqlite3"
    options = django_settings.DATABASES["default"] | {
        "ENGINE": "mercury.lib.database.fair_sqlite",
        "NAME": str(path),
        "OPTIONS": {},
    }
    wrapper = DatabaseWrapper(
        {"TIME_ZONE": None, "AUTOCOMMIT": True, "CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": False} | options
    )

    connection = wrapper.get_new_connection(wrapper.get_connection_params())
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE one (id)")
    connection.commit()

    assert {mode(file) for file in tmp_path.iterdir()} == {0o600}
    assert len(list(tmp_path.iterdir())) == 3
    connection.close()


def test_a_start_with_a_secret_of_its_own_makes_a_private_folder(tmp_path):
    environment = {
        "PATH": os.environ["PATH"],
        "SECRET_KEY": "x" * 50,
        "MERCURY_DATA": str(tmp_path / "data"),
        "DJANGO_SETTINGS_MODULE": "mercury.settings",
    }

    subprocess.run(
        [sys.executable, "-c", "import django; django.setup()"],
        env=environment,
        cwd=django_settings.BASE_DIR,
        check=True,
    )

    assert mode(tmp_path / "data") == 0o700


@pytest.mark.parametrize(("found", "warned"), [(0o700, False), (0o770, False), (0o755, True), (0o701, True)])
def test_a_data_folder_that_everybody_can_read_is_reported(settings, tmp_path, monkeypatch, found, warned):
    monkeypatch.setattr(checks, "connection", Mock(vendor="postgresql"))
    settings.MERCURY_DATA = tmp_path
    tmp_path.chmod(found)

    messages = checks.check_files()

    assert [message.id for message in messages] == ["mercury.W012"] * warned
    assert all(f"chmod 700 {tmp_path}" in message.hint for message in messages)
    tmp_path.chmod(0o700)


def test_a_database_that_everybody_can_read_is_reported(settings, tmp_path, monkeypatch):
    path = tmp_path / "elsewhere.sqlite3"
    sqlite3.connect(path).close()
    path.chmod(0o644)
    settings.MERCURY_DATA = tmp_path / "nowhere"
    monkeypatch.setattr(checks, "connection", Mock(vendor="sqlite", settings_dict={"NAME": str(path)}))

    [message] = checks.check_files()

    assert message.hint == f"chmod 600 {path}"


def test_the_image_s_data_folder_is_private_and_the_build_takes_no_database():
    root = Path(django_settings.BASE_DIR)

    assert "mkdir -m 700 /data" in (root / "Dockerfile").read_text()
    assert {"data", "*.sqlite3*"} <= set((root / ".dockerignore").read_text().split())
