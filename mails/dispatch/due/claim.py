"""Select a batch of due emails for one dispatcher, locked until its steps are recorded."""

import datetime as dt
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson
from django.db import connection, transaction

from mails.dispatch.due.routes import ANY_ROUTE, MailRoute, read_route
from mails.dispatch.due.unanswered import UnansweredRequest, load_unanswered, select_unanswered
from mails.lifecycle.sql import PAUSED_QUEUES, SENDING_NOT_PAUSED
from mails.lifecycle.values import STATE_COLUMNS, AttemptOpened, MailState, parse_state
from mails.models import Mail
from mails.states import QUARANTINE_CLAIMS, DeliveryGuarantee, RecipientKind, RecipientState, Status
from mails.suppression import check
from mails.suppression.check import LIST_HAS_ENTRIES, Entry
from mercury.lib.database import recordset
from mercury.lib.database.recordset import as_time, as_uuid
from providers.kinds.capabilities import MessageTraits
from providers.outcomes import FailureClass
from providers.routing.rules import RoutingConstraint

MOST_BYTES = 64 * 1024 * 1024  # of the emails that a dispatcher has in progress, so that its memory stays bounded
_READ = (
    "id",
    "size",
    "sender",
    "delivery_guarantee",
    "created_at",
    "expires_at",
    "queue",
    "route",
    "routing_constraint",
    "routing_rule",
    *STATE_COLUMNS,
)


class Branch(NamedTuple):
    """A part of a claim: up to `limit` due emails of one route in one queue."""

    queue: str
    route: str  # `Mail.route`
    limit: int
    fit_for_probe: bool = False  # only those whose last failure was not one mailbox's


class ClaimedRecipient(NamedTuple):
    """One recipient of a claimed email. A named tuple: one or more are made for each email that is claimed."""

    id: int
    address: str
    state: RecipientState
    reason: str = ""
    kind: RecipientKind = RecipientKind.TO
    name: str = ""


NOBODY: Mapping[int, Entry] = MappingProxyType({})


class ClaimedMail(NamedTuple):
    """An email as a dispatcher sees it, with everything needed to route it. Its content is loaded for the call.

    A named tuple, since it is copied with each step: a frozen dataclass takes five times as long to copy.
    """

    id: uuid.UUID
    sender: str
    traits: MessageTraits
    delivery_guarantee: DeliveryGuarantee
    created_at: dt.datetime
    due_at: dt.datetime  # since when it has waited
    expires_at: dt.datetime
    recipients: tuple[ClaimedRecipient, ...]
    state: MailState
    queue: str = ""
    route_name: str = ""  # `Mail.route`
    route: MailRoute = ANY_ROUTE
    unanswered: UnansweredRequest | None = None  # the last one, if the email may have been sent
    suppressed: Mapping[int, Entry] = NOBODY  # open recipients that are on the suppression list, by their id

    def __repr__(self) -> str:
        """Return its id alone: addresses must not get into a log."""
        return f"ClaimedMail({self.id})"

    @property
    def is_quarantined(self) -> bool:
        """Return True if workers died with it so often that it is sent apart from others: it may be the cause."""
        return self.state.claims >= QUARANTINE_CLAIMS

    @property
    def is_about_mailbox(self) -> bool:
        """Return True if its last failure was one mailbox's: its answer would say little about an account."""
        return self.state.failure_class == FailureClass.RECIPIENT

    @property
    def routing_constraint(self) -> RoutingConstraint:
        """Return the accounts that it may or may not use."""
        return self.route.accounts.constraint

    @property
    def open_recipients(self) -> tuple[ClaimedRecipient, ...]:
        """Return the recipients that no provider has accepted or permanently rejected."""
        return tuple([recipient for recipient in self.recipients if recipient.state == RecipientState.PENDING])


@contextmanager
def lock_claims() -> Iterator[None]:
    """Wrap `select_due` and the `writer.record` that moves what it found.

    PostgreSQL: one transaction, whose row locks keep other dispatchers off. SQLite: none, since its one lock would stop all
    writers while a dispatcher thinks; there an email that another process has claimed in between fails its fence.
    """
    if connection.vendor == "postgresql":
        with transaction.atomic():
            yield
    else:
        yield


