"""The suppression list on the command line."""

from pathlib import Path

import pytest

from mails.models import Suppression
from mails.tests.builders import HERA, IRIS
from mails.tests.commandline import run
from mercury.lib.audit.models import AuditEntry
from mercury.lib.commands import ExitCode

pytestmark = pytest.mark.django_db


def test_an_address_is_added_checked_listed_and_removed() -> None:
    assert (
        run("suppressions", "add", HERA, "--reason", "complaint", "--dry-run", "--json").document["change"] == "added"
    )
    assert not Suppression.objects.exists()
    assert "gets no more email" in run("suppressions", "add", HERA, "--reason", "complaint", "--expires", "90d").out
    found = run("suppressions", "check", HERA.upper(), "--json").document
    assert (found["suppressed"], found["reason"], found["scope"]) == (True, "complaint", "")
    assert "not suppressed" in run("suppressions", "check", IRIS, "--sender", "zeus@olimpus.com").out
    (row,) = run("suppressions", "list", "--address", HERA, "--reason", "complaint", "--json").lines
    assert (row["address"], row["source"]) == (HERA, "command line")
    assert "--scope" in run("suppressions", "remove", HERA, "--scope", "olimpus.com", "--yes").error
    assert "Would remove" in run("suppressions", "remove", HERA, "--dry-run").out
    assert run("suppressions", "remove", HERA, "--yes", "--json").document == {"removed": 1}
    assert run("suppressions", "remove", HERA, "--yes").code == ExitCode.FAILED
    assert AuditEntry.objects.filter(by="command line", act="delete").count() == 1


def test_a_file_is_imported_and_exported(tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text(f"address,detail\n{HERA},=1+1\n{IRIS},\n")
    assert run("suppressions", "import", str(file), "--dry-run", "--json").document["added"] == 2
    assert "Added 2" in run("suppressions", "import", str(file)).out
    exported = run("suppressions", "export").out
    assert "'=1+1" in exported
    assert len(run("suppressions", "export", "--json").lines) == 2
    file.write_text(exported)
    assert run("suppressions", "import", str(file), "--json").document["skipped"] == 2


def test_a_bad_file_and_bad_words_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text(f"address\n{HERA}\n*\n")
    refused = run("suppressions", "import", str(file))
    assert refused.code == ExitCode.FAILED
    assert "line 3, address" in refused.out
    assert run("suppressions", "import", str(tmp_path / "none.csv")).code == ExitCode.FAILED
    assert "everybody" in run("suppressions", "add", "*").error
    assert run("suppressions", "add", HERA, "--scope", "*").code == ExitCode.FAILED
    assert not Suppression.objects.exists()
