"""Bugs to be planted into Mercury's processes, to prove that the invariants catch them; and faults that only code can have.

Nothing of this is known to Mercury: `inject/sitecustomize.py` patches modules as a process of the runner imports them.
This module is imported before Django is there, so the patches import what they need themselves.
"""

import datetime as dt
import os
import queue
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

Patch = Callable[[Any], None]


@dataclass(frozen=True)
class Bug:
    """A bug, and how it shows: the scenario that it is run with on each leg, and the invariant that must catch it."""

    about: str
    scenarios: Mapping[str, str]
    invariant: str


KILLS = {"embedded": "kill-web", "full": "kill-workers"}
LOST_ANSWERS = {"embedded": "lost-answers", "full": "lost-answers"}
BUGS = {
    "attempt-after-call": Bug(
        "the attempt is written down after the call only",
        KILLS,
        "what was taken twice has an unknown outcome on record before the second send",
    ),
    "no-fence": Bug(
        "a worker that lost its lease writes its result all the same", {"full": "frozen-worker"}, "no mail has two DONE"
    ),
    "lost-answer-refused": Bug(
        "a lost answer is taken for a refusal",
        LOST_ANSWERS,
        "what was taken twice has an unknown outcome on record before the second send",
    ),
    "key-ignored": Bug("the idempotency key is ignored", LOST_ANSWERS, "one key, one mail"),
    "lease-never-taken-up": Bug("what a lost worker left is never taken up", KILLS, "nothing is stuck"),
    "queue-in-memory": Bug(
        "a mail is acknowledged while it is in memory only",
        {"embedded": "kill-web", "full": "kill-web"},
        "no acknowledged mail is missing",
    ),
}


FENCE = re.compile(
    r"\s+AND mails_mail\.status = r\.before AND mails_mail\.attempt_count = r\.attempts"
    r"\s+AND \(mails_mail\.lease = r\.fence OR \([^)]*\)\)"
)


class Planter(MetaPathFinder):
    """Patches the modules that the named plants are about, right after each was imported."""

    def __init__(self, names: Sequence[str]) -> None:
        self._patches: dict[str, list[Patch]] = {}
        for name in names:
            for module, patch in PLANTS[name].items():
                self._patches.setdefault(module, []).append(patch)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of the other finders, with a loader that patches."""
        patches = self._patches.get(fullname)
        if patches is None:
            return None
        others = (finder.find_spec(fullname, path, target) for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, others))
        load = spec.loader.exec_module  # type: ignore[union-attr]

        def exec_module(module: ModuleType) -> None:
            load(module)
            for patch in patches:
                patch(module)

        spec.loader.exec_module = exec_module  # type: ignore[union-attr,method-assign]
        return spec


def _attempt_after_call(writer: Any) -> None:
    """Keep the attempt and its events in memory until the request has ended."""
    record, sql = writer.record, writer.sql
    kept: dict[Any, Any] = {}

    def late(steps: Sequence[Any]) -> Any:
        listed = []
        for step in steps:
            if step.closed and (opened := kept.pop(step.closed.id, None)):
                row = writer._opened_row(opened)
                sql.execute([sql.insert_rows(writer.Attempt, sql.OPENED_COLUMNS, [row])])
                step = replace(step, events=opened.events + step.events)
            if step.opened:
                kept[step.opened.id] = step
                step = replace(step, opened=None, events=())
            listed.append(step)
        return record(listed)

    writer.record = late


def _no_fence(writer: Any) -> None:
    """Let every step win, whatever has happened to the email."""
    from django.db.backends.signals import connection_created

    def unfenced(execute: Callable[..., Any], sql: str, *arguments: Any) -> Any:
        return execute(FENCE.sub("", sql), *arguments)

    def plant(connection: Any, **_: Any) -> None:
        connection.execute_wrappers.append(unfenced)

    connection_created.connect(plant, weak=False)


def _always_held(claim: Any) -> None:
    claim.is_leased = lambda *_, **__: True


def _lost_answer_refused(sending: Any) -> None:
    from providers.outcomes import FailureClass, Refused, Unknown

    send = sending.Sender.send

    async def sure(self: Any, account: Any, message: Any) -> Any:
        outcome = await send(self, account, message)
        if isinstance(outcome, Unknown):
            return Refused(FailureClass.PROVIDER, reason_code=outcome.reason_code, reason=outcome.reason)
        return outcome

    sending.Sender.send = sure


def _key_ignored(intake: Any) -> None:
    accept = intake.accept
    intake.accept = lambda data, *, client, **_: accept(data, client=client)


def _never_taken_up(sweep: Any) -> None:
    sweep.find_lost = lambda now: []


def _queue_in_memory(intake: Any) -> None:
    """Acknowledge an email at once, and store it within a second, in a thread."""
    from mails.intake import submission
    from mercury.lib.database import database_clock

    waiting: queue.Queue[Any] = queue.Queue()
    known: dict[tuple[str, str], Any] = {}

    def store() -> None:
        while True:
            time.sleep(1.0)
            while not waiting.empty():
                intake._is_stored(waiting.get())

    def accept(data: Mapping[str, object], *, client: Any, idempotency_key: str | None = None) -> Any:
        key = idempotency_key or ""
        name = (client.owner, key)
        if name in known:
            return intake.Receipt(known[name], replayed=True)
        if not known:
            threading.Thread(target=store, daemon=True).start()
        wanted, now_ns = submission.parse(data), database_clock.now_ns()
        new = intake._new(wanted, client=client, received_at=now_ns, idempotency_key=key)
        known[name] = new.mail
        waiting.put(new)
        return intake.Receipt(new.mail, replayed=False)

    intake.accept = accept


def _abort_on_poison(message: Any) -> None:
    build = message.build

    def aborting(*arguments: Any, **options: Any) -> Any:
        if "poison" in repr((arguments, options)):
            os.abort()
        return build(*arguments, **options)

    message.build = aborting


def _short_silence(states: Any) -> None:
    states.WORKER_SILENCE = dt.timedelta(seconds=3)


def _quick_heartbeat(heartbeat: Any) -> None:
    heartbeat.HEARTBEAT, heartbeat.HEARTBEAT_TRUST = 0.5, 2.0


def _short_wait(breaker: Any) -> None:
    breaker.FIRST_WAIT = dt.timedelta(seconds=1)


def _sleep_by_waiting(settings: Any) -> None:
    """Sleep by another call, for libfaketime cannot shift the clock and leave this one's alone."""

    def sleep(seconds: float) -> None:
        threading.Event().wait(seconds)

    time.sleep = sleep  # type: ignore[assignment]


PLANTS: dict[str, dict[str, Patch]] = {
    "attempt-after-call": {"mails.lifecycle.writer": _attempt_after_call},
    "no-fence": {"mails.lifecycle.writer": _no_fence, "mails.dispatch.claim": _always_held},
    "lost-answer-refused": {"providers.transports.sender": _lost_answer_refused},
    "key-ignored": {"mails.intake.accept": _key_ignored},
    "lease-never-taken-up": {"mails.maintenance.sweeper": _never_taken_up},
    "queue-in-memory": {"mails.intake.accept": _queue_in_memory},
    "abort-on-poison": {"mails.message.mime": _abort_on_poison},
    "sleep-by-waiting": {"mercury.settings": _sleep_by_waiting},
    # For the short versions in CI: the same code with shorter silences.
    "hurry": {
        "mails.states": _short_silence,
        "mails.dispatch.heartbeat": _quick_heartbeat,
        "providers.health.breaker": _short_wait,
    },
}
