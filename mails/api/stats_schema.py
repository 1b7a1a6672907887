"""The description (OpenAPI 3.1) of the figures of the house."""

from collections.abc import Callable
from typing import Any, TypeVar

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema

from mails.reporting import statistics
from mails.reporting.account_alerts import Alert
from mails.reporting.recent_failures import Cause, Setback, Setbacks, Trouble
from mails.reporting.statistics import MailFigures, Point, ProviderFigures, Spread
from mails.reporting.system_status import Held, Situation, Standing, Waiting, Working
from mercury.lib.rest.openapi import (
    REQUEST_ID,
    Schema,
    component,
    dataclass_component,
    moment,
    obj,
    problems,
    text,
)

Method = TypeVar("Method", bound=Callable[..., Any])

SPREAD = dataclass_component(
    "Spread",
    Spread,
    {
        "count": "How many durations.",
        "mean": "Seconds, exact.",
        "p50": "Seconds; percentiles are at most 9.1 % off.",
        "p95": "Seconds.",
        "p99": "Seconds.",
    },
)
MAIL_FIGURES = dataclass_component(
    "MailFigures",
    MailFigures,
    {
        "name": "The lane or the application.",
        "arrived": "Emails accepted in the period.",
        "rejected": "Mails that failed validation.",
        "arrived_per_minute": "Arrival rate over the period.",
        "sent": "Mails that a provider took, those after a failover too.",
        "failover": "Mails that were sent after an earlier attempt had failed.",
        "discarded": "Mails that no account would take.",
        "expired": "Mails whose time was over.",
        "cancelled": "Mails taken back.",
        "held": "Mails that were held.",
        "queue": "Accepted to first handed to a provider.",
        "processing": "Accepted to the end, whatever it was.",
        "acceptance": "Accepted to taken by a provider.",
    },
)
PROVIDER_FIGURES = dataclass_component(
    "ProviderFigures",
    ProviderFigures,
    {
        "name": "The account.",
        "calls": "Calls that ended.",
        "accepted": "Calls that it accepted.",
        "refused": "Calls that it refused, by kind of fault: message, account, recipient, rate, provider, local.",
        "unknown": "Calls whose outcome is not known.",
        "failure_rate": "Share of the calls that were refused for the account's or the provider's sake, or are unknown.",
        "sent": "Mails that it took.",
        "share": "Its share of all mails that were sent.",
        "latency": "Of the calls that it accepted.",
        "fastest": "Whether its median is the smallest.",
    },
)
POINT = dataclass_component(
    "Point",
    Point,
    {
        "start": "When the stretch began.",
        "arrived": "Mails accepted.",
        "done": "Mails that were sent at the first attempt.",
        "failover": "Mails that were sent after an earlier attempt had failed.",
        "discarded": "Mails that no account would take.",
        "expired": "Mails whose time was over.",
        "held": "Mails that were held.",
        "unknown": "Calls whose outcome is not known.",
        "queue": "Accepted to first handed to a provider.",
        "acceptance": "Accepted to taken by a provider.",
        "latency": "Of accepted calls, by account.",
    },
)
ALERT = dataclass_component(
    "Alert",
    Alert,
    {
        "code": "Stable and short, for programs.",
        "tone": "`bad` for what stops or loses time, `waiting` for what to look at.",
        "about": "The lane or the account; empty for the house.",
        "sentence": "What is wrong.",
        "cure": "What to do; empty where the cause that is listed first has it.",
        "since": "Since when; null where that is not known.",
        "emails": "The query of the list of emails that it is about, such as `state=discarded&age=24h`; empty for none.",
    },
)
WAITING = dataclass_component(
    "Waiting",
    Waiting,
    {
        "lane": "The lane.",
        "due": "Mails that could be sent now; at most 100,000 are counted.",
        "oldest": "Seconds that the oldest of them has been due.",
        "later": "Mails in back-off.",
        "next_at": "When the first of these is due.",
        "last_at": "When the last of these is due.",
        "paused_at": "Since when the lane is paused, so that nothing of it is sent; null while it runs.",
        "paused_by": "Who paused it; empty while it runs.",
        "paused_note": "Why; empty where no reason was given.",
    },
)
HELD = dataclass_component(
    "HeldMails",
    Held,
    {
        "unknown": "Their outcome is not known.",
        "poison": "Two workers died while they had it.",
        "operator": "Held by a person.",
    },
)
WORKER = dataclass_component(
    "Worker",
    Working,
    {
        "id": "Host, process and a random part.",
        "alive": "Heard of within 15 s.",
        "lanes": "The lanes it serves.",
        "places": "Calls it may make at once.",
        "in_flight": "Calls under way.",
        "closed": "Calls that came back since it started.",
        "done": "Mails that a provider took from it since it started.",
        "started_at": "When it started.",
        "seen_at": "Its last heartbeat; one comes every 2.5 s.",
        "drained_at": "When it last looked for due mails.",
    },
)
ACCOUNT = dataclass_component(
    "AccountNow",
    Standing,
    {
        "id": "Its number, as in `/dispatcher/providers/{id}`.",
        "name": "The account.",
        "kind": "The provider.",
        "enabled": "Whether it is used.",
        "configured": "Whether this process has its options.",
        "weight": "Its share of the draw.",
        "rate": "Calls a second, at most.",
        "state": "What its breaker lets through.",
        "mode": "Who decides about the breaker.",
        "words": "The same in words.",
        "open_until": "When the next probe comes.",
        "limited_until": "The provider asked to wait until then.",
        "last_fault": "Its last fault, in words.",
        "last_fault_at": "When that was.",
        "told": "How a sandbox is told to misbehave now, such as `refuse=503`; empty if it is not.",
        "told_until": "Until when.",
        "since": "When its breaker opened or was forced, or it was disabled; null where neither is so.",
        "by": "Who forced or disabled it.",
        "changed_at": "When its breaker or settings last changed.",
        "refuses": "Whether it refuses every email, so that its refusals count as its own.",
        "refused_since": "When that began, now or the last time; null where that is not lately.",
        "refused_because": "Its words.",
        "refused_emails": "Emails that it discarded before that was noticed, and that nobody has sent again; at most 10,000.",
    },
)
CAUSE = dataclass_component(
    "Cause",
    Cause,
    {
        "account": "The account that was asked last; empty where none was.",
        "reason": "The reason code.",
        "emails": "How many emails, of the newest thousand.",
    },
)
SETBACK = dataclass_component(
    "Setback",
    Setback,
    {
        "emails": "How many; at most 100,000.",
        "recent": "Of them, those that ended in the last 15 minutes; at most 1,000.",
        "since": "When the first of the newest thousand ended.",
        "last": "When the last one ended.",
        "causes": "Why, the most frequent first.",
    },
)
TROUBLE = dataclass_component(
    "Trouble",
    Trouble,
    {
        "account": "The account.",
        "fault": "`account`, or `local` for this machine.",
        "calls": "Calls that failed so in the last 15 minutes.",
        "since": "The minute of the first.",
        "last": "The minute of the last.",
        "accepted_since": "Calls that the account accepted in later minutes.",
    },
)
SETBACKS = dataclass_component(
    "Setbacks",
    Setbacks,
    {
        "discarded": "Emails accepted in the last 24 hours that are discarded now.",
        "rejected": "Emails of the last 24 hours that failed validation.",
        "sent": "Emails sent in the last 24 hours.",
        "arrived": "Emails accepted in the last 24 hours.",
        "troubles": "Refusals of the last 15 minutes that somebody has to mend.",
    },
)
_SITUATION = {
    "at": "The moment.",
    "waiting": "What waits, by lane.",
    "in_hand": "Mails that a worker has at the moment.",
    "house_held_by": "Who paused all sending; null while it is not paused.",
    "oldest_unsent": "Seconds since the oldest mail came in that is due or in back-off.",
    "held": "Held mails, by reason.",
    "expired": "Mails that expired in the last 24 hours and were not sent anew; counted up to 100,000.",
    "workers": "Processes that drain.",
    "accounts": "Provider accounts.",
    "recent": "Calls of the last 15 minutes, by account.",
    "redis": "`answers`, `away` or `not used`.",
    "disk_free": "Share of the disk that holds the data folder.",
    "disk_free_bytes": "The same in bytes.",
    "counted_until": "Arrivals are counted until then.",
    "house_held_at": "Since when all sending is paused.",
    "expired_since": "When the first of the expired emails expired.",
    "setbacks": "What went wrong lately.",
}
SITUATION = dataclass_component("Situation", Situation, _SITUATION)
NOW = component(
    "Now",
    {
        "allOf": [
            obj(
                {
                    "verdict": text("The state in one sentence."),
                    "alerts": {"type": "array", "items": ALERT, "description": "Causes before their symptoms."},
                }
            ),
            SITUATION,
        ]
    },
)
_CHANGE = obj(
    {
        "account": text("The account."),
        "at": moment("When."),
        "by": text("Who: `Dispatcher`, or a person."),
        "what": text("In words."),
        "state": text("What its breaker let through from then on; empty where that did not change."),
    }
)
_SINCE_UNTIL = [
    OpenApiParameter("since", str, description="An age such as `15m`, `1h`, `7d`, or ISO 8601. Default: `1h`."),
    OpenApiParameter("until", str, description="The same. Default: now."),
]
_PER = OpenApiParameter(
    "per",
    str,
    enum=list(statistics.LEVELS),
    description="The stretch of time. Default: the finest that fits the period.",
)


