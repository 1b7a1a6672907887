"""The rules for what a client asks of a mail in flight: a verb in the path, and at most a reason in the body."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mails.actions import MAX_NOTE
from mails.sentences import clean
from mails.states import Action
from mercury.lib.problems import Fault, Problem, pointer

_OUTCOMES = (Action.SENT, Action.NOT_SENT)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a client asks for, and why."""

    action: Action
    note: str


def parse(verb: str, data: Mapping[str, Any]) -> Wanted:
    """Check what a client posted to `verb`. Raises Problem (400) with every fault found."""
    fields = ("outcome", "note") if verb == "settle" else ("note",)
    faults = [
        Fault(f"There is no such field. Known: {', '.join(fields)}.", "unknown_field", pointer(name[:80]))
        for name in list(data)[:100]
        if name not in fields
    ]
    note, outcome = data.get("note"), data.get("outcome")
    if detail := _fault_of_note(note):
        faults.append(Fault(detail, "invalid", "/note"))
    if verb == "settle" and outcome not in _OUTCOMES:
        detail = "Say what happened: 'sent' or 'not-sent'."
        faults.append(Fault(detail, "required" if outcome is None else "invalid", "/outcome"))
    if faults:
        raise Problem(400, "invalid_action", "Nothing was done; see errors.", errors=faults)
    return Wanted(Action(str(outcome) if verb == "settle" else verb), (note or "").strip())


def verbs(possible: Iterable[Action]) -> list[str]:
    """The actions as paths call them; to retry at once is for operators."""
    offered = [action for action in possible if action != Action.RETRY]
    return list(dict.fromkeys("settle" if action in _OUTCOMES else str(action) for action in offered))


def _fault_of_note(note: Any) -> str:
    if note is None:
        return ""
    if not isinstance(note, str):
        return "The reason must be text."
    if len(note) > MAX_NOTE:
        return f"The reason has {len(note)} characters; at most {MAX_NOTE} fit."
    if clean(note) != note:
        return "The reason contains a control character; take it out."
    return ""
