"""The words of a mail's life: its states, its events, who records them, and which state may follow which."""

import datetime as dt

from django.db.models import TextChoices


class Status(TextChoices):
    """Where a mail stands. Stored in `Mail.status`; only `lifecycle` writes it."""

    QUEUED = "queued", "Queued"  # stored, waits for a worker
    SENDING = "sending", "Sending"  # handed to a provider, no answer yet: a crash leaves a doubt
    WAITING = "waiting", "Deferred"  # every account refused for now; due again at next_attempt_at
    HELD = "held", "Held"  # must not be sent without evidence or a person; HoldReason says why
    DONE = "done", "Sent"  # a provider took it
    DISCARDED = "discarded", "Discarded"  # no account would take it
    EXPIRED = "expired", "Expired"  # its time was over before an account took it
    CANCELLED = "cancelled", "Cancelled"  # a person or the API took it back
    REJECTED = "rejected", "Rejected"  # failed validation, was never queued


class HoldReason(TextChoices):
    """Why a mail is HELD; stored in `Mail.reason_code`."""

    UNKNOWN = "outcome-unknown", "Outcome unknown"  # it may have been sent, and must not be sent twice
    POISON = "poison", "Poison"  # two workers died while they held it
    OPERATOR = "operator", "Held by an operator"


NEVER_CALLED = "not-called"  # reason_code of an attempt that was closed before its account heard of it
DUPLICATE = "duplicate"  # reason_code of a mail that is DONE and that two attempts were accepted for

QUARANTINE_CLAIMS = (
    1  # workers that died with a mail; the dispatcher hands it over apart then, and a second one makes it poison
)

WORKER_SILENCE = dt.timedelta(seconds=10)  # a worker without a heartbeat for this long is considered dead
IDEMPOTENCY_KEYS_KEPT = dt.timedelta(hours=24)

DUE = (Status.QUEUED, Status.WAITING)  # in an order: SQLite uses an index only for a condition written like its own
LEASED = frozenset({Status.SENDING})
FINAL = frozenset({Status.DONE, Status.DISCARDED, Status.EXPIRED, Status.CANCELLED, Status.REJECTED})

# The state before -> the states that may follow. QUEUED after a final state is a reprocess.
TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset(
        {
            Status.SENDING,
            Status.WAITING,  # no account can take it now
            Status.HELD,
            Status.DONE,  # some recipients were taken earlier, and nobody takes the others
            Status.DISCARDED,
            Status.EXPIRED,
            Status.CANCELLED,
        }
    ),
    Status.WAITING: frozenset(
        {
            Status.SENDING,
            Status.WAITING,
            Status.QUEUED,
            Status.HELD,
            Status.DONE,
            Status.DISCARDED,
            Status.EXPIRED,
            Status.CANCELLED,
        }
    ),
    Status.SENDING: frozenset(
        {
            Status.SENDING,  # refused, and handed to the next account at once
            Status.QUEUED,
            Status.WAITING,
            Status.HELD,
            Status.DONE,
            Status.DISCARDED,
            Status.EXPIRED,
            Status.CANCELLED,
        }
    ),
    Status.HELD: frozenset({Status.QUEUED, Status.DONE, Status.CANCELLED}),
    Status.DISCARDED: frozenset({Status.QUEUED}),
    Status.EXPIRED: frozenset({Status.QUEUED}),
    Status.CANCELLED: frozenset(),
    Status.DONE: frozenset(),
    Status.REJECTED: frozenset(),
}


class Action(TextChoices):
    """What may be asked of a mail in flight. SENT and NOT_SENT resolve an unknown outcome."""

    CANCEL = "cancel", "Cancel"
    HOLD = "hold", "Hold"
    RELEASE = "release", "Release"
    REPROCESS = "reprocess", "Reprocess"
    RETRY = "retry", "Retry now"
    SENT = "sent", "Mark as sent"
    NOT_SENT = "not-sent", "Mark as not sent"


RESOLVING = (Action.SENT, Action.NOT_SENT)


class Inclusion(TextChoices):
    """Emails that an action on many skips unless they are included."""

    UNCERTAIN = "uncertain", "it may have been sent already"
    REFUSED = "refused", "will be rejected again: the message is the problem"


class DeliveryGuarantee(TextChoices):
    """What follows a call whose outcome is not known."""

    AT_LEAST_ONCE = "at-least-once", "At least once"  # one more copy, by another account if there is one; then hold it
    AT_MOST_ONCE = "at-most-once", "At most once"  # hold the mail for evidence