def _described(name: str, what: str, parts: dict[str, Schema]) -> Callable[[Method], Method]:
    period = {"since": moment("Begin of the first stretch."), "until": moment("End of the period.")}
    per = {} if name == "breaker" else {"per": text("The stretch.", enum=list(statistics.LEVELS))}
    answer = component(f"{name.capitalize()}Stats", obj(period | per | parts))
    return extend_schema(
        operation_id=f"read_{name}_stats",
        tags=["Statistics"],
        summary=what,
        parameters=[*_SINCE_UNTIL, *([_PER] if per else []), REQUEST_ID],
        responses={200: OpenApiResponse(answer, description=f"{what}.")} | problems(400),
    )


def _list(item: Schema) -> Schema:
    return {"type": "array", "items": item}


now = extend_schema(
    operation_id="read_now",
    tags=["Statistics"],
    summary="How the house stands now",
    parameters=[REQUEST_ID],
    responses={200: OpenApiResponse(NOW, description="The house at this moment.")} | problems(),
)
lanes = _described("lane", "What became of mails, by lane", {"house": MAIL_FIGURES, "lanes": _list(MAIL_FIGURES)})
applications = _described("application", "What became of mails, by application", {"applications": _list(MAIL_FIGURES)})
providers = _described("provider", "How calls ended, by account", {"providers": _list(PROVIDER_FIGURES)})
series = _described("series", "The period stretch by stretch", {"points": _list(POINT)})
breakers = _described("breaker", "What breakers did and people set", {"changes": _list(_CHANGE)})
