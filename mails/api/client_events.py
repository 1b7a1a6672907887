"""The rules for an event that a client appends: only `event` must be sent, the server fills in the rest."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User

from mails.models import ApiKey
from mails.states import EventName
from mercury.lib.durations import size_words
from mercury.lib.mail import printable
from mercury.lib.rest.problems import Fault, Problem, pointer

MAX_NAME = 64  # characters, CONTRACT v1.0
MAX_BLOB = 64 * 1024  # bytes of UTF-8
FIELDS = ("event", "blob")
IGNORED = frozenset({"id", "url", "mail", "mail_id", "created", "created_at", "created_by"})  # what an answer shows


@dataclass(frozen=True, slots=True)
class ClientEvent:
    """A valid event, not yet recorded."""

    name: str
    blob: str

    @property
    def is_system(self) -> bool:
        """Whether it has a name of the sending model or of Mercury's, which needs the scope `events:system`."""
        return self.name in EventName.values


def parse(data: Mapping[str, Any]) -> ClientEvent:
    """Check what a client posted. Raises Problem (400) with every fault found."""
    known = {*FIELDS, *IGNORED}
    faults = [
        Fault(f"There is no such field. Known: {', '.join(FIELDS)}.", "unknown_field", pointer(name[:80]))
        for name in list(data)[:100]
        if name not in known
    ]
    name, blob = data.get("event"), data.get("blob")
    if detail := _fault_of_name(name):
        faults.append(Fault(detail, "required" if name is None else "invalid", "/event"))
    if detail := _fault_of_blob(blob):
        faults.append(Fault(detail, "invalid", "/blob"))
    if faults:
        raise Problem(400, "invalid_event", "The event was not recorded; see errors.", errors=faults)
    return ClientEvent(name, blob or "")  # type: ignore[arg-type]  # _fault_of_name saw to it


def recorded_by(api_key: ApiKey | None, user: Any) -> str:
    """Who appended it, as `created_by` says it; a form that no actor of Mercury's own has."""
    if api_key is not None:
        return f"key:{api_key.name}"
    assert isinstance(user, User)  # noqa: S101 (HasScope let pass one of the two)
    return f"user:{user.get_username()}"[:128]


def _fault_of_name(name: Any) -> str:
    if name is None:
        return "Give the event's name."
    if not isinstance(name, str):
        return "The name must be text."
    if not 1 <= len(name) <= MAX_NAME:
        return f"The name has {len(name)} characters; 1 to {MAX_NAME} are possible."
    if printable.find_unprintable(name):
        return "The name contains a control character; take it out."
    if name != name.strip():
        return "The name begins or ends with a space; take it out."
    return ""


def _fault_of_blob(blob: Any) -> str:
    if blob is None:
        return ""
    if not isinstance(blob, str):
        return 'The blob must be text; write JSON as text, for example "{\\"status_code\\": 202}".'
    if len(blob.encode()) > MAX_BLOB:
        return f"The blob has {size_words(len(blob.encode()))}; at most {size_words(MAX_BLOB)} fit."
    return ""