def select_due(
    branches: Sequence[Branch],
    *,
    limit: int,
    now: dt.datetime,
    limits: Mapping[str, int] | None = None,
    yielding: Collection[str] = (),
    bytes_in_use: int = 0,
    quarantined: int = 0,
) -> list[ClaimedMail]:
    """Return up to `limit` due emails of these branches, oldest first, with their recipients.

    `limits`: the most of each queue, where there are several. Those of `yielding` queues come after all others.

    Together with those in progress (`bytes_in_use`) they have at most MOST_BYTES; one of any size if none is in progress.
    Yielding ones leave a quarter of that to others.
    Returns none while all sending is paused, and none of a paused queue. Emails that another dispatcher has locked are
    skipped, not waited for. Quarantined emails of the same routes come first, at most `quarantined` of them.

    Each branch is read in the order of its index: one condition over all of them would sort everything that waits, at each query.
    One statement for everything, and one more for the suppression list where it has entries: a busy process gets the processor back milliseconds after each answer is there.
    """
    if not branches:
        return []
    order = f"claims >= {QUARANTINE_CLAIMS} DESC, yields, next_attempt_at"
    parts = [_select_queue(queue, own, now, limits) for queue, own in _group(branches).items()]
    if quarantined:
        parts.append(_select_quarantined(branches, now, quarantined))
    yields, names = "0", sorted(yielding)
    if names:
        yields = f"CASE WHEN queue IN ({', '.join(['%s'] * len(names))}) THEN 1 ELSE 0 END"
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH due AS MATERIALIZED (
                SELECT *, {yields} AS yields FROM ({" UNION ALL ".join(sql for sql, _ in parts)}) AS all_due
                ORDER BY {order} LIMIT %s
            ), added AS (
                SELECT due.*, sum(size) OVER (ORDER BY {order}, id) - size AS before FROM due
            )
            SELECT {LIST_HAS_ENTRIES}, {", ".join(f"added.{name}" for name in _READ)},
                {_select_recipients("added.id")}, {_select_unanswered("added")}
            FROM added WHERE before + size <= %s - yields * {MOST_BYTES // 4} OR before + %s = 0 ORDER BY {order}, added.id
            """,  # noqa: S608 (names of our own columns)
            [
                *names,
                *chain.from_iterable(parameters for _, parameters in parts),
                limit,
                MOST_BYTES - bytes_in_use,
                bytes_in_use,
            ],
        )
        rows = cursor.fetchall()
    mails = [_load(*row[1:]) for row in rows]
    suppressed = _match(mails, now) if rows and rows[0][0] else {}
    return [mail._replace(suppressed=suppressed.get(mail.id, NOBODY)) for mail in mails] if suppressed else mails


def find_suppressed(mails: Sequence[ClaimedMail], now: dt.datetime) -> dict[uuid.UUID, dict[int, Entry]]:
    """Return the open recipients of these emails that are on the suppression list, by their email. At most one query."""
    return _match(mails, now) if mails and check.may_have_entries() else {}


def _match(mails: Sequence[ClaimedMail], now: dt.datetime) -> dict[uuid.UUID, dict[int, Entry]]:
    found = check.find({recipient.address for mail in mails for recipient in mail.open_recipients}, now)
    matched = {mail.id: _match_recipients(mail, found) for mail in mails} if found else {}
    return {mail_id: entries for mail_id, entries in matched.items() if entries}


def _match_recipients(mail: ClaimedMail, found: check.Matches) -> dict[int, Entry]:
    entries = {recipient.id: found.find(recipient.address, sender=mail.sender) for recipient in mail.open_recipients}
    return {number: entry for number, entry in entries.items() if entry is not None}


def _group(branches: Sequence[Branch]) -> dict[str, list[Branch]]:
    """Return the branches by queue."""
    queues: dict[str, list[Branch]] = {}
    for branch in branches:
        queues.setdefault(branch.queue, []).append(branch)
    return queues


def _select_queue(
    queue: str, branches: Sequence[Branch], now: dt.datetime, limits: Mapping[str, int] | None
) -> tuple[str, list[Any]]:
    """Return the SELECT of one queue's branches, limited if they could find more than the queue may have."""
    parts = [_select_branch(branch, now) for branch in branches]
    sql, parameters = " UNION ALL ".join(sql for sql, _ in parts), [*chain.from_iterable(own for _, own in parts)]
    if limits is None or sum(branch.limit for branch in branches) <= limits[queue]:
        return sql, parameters
    limited = f"SELECT * FROM (SELECT * FROM ({sql}) AS of_queue ORDER BY next_attempt_at LIMIT %s) AS limited"  # noqa: S608
    return limited, [*parameters, limits[queue]]


def _select_branch(branch: Branch, now: dt.datetime) -> tuple[str, list[Any]]:
    fit = _FIT_FOR_PROBE if branch.fit_for_probe else "true"
    condition = f"route = %s AND {fit} AND claims < {QUARANTINE_CLAIMS}"
    return _select_oldest(branch.queue, condition, [branch.route], now, branch.limit)


def _select_quarantined(branches: Sequence[Branch], now: dt.datetime, limit: int) -> tuple[str, list[Any]]:
    """Return the SELECT of quarantined emails: few, so that an index of their own has them in order, whatever their route."""
    parts = [
        _select_quarantined_of(queue, branches, now, limit) for queue in sorted({branch.queue for branch in branches})
    ]
    sql = f"""
        SELECT * FROM (
            SELECT * FROM ({" UNION ALL ".join(sql for sql, _ in parts)}) AS of_queues ORDER BY next_attempt_at LIMIT %s
        ) AS quarantined"""  # noqa: S608 (names of our own columns)
    return sql, [*chain.from_iterable(parameters for _, parameters in parts), limit]


def _select_quarantined_of(
    queue: str, branches: Sequence[Branch], now: dt.datetime, limit: int
) -> tuple[str, list[Any]]:
    listed: dict[bool, list[str]] = {True: [], False: []}
    for branch in branches:
        if branch.queue == queue:
            listed[branch.fit_for_probe].append(branch.route)
    conditions = [
        # As an expression, so that no planner prefers the index of routes, and reads all that wait to find few.
        f"(route || '' IN ({', '.join(['%s'] * len(names))}) AND {_FIT_FOR_PROBE if fit else 'true'})"
        for fit, names in listed.items()
        if names
    ]
    condition = f"({' OR '.join(conditions)}) AND claims >= {QUARANTINE_CLAIMS}"
    return _select_oldest(queue, condition, [*listed[True], *listed[False]], now, limit)


def _select_oldest(
    queue: str, condition: str, parameters: Sequence[str], now: dt.datetime, limit: int
) -> tuple[str, list[Any]]:
    lock = "FOR UPDATE SKIP LOCKED" if connection.vendor == "postgresql" else ""
    sql = f"""
        SELECT * FROM (
            SELECT {", ".join(_READ)} FROM mails_mail
            WHERE status IN ('queued', 'waiting') AND queue = %s AND %s NOT IN {PAUSED_QUEUES} AND next_attempt_at <= %s
                AND {condition} AND {SENDING_NOT_PAUSED}
            ORDER BY next_attempt_at LIMIT %s {lock}
        ) AS oldest"""  # noqa: S608 (names of our own columns)
    return sql, [queue, queue, _encode_time(now), *parameters, limit]


def lock_free(mail_ids: Iterable[uuid.UUID]) -> set[uuid.UUID]:
    """Lock those of these emails that nobody else has locked, and return their ids. On SQLite nobody can lock a row."""
    ids = list(mail_ids)
    if connection.vendor != "postgresql":
        return set(ids)
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM mails_mail WHERE id = ANY(%s) FOR NO KEY UPDATE SKIP LOCKED", [ids])
        return {as_uuid(row[0]) for row in cursor.fetchall()}


def find_unlocked(attempts: Mapping[uuid.UUID, AttemptOpened]) -> set[uuid.UUID]:
    """Return those of these emails of whose rows (its own, its open attempt's, its recipients') nobody holds a lock now.

    Waits for none of them. On SQLite nobody can lock a row.
    """
    if connection.vendor != "postgresql":
        return set(attempts)
    ids = list(attempts)
    of_attempts = {opened.id: mail_id for mail_id, opened in attempts.items()}
    with transaction.atomic(), connection.cursor() as cursor:
        free = lock_free(ids)
        cursor.execute(
            "SELECT id FROM mails_attempt WHERE id = ANY(%s) FOR NO KEY UPDATE SKIP LOCKED", [list(of_attempts)]
        )
        free &= {of_attempts[as_uuid(row[0])] for row in cursor.fetchall()}
        cursor.execute("SELECT id, mail_id FROM mails_recipient WHERE mail_id = ANY(%s)", [ids])
        recipients = {row[0]: as_uuid(row[1]) for row in cursor.fetchall()}
        cursor.execute(
            "SELECT id FROM mails_recipient WHERE id = ANY(%s) FOR NO KEY UPDATE SKIP LOCKED", [list(recipients)]
        )
        free_recipients = {row[0] for row in cursor.fetchall()}
    return free - {mail_id for number, mail_id in recipients.items() if number not in free_recipients}


def is_leased(mail_id: uuid.UUID, token: uuid.UUID, *, until: dt.datetime) -> bool:
    """Return True if the email is claimed under this lease, and will be until then."""
    return Mail.objects.filter(id=mail_id, lease=token, lease_expires_at__gte=until).exists()


def read_pending_actions(attempts: Mapping[uuid.UUID, AttemptOpened]) -> dict[uuid.UUID, str]:
    """Return the pending action of each of these emails whose call is still this attempt, under its lease; empty if none."""
    rows = Mail.objects.filter(id__in=list(attempts), status=Status.SENDING)
    return {
        mail_id: pending_action
        for mail_id, lease, number, pending_action in rows.values_list("id", "lease", "attempt_count", "pending_action")
        if (lease, number) == (attempts[mail_id].lease, attempts[mail_id].number)
    }


_FIT_FOR_PROBE = f"failure_class <> '{FailureClass.RECIPIENT}'"
_RECIPIENT = "id, address, state, reason, kind, name"


def _select_recipients(mail_id: str) -> str:
    """Return the expression that gathers an email's recipients as one JSON text, in their order."""
    if connection.vendor == "postgresql":
        listed = f"json_agg(json_build_array({_RECIPIENT}) ORDER BY id)::text FROM mails_recipient"
        return f"(SELECT {listed} WHERE mail_id = {mail_id})"
    ordered = f"(SELECT * FROM mails_recipient WHERE mail_id = {mail_id} ORDER BY id)"  # noqa: S608
    return f"(SELECT json_group_array(json_array({_RECIPIENT})) FROM {ordered})"  # noqa: S608


def _select_unanswered(mail: str) -> str:
    if connection.vendor == "postgresql":
        return f"({select_unanswered(mail, function='json_build_array')})::text"
    return select_unanswered(mail, function="json_array")


def _load(*row: Any) -> ClaimedMail:
    """Return the email of a row: the columns of `_READ`, its recipients, and its unanswered request."""
    mail_id, size, sender, delivery_guarantee, created_at, expires_at, queue, route_name, constraint, rule, *rest = row
    *columns, recipients, unanswered = rest
    state, listed = parse_state(columns), orjson.loads(recipients or "[]")
    route = read_route(route_name, constraint, rule, state)
    assert state.next_attempt_at is not None  # noqa: S101 (it is due)
    return ClaimedMail(
        id=as_uuid(mail_id),
        sender=sender,
        traits=MessageTraits(size=size, recipients=len(listed), features=route.accounts.traits.features),
        delivery_guarantee=DeliveryGuarantee(delivery_guarantee),
        created_at=as_time(created_at),
        due_at=state.next_attempt_at,
        expires_at=as_time(expires_at),
        recipients=tuple(
            [
                ClaimedRecipient(pk, address, RecipientState(word), reason, RecipientKind(kind), name)
                for pk, address, word, reason, kind, name in listed
            ]
        ),
        state=state,
        queue=queue,
        route_name=route_name,
        route=route,
        unanswered=load_unanswered(unanswered),
    )


def _encode_time(moment: dt.datetime) -> Any:
    return moment if connection.vendor == "postgresql" else recordset.format_time(moment)
