"""Bugs to be planted into Mercury's processes, to prove that the invariants catch them; and failures that only code can have.

Mercury knows nothing of this: `inject/sitecustomize.py` patches modules as a process of the runner imports them.
This module is imported before Django is set up, so the patches import what they need themselves.
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
from pathlib import Path
from types import ModuleType
from typing import Any

Patch = Callable[[Any], None]


@dataclass(frozen=True)
class Bug:
    """A bug, the scenario that shows it on each leg, and the invariant that must catch it."""

    about: str
    scenarios: Mapping[str, str]
    invariant: str


KILLS = {"embedded": "kill-web", "full": "kill-workers"}
LOST_ANSWERS = {"embedded": "lost-answers", "full": "lost-answers"}
BUGS = {
    "attempt-after-call": Bug(
        "the attempt is recorded only after the request",
        KILLS,
        "an email sent twice has an unknown outcome on record before the second send",
    ),
    "no-fence": Bug(
        "a worker that lost its lease still records its result",
        {"full": "frozen-worker"},
        "no email has two DONE",
    ),
    "lost-answer-refused": Bug(
        "a lost answer counts as a refusal",
        LOST_ANSWERS,
        "an email sent twice has an unknown outcome on record before the second send",
    ),
    "lost-answer-not-attempted": Bug(
        "a lost answer counts as a request that was never made",
        LOST_ANSWERS,
        "an email sent twice has an unknown outcome on record before the second send",
    ),
    "contents-mixed-up": Bug(
        "a claim loads the message of another email", LOST_ANSWERS, "each email arrives as it was submitted"
    ),
    "tried-route-not-found": Bug(
        "a claim finds no route of emails that an account was tried for", KILLS, "nothing is stuck"
    ),
    "key-ignored": Bug("the idempotency key is ignored", LOST_ANSWERS, "one key, one email"),
    "dead-worker-not-recovered": Bug("emails of a dead worker are never recovered", KILLS, "nothing is stuck"),
    "queue-in-memory": Bug(
        "an email is acknowledged while it is only in memory",
        {"embedded": "kill-web", "full": "kill-web"},
        "no acknowledged email is missing",
    ),
}


FENCE = re.compile(
    r"\s+AND mails_mail\.status = r\.before AND mails_mail\.attempt_count = r\.attempts"
    r"\s+AND \(mails_mail\.lease = r\.fence OR \([^)]*\)\)"
)


class Planter(MetaPathFinder):
    """Patches the modules of the named plants right after each is imported."""

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


def _replace(module: Any, **values: Any) -> None:
    """Replace names of the module. Raises AttributeError for one that it does not have, so that no plant misses."""
    for name, value in values.items():
        getattr(module, name)
        setattr(module, name, value)


def _record_attempt_after_call(writer: Any) -> None:
    """Keep the attempt and its events in memory until the request has ended."""
    record, sql = writer.record, writer.sql
    kept: dict[Any, Any] = {}

    def record_late(steps: Sequence[Any]) -> Any:
        listed = []
        for step in steps:
            if step.closed and (opened := kept.pop(step.closed.id, None)):
                sql.execute(sql.open_attempts([(*writer._get_opened_row(opened.opened), opened.mail_id)]))
                step = replace(step, events=opened.events + step.events)
            if step.opened:
                kept[step.opened.id] = step
                step = replace(step, opened=None, events=())
            listed.append(step)
        return record(listed)

    _replace(writer, record=record_late)


def _remove_fence(writer: Any) -> None:
    """Remove the fence: every step is written, whatever has happened to the email."""
    from django.db.backends.signals import connection_created

    def execute_unfenced(execute: Callable[..., Any], sql: str, *arguments: Any) -> Any:
        return execute(FENCE.sub("", sql), *arguments)

    def plant(connection: Any, **_: Any) -> None:
        connection.execute_wrappers.append(execute_unfenced)

    connection_created.connect(plant, weak=False)


def _trust_every_lease(claim: Any) -> None:
    _replace(claim, is_leased=lambda *_, **__: True)


def _refuse_lost_answers(sending: Any) -> None:
    from providers.outcomes import FailureClass, Refused

    _turn_lost_answers(sending, lambda **words: Refused(failure_class=FailureClass.PROVIDER, **words))


def _deny_lost_answers(sending: Any) -> None:
    from providers.outcomes import Cause, NotAttempted

    _turn_lost_answers(sending, lambda **words: NotAttempted(cause=Cause.WORKER, **words))


def _turn_lost_answers(sending: Any, build: Callable[..., Any]) -> None:
    """Return another outcome, which `build` makes of the reason, wherever the outcome is unknown."""
    from providers.outcomes import Unknown

    send = sending.Sender.send

    async def send_and_turn(self: Any, account: Any, message: Any) -> Any:
        outcome = await send(self, account, message)
        return (
            build(reason_code=outcome.reason_code, reason=outcome.reason) if isinstance(outcome, Unknown) else outcome
        )

    _replace(sending.Sender, send=send_and_turn)


def _mix_up_contents(contents: Any) -> None:
    """Give each call the message of the call before it."""
    load = contents.load_messages
    earlier: list[Any] = []

    def load_mixed_up(calls: Sequence[Any]) -> Any:
        loaded, not_made = load(calls)
        messages = [*earlier, *(call.message for call in loaded)]
        earlier[:] = messages[-1:]
        return [replace(call, message=message) for call, message in zip(loaded, messages, strict=False)], not_made

    _replace(contents, load_messages=load_mixed_up)


def _find_no_tried_routes(routes: Any) -> None:
    find_routes = routes.find_routes

    def find_untried_routes(*arguments: Any, **options: Any) -> Any:
        found = find_routes(*arguments, **options)
        return [route for route in found if not routes.parse_route(route.name).accounts.tried]

    _replace(routes, find_routes=find_untried_routes)


def _ignore_key(intake: Any) -> None:
    accept = intake.accept

    def accept_without_keys(submissions: Sequence[Any], *, client: Any) -> Any:
        return accept([replace(submission, idempotency_key=None) for submission in submissions], client=client)

    _replace(intake, accept=accept_without_keys)


def _find_no_lost_mails(sweep: Any) -> None:
    _replace(sweep, find_lost=lambda now: [])


def _keep_queue_in_memory(intake: Any) -> None:
    """Acknowledge an email at once, and store it within a second, in a thread."""
    waiting: queue.Queue[Any] = queue.Queue()
    known: dict[tuple[str, str], Any] = {}

    def store() -> None:
        while True:
            time.sleep(1.0)
            while not waiting.empty():
                intake._store([waiting.get()])

    def acknowledge(submission: Any, client: Any) -> Any:
        name = (client.owner, submission.idempotency_key or "")
        if name in known:
            return intake.Stored(mail=known[name], replayed=True)
        new = intake.Judge(client).judge(submission).new
        known[name] = new.mail
        waiting.put(new)
        return intake.Stored(mail=new.mail)

    def accept(submissions: Sequence[Any], *, client: Any) -> Any:
        if not known:
            threading.Thread(target=store, daemon=True).start()
        return [acknowledge(submission, client) for submission in submissions]

    _replace(intake, accept=accept)


def _abort_on_poison(mime: Any) -> None:
    build = mime.build_message

    def abort_on_poison(mail_id: Any, message: Any, **options: Any) -> Any:
        if "poison" in f"{message.subject} {message.text}":
            os.abort()
        return build(mail_id, message, **options)

    _replace(mime, build_message=abort_on_poison)


def _add_slow_task(scheduler: Any) -> None:
    """Add a periodic task that lasts as long as a file `slow-task` is in the data folder, and leaves a file where it began."""
    begin = scheduler.Scheduler.__init__

    def begin_with_slow_task(self: Any, **options: Any) -> None:
        begin(self, **options)
        self.tasks["slow"] = hang

    def hang(beat: Any) -> None:
        flag = Path(os.environ["MERCURY_DATA"], "slow-task")
        if flag.exists():
            flag.with_name(f"{flag.name}-{os.getpid()}").touch()
        while flag.exists():
            time.sleep(0.05)

    _replace(scheduler.Scheduler, __init__=begin_with_slow_task)


def _shorten_silence(states: Any) -> None:
    _replace(states, WORKER_SILENCE=dt.timedelta(seconds=3))


def _quicken_heartbeat(heartbeat: Any) -> None:
    _replace(heartbeat, HEARTBEAT=0.5, HEARTBEAT_TRUST=2.0)


def _claim_sooner(redis_streams: Any) -> None:
    _replace(redis_streams, CLAIM_AFTER=3.0, CLAIM_EVERY=0.5)


def _shorten_breaker_wait(breaker: Any) -> None:
    _replace(breaker, FIRST_WAIT=dt.timedelta(seconds=1))


def _sleep_by_waiting(settings: Any) -> None:
    """Sleep with another call: libfaketime cannot shift the clock without shifting this one too."""

    def sleep(seconds: float) -> None:
        threading.Event().wait(seconds)

    time.sleep = sleep  # type: ignore[assignment]


PLANTS: dict[str, dict[str, Patch]] = {
    "attempt-after-call": {"mails.lifecycle.writer": _record_attempt_after_call},
    "no-fence": {"mails.lifecycle.writer": _remove_fence, "mails.dispatch.due.claim": _trust_every_lease},
    "lost-answer-refused": {"providers.transports.sender": _refuse_lost_answers},
    "lost-answer-not-attempted": {"providers.transports.sender": _deny_lost_answers},
    "contents-mixed-up": {"mails.dispatch.contents": _mix_up_contents},
    "tried-route-not-found": {"mails.dispatch.due.routes": _find_no_tried_routes},
    "key-ignored": {"mails.intake.accept": _ignore_key},
    "dead-worker-not-recovered": {"mails.maintenance.sweeper": _find_no_lost_mails},
    "queue-in-memory": {"mails.intake.accept": _keep_queue_in_memory},
    "abort-on-poison": {"mails.message.mime": _abort_on_poison},
    "slow-task": {"mails.maintenance.scheduler": _add_slow_task},
    "sleep-by-waiting": {"mercury.settings": _sleep_by_waiting},
    # For the short versions in CI: the same code with shorter silences.
    "hurry": {
        "mails.states": _shorten_silence,
        "mails.dispatch.heartbeat": _quicken_heartbeat,
        "mails.submission_streams.sources.redis_streams": _claim_sooner,
        "providers.health.breaker": _shorten_breaker_wait,
    },
}
