"""Fills a PostgreSQL database with mails that are done, as many as a benchmark needs, as the product would have left them.

Done inside the database by a handful of statements, without the checks of foreign keys: it needs a superuser. Columns
that are not named here get the model's default, so that a table may grow without this file.
"""

import json
from collections.abc import Mapping

from django.apps import apps
from django.conf import settings
from django.db import connection, transaction
from instance import CONTENT

from mails.queues import QueueName
from mails.states import Actor, AttemptState, DeliveryGuarantee, EventName, RecipientState, Source, Status

AT_ONCE = 25_000  # mails of one transaction
SENDER = "'zeus@olimpus.com'"
RECIPIENT = "'hera' || mod(n, 50000) || '@olimpus.com'"
SERVICE = "CASE WHEN mod(n, 20) = 0 THEN 'hades' ELSE 'olympus' END"

_DRAWN = """
CREATE TEMPORARY TABLE drawn ON COMMIT DROP AS
SELECT n, at, latency_ms, at + latency_ms * interval '1 millisecond' AS ended,
       round(extract(epoch FROM at) * 1000000)::bigint * 1000 AS at_ns,
       {uuid} AS id, {uuid} AS attempt, {uuid} AS lease
FROM (
    SELECT n, statement_timestamp() - (%(total)s - n) * %(days)s / %(total)s * interval '1 day' AS at,
           20 + (exp(random() * 4) * 8)::int AS latency_ms
    FROM generate_series(%(first)s, %(last)s) AS n
) AS times
"""
_UUID7 = """(lpad(to_hex(floor(extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || lpad(to_hex(mod(n, 4096)), 3, '0')
    || '8' || substr(md5(random()::text), 1, 15))::uuid"""


def history(mails: int, *, days: float = 30.0, api_key: int | None = None) -> None:
    """Add mails that are done: one attempt and seven events each, spread evenly over the last days, newest last.

    One in twenty went through `hades`, the others through `olympus`. Those of the last day have an idempotency key.
    """
    for first in range(1, mails + 1, AT_ONCE):
        with transaction.atomic():
            _draw(first, min(first + AT_ONCE - 1, mails), total=mails, days=days)
            _insert_mails(api_key)
            _insert_attempts()
            _insert_events()
            _insert_keys(api_key)


def vacuum() -> None:
    """Leave the tables as after hours of work: statistics fresh, rows marked visible, everything on the disk."""
    with connection.cursor() as cursor:
        for model in apps.get_app_config("mails").get_models():
            cursor.execute(f"VACUUM ANALYZE {model._meta.db_table}")
        cursor.execute("CHECKPOINT")


def _draw(first: int, last: int, *, total: int, days: float) -> None:
    numbers = {"first": first, "last": last, "total": total, "days": days}
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica; SET LOCAL work_mem = '512MB'")
        cursor.execute(_DRAWN.format(uuid=_UUID7), numbers)


def _insert(name: str, rows: str = "drawn ORDER BY n", /, **expressions: str) -> None:
    """Add a row for each of `rows`: columns by SQL expressions, the others with the model's defaults."""
    model = apps.get_model("mails", name)  # the models can be imported only after Django is set up
    names, values, defaults = [], [], []
    for field in model._meta.concrete_fields:
        if field.column not in expressions and field.primary_key:
            continue  # the database counts it
        if field.generated:
            continue  # the database computes it
        names.append(field.column)
        values.append(expressions.get(field.column, "%s"))
        if field.column not in expressions:
            defaults.append(field.get_db_prep_save(field.get_default(), connection))
    table = model._meta.db_table
    with connection.cursor() as cursor:
        statement = f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(values)} FROM {rows}"
        cursor.execute(statement, defaults)


