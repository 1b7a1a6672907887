"""The rules for what a client asks of a mail in flight: a verb in the path, and at most a reason in the body."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mails.actions.apply import MAX_NOTE
from mails.lifecycle.action_requests import EVERY_ACCOUNT, MAX_NAME, How
from mails.sentences import clean
from mails.states import Action
from mercury.lib.rest.problems import Fault, Problem, pointer

_OUTCOMES = (Action.SENT, Action.NOT_SENT)
_FIELDS = {"settle": ("outcome", "note"), "reprocess": ("via", "not_tried", "note")}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a client asks for, why, and through which accounts a mail is sent anew."""

    action: Action
    note: str
    how: How = EVERY_ACCOUNT


def parse(verb: str, data: Mapping[str, Any]) -> Wanted:
    """Check what a client posted to `verb`. Raises Problem (400) with every fault found."""
    fields = _FIELDS.get(verb, ("note",))
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
    if verb == "reprocess":
        faults += _faults_of_how(data)
    if faults:
        raise Problem(400, "invalid_action", "Nothing was done; see errors.", errors=faults)
    how = How(not_tried=bool(data.get("not_tried")), via=data.get("via") or "")
    return Wanted(Action(str(outcome) if verb == "settle" else verb), (note or "").strip(), how)


def verbs(possible: Iterable[Action]) -> list[str]:
    """The actions as paths call them; to retry at once is for operators."""
    offered = [action for action in possible if action != Action.RETRY]
    return list(dict.fromkeys("settle" if action in _OUTCOMES else str(action) for action in offered))


def _faults_of_how(data: Mapping[str, Any]) -> list[Fault]:
    via, not_tried = data.get("via"), data.get("not_tried")
    faults = []
    if via is not None and not (isinstance(via, str) and 0 < len(via) <= MAX_NAME and clean(via) == via):
        faults.append(Fault(f"The account's name must be text of 1 to {MAX_NAME} characters.", "invalid", "/via"))
    if not_tried is not None and not isinstance(not_tried, bool):
        faults.append(Fault("Say true or false.", "invalid", "/not_tried"))
    if not faults and via and not_tried:
        faults.append(Fault("Name one account, or ask for those not tried yet; not both.", "invalid", "/not_tried"))
    return faults


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
