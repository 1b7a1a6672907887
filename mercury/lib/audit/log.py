"""Write the audit log. Call it inside the transaction of the act: both are stored, or neither."""

from collections.abc import Iterable

from django.http import HttpRequest

from mercury.lib.audit.models import Act, AuditEntry
from mercury.lib.database import database_clock
from mercury.lib.mail.printable import replace_unprintable

COMMAND_LINE = "command line"
MAX_DETAIL = 2000  # characters


def record(act: Act, *, by: str, kind: str, name: str, object_id: object = "", detail: str = "") -> AuditEntry:
    """Store that `by` did `act` to the object of this kind and name; `detail` must hold no secret."""
    (entry,) = record_all(act, by=by, kind=kind, objects=[(object_id, name, detail)])
    return entry


def record_all(act: Act, *, by: str, kind: str, objects: Iterable[tuple[object, str, str]]) -> list[AuditEntry]:
    """Store the same act of many objects, each with its id, its name and a detail. One statement."""
    now = database_clock.now()
    return AuditEntry.objects.bulk_create(
        AuditEntry(
            created_at=now,
            by=by[:160],
            act=act,
            kind=kind[:64],
            object_id=str(object_id)[:64],
            name=replace_unprintable(name, allowed="")[:200],
            detail=replace_unprintable(detail, allowed="")[:MAX_DETAIL],
        )
        for object_id, name, detail in objects
    )


def get_person(request: HttpRequest) -> str:
    """Return who asks, as the audit log and events keep a person."""
    return f"user:{request.user.get_username()}"[:128]