class RecipientState(TextChoices):
    """What became of one recipient of a mail."""

    PENDING = "pending", "Pending"
    ACCEPTED = "accepted", "Accepted"
    REFUSED = "refused", "Permanently rejected"


class AttemptState(TextChoices):
    """How one call of a provider ended."""

    OPEN = "open", "No answer yet"
    ACCEPTED = "accepted", "Accepted"
    REFUSED = "refused", "Refused"
    UNKNOWN = "unknown", "Outcome unknown"


class EventName(TextChoices):
    """The names of the sending model, in the order of a mail's life, then Mercury's own."""

    NEW = "NEW", "Received"
    BAD_REQUEST = "BAD REQUEST", "Failed validation"
    ACCEPTED = "ACCEPTED", "Valid and stored"
    ENQUEUE = "ENQUEUE", "Queued"
    DEQUEUE = "DEQUEUE", "Claimed by a worker"
    READY_TO_SEND = "READY TO SEND", "Account selected"
    SEND = "SEND", "Handed to the provider"
    DONE = "DONE", "Accepted by the provider"
    FAILURE = "FAILURE", "Refused"
    RETRY = "RETRY", "Try again"
    DISCARDED = "DISCARDED", "Discarded"

    UNKNOWN = "UNKNOWN", "Outcome unknown"
    HELD = "HELD", "Held"
    RELEASED = "RELEASED", "Released"
    POSTPONED = "POSTPONED", "Postponed"
    REPROCESS = "REPROCESS", "Reprocess"
    CANCELLED = "CANCELLED", "Cancelled"
    EXPIRED = "EXPIRED", "Expired"
    RESOLVED = "RESOLVED", "Resolved"
    LATE_RESULT = "LATE RESULT", "Late result"
    REQUESTED = "REQUESTED", "Requested"
    DUPLICATE = "DUPLICATE", "Sent twice"

    DELIVERED = "DELIVERED", "Delivered"
    DEFERRED = "DEFERRED", "Deferred"
    BOUNCED = "BOUNCED", "Bounced"
    COMPLAINED = "COMPLAINED", "Complained"
    OPENED = "OPENED", "Opened"
    CLICKED = "CLICKED", "Clicked"
    UNSUBSCRIBED = "UNSUBSCRIBED", "Unsubscribed"


class Actor(TextChoices):
    """Who records an event. A provider's own result is recorded by `<account>:<attempt id>`."""

    MAIL_SERVICE = "Mail Service", "Mail Service"  # intake
    DISPATCHER = "Dispatcher", "Dispatcher"  # the dispatcher
    SWEEPER = "Sweeper", "Sweeper"  # takes up what a lost worker left
    COMMAND = "command line", "Command line"  # an operator at a terminal


class Source(TextChoices):
    """The door a mail came in by."""

    API = "api", "REST API"
    FORM = "form", "Form"
    COMMAND = "command", "Command line"


class Counted(TextChoices):
    """What the roll-ups count."""

    ARRIVAL = "arrival", "Submitted emails"  # outcome: accepted, rejected, or throttled, which has no queue
    FIRST_SEND = "first-send", "First attempts"  # duration: since they came in
    CALL = "call", "Provider requests"  # outcome: AttemptState; duration: the call
    END = "end", "Emails finished or put on hold"  # outcome: Ending; duration: since they came in


class Ending(TextChoices):
    """How a mail left the dispatcher, as the roll-ups count it."""

    DONE = "done", "Sent"
    FAILOVER = "failover", "Sent after an earlier attempt had failed"
    DISCARDED = "discarded", "Discarded"
    EXPIRED = "expired", "Expired"
    CANCELLED = "cancelled", "Cancelled"
    HELD = "held", "Held"


ENDINGS = {
    Status.DONE: Ending.DONE,
    Status.DISCARDED: Ending.DISCARDED,
    Status.EXPIRED: Ending.EXPIRED,
    Status.CANCELLED: Ending.CANCELLED,
    Status.HELD: Ending.HELD,
}


class Level(TextChoices):
    """The stretch of time that a roll-up covers."""

    FRESH = "fresh", "As written, not yet added to the others"
    MINUTE = "minute", "Minute"
    TEN_MINUTES = "ten-minutes", "Ten minutes"
    HOUR = "hour", "Hour"
    DAY = "day", "Day"
    EVER = "ever", "Since the beginning"
