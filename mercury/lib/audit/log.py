"""Write the audit log. Call it inside the transaction of the act: both are stored, or neither."""

from django.http import HttpRequest

from mercury.lib.audit.models import Act, AuditEntry
from mercury.lib.database import database_clock
from mercury.lib.mail.printable import replace_unprintable

COMMAND_LINE = "command line"
MAX_DETAIL = 2000  # characters


def record(act: Act, *, by: str, kind: str, name: str, object_id: object = "", detail: str = "") -> AuditEntry:
    """Store that `by` did `act` to the object of this kind and name; `detail` must hold no secret."""
    return AuditEntry.objects.create(
        created_at=database_clock.now(),
        by=by[:160],
        act=act,
        kind=kind[:64],
        object_id=str(object_id)[:64],
        name=replace_unprintable(name, allowed="")[:200],
        detail=replace_unprintable(detail, allowed="")[:MAX_DETAIL],
    )


def get_person(request: HttpRequest) -> str:
    """Return who asks, as the audit log and events keep a person."""
    return f"user:{request.user.get_username()}"[:128]
