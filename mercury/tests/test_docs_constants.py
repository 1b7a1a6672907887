"""Numbers that the code declares once and texts repeat."""

import re
from pathlib import Path

import pytest

from mails.api.serializers.stats import WorkerStatusSerializer
from mails.dispatch.calls import PATIENCE
from mails.dispatch.heartbeat import HEARTBEAT
from mails.dispatch.planner import POLL
from mails.maintenance import leadership
from mails.states import WORKER_SILENCE
from mercury.lib.database import database_bounds
from mercury.management.commands import worker
from mercury.observability import metrics

ROOT = Path(__file__).resolve().parents[2]
WORDS = {2.0: "two", 5.0: "five", 10.0: "ten"}
SILENCE = WORKER_SILENCE.total_seconds()

# Where a text repeats a constant: a page, its value, and the sentence with {} (the figure) or {word} in the constant's place.
REPEATED = [
    ("docs/architecture.md", SILENCE, "after {} s without a heartbeat"),
    ("docs/operations.md", SILENCE, "| `no_worker` | no heartbeat for {} s |"),
    ("docs/operations.md", SILENCE, "consider nobody dead for {} s"),
    ("docs/decisions.md", SILENCE, "the {} s after which others take over"),
    ("docs/architecture.md", leadership.LEASE.total_seconds(), "which holds a lease of {} s"),
    ("docs/operations.md", HEARTBEAT, "`heartbeat_failed` every {} s"),
    ("docs/scaling.md", HEARTBEAT, "fresh rows every {} s"),
    ("docs/operations.md", POLL, "polls the database every {} s"),
    ("docs/decisions.md", POLL, "polls the database every {word} seconds"),
    ("docs/decisions.md", POLL, "one poll every {word} seconds"),
    ("docs/operations.md", POLL, "emails leave up to {word} seconds later"),
    ("docs/decisions.md", PATIENCE, "waits {word} seconds for its slot"),
    ("docs/operations.md", PATIENCE, "wait for a free slot, for {word} seconds at most"),
    ("docs/operations.md", database_bounds.COMMAND.lock, "| a command, `migrate` too | {} s |"),
]
# A sentence on liveness with another figure is wrong, wherever it is.
LIVENESS = re.compile(r"heartbeat (?:is at most|in the last|for|older than) (\d+(?:\.\d+)?) s\b")


def read_flat(path: Path) -> str:
    return " ".join(path.read_text().split())


@pytest.mark.parametrize(("page", "value", "sentence"), REPEATED)
def test_a_page_that_repeats_a_constant_has_its_value(page, value, sentence):
    assert sentence.format(f"{value:g}", word=WORDS.get(value)) in read_flat(ROOT / page)


def test_no_page_names_another_time_after_which_a_worker_is_considered_dead():
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("**/*.md"))]

    found = {(page.name, seconds) for page in pages for seconds in LIVENESS.findall(read_flat(page))}

    assert {seconds for _, seconds in found} == {f"{SILENCE:g}"}


def test_the_api_and_the_metrics_say_how_old_a_heartbeat_of_a_living_worker_is(db):
    assert WorkerStatusSerializer().fields["alive"].help_text == f"Its last heartbeat is at most {SILENCE:g} s old."
    assert (
        WorkerStatusSerializer().fields["seen_at"].help_text == f"Its last heartbeat; one comes every {HEARTBEAT:g} s."
    )
    texts = {family.name: family.documentation for family in metrics._MetricsCollector().collect()}
    assert texts["mercury_workers"] == f"Workers with a heartbeat in the last {SILENCE:g} s."


def test_the_worker_says_how_often_it_polls():
    assert f"polls the database every {POLL:g} s" in worker.Command.help