def _insert_mails(api_key: int | None) -> None:
    _insert(
        "Mail",
        id="id",
        api_key_id=str(api_key or "NULL"),
        source=_text(Source.API),
        created_at="at",
        size=str(len(CONTENT)),
        sender=SENDER,
        recipient=RECIPIENT,
        subject="'mail ' || n",
        queue=_text(QueueName.TEXT),
        delivery_guarantee=_text(DeliveryGuarantee.AT_LEAST_ONCE),
        expires_at=f"at + interval '{settings.MERCURY_EXPIRY.total_seconds()} seconds'",
        status=_text(Status.DONE),
        finished_at="ended",
        attempt_count="1",
        provider=SERVICE,
        idempotency_key="'key-' || id",
    )
    _insert("Content", mail_id="id", text=_text(CONTENT))
    _insert("Recipient", mail_id="id", address=RECIPIENT, state=_text(RecipientState.ACCEPTED))


def _insert_attempts() -> None:
    _insert(
        "Attempt",
        id="attempt",
        mail_id="id",
        number="1",
        account=SERVICE,
        lease="lease",
        state=_text(AttemptState.ACCEPTED),
        opened_at="at + interval '5 milliseconds'",
        closed_at="ended",
        latency_ms="latency_ms",
        status_code="202",
        provider_message_id="'local-' || n",
    )


def _insert_keys(api_key: int | None) -> None:
    owner = _text("command" if api_key is None else f"key:{api_key}")
    recent = "drawn WHERE at > statement_timestamp() - interval '1 day' ORDER BY n"
    body_hash = "md5(id::text) || md5(attempt::text)"
    _insert(
        "IdempotencyKey",
        recent,
        owner=owner,
        key="'key-' || id",
        body_hash=body_hash,
        mail_id="id",
        created_at="at",
    )


def _insert_events() -> None:
    """Insert the seven events of each email, each with what the product writes into it."""
    by = f"{SERVICE} || ':' || attempt"
    evaluated = [
        {"account": name, "weight": 1, "eligible": True, "selected": False, "note": ""} for name in ("olympus", "hades")
    ]
    life: list[tuple[EventName, str, str, Mapping[str, str]]] = [
        (
            EventName.NEW,
            _text(Actor.MAIL_SERVICE),
            "0",
            {"source": _text("api"), "application": _text("bench"), "size": "2000"},
        ),
        (
            EventName.ACCEPTED,
            _text(Actor.MAIL_SERVICE),
            "1",
            {"recipients": "1", "queue": _text("text"), "delivery_guarantee": _text("at-least-once")},
        ),
        (EventName.ENQUEUE, _text(Actor.MAIL_SERVICE), "1", {"queue": _text("text")}),
        (
            EventName.DEQUEUE,
            _text(Actor.DISPATCHER),
            "5",
            {"worker": _text("bench:1:abcdef"), "waited_ms": "5", "round": "1", "rounds": "5", "lease_until": "at"},
        ),
        (
            EventName.READY_TO_SEND,
            _text(Actor.DISPATCHER),
            "5",
            {
                "service": SERVICE,
                "why": _text("weighted random choice among 2 eligible accounts"),
                "attempt": "1",
                "round": "1",
                "evaluated": f"{_text(json.dumps(evaluated))}::json",
            },
        ),
        (
            EventName.SEND,
            by,
            "5",
            {"to": f"json_build_array({RECIPIENT})", "service": SERVICE, "attempt": "1", "deadline_s": "20.0"},
        ),
        (
            EventName.DONE,
            by,
            "latency_ms",
            {
                "status_code": "202",
                "service": SERVICE,
                "attempt": "1",
                "provider_message_id": "'local-' || n",
                "latency_ms": "latency_ms",
                "accepted": f"json_build_array({RECIPIENT})",
                "refused": "'[]'::json",
                "possible_duplicate": "false",
            },
        ),
    ]
    steps = " UNION ALL ".join(
        f"SELECT n, {place} AS place, id, at_ns + {after_ms} * 1000000 AS created_at, {by} AS created_by, {_text(name)} AS event,"
        f" json_build_object({', '.join(f'{_text(key)}, {value}' for key, value in blob.items())})::text AS blob FROM drawn"
        for place, (name, by, after_ms, blob) in enumerate(life)
    )
    _insert(
        "Event",
        f"({steps}) AS steps ORDER BY n, place",
        mail_id="id",
        created_at="created_at",
        created_by="created_by",
        event="event",
        blob="blob",
    )


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
