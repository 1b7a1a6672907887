"""Vocabulary of an email's life: its states, its events, who records them, and which state may follow which."""

import datetime as dt

from django.db.models import TextChoices


class Status(TextChoices):
    """State of an email. Stored in `Mail.status`; only `lifecycle` writes it."""

    QUEUED = "queued", "Queued"  # stored, waiting for a worker
    SENDING = "sending", "Sending"  # handed to a provider, no answer yet: a crash leaves the outcome unknown
    WAITING = "waiting", "Waiting to retry"  # every account refused for now; due again at next_attempt_at
    HELD = "held", "Held"  # kept back until a confirmation or a person releases it; HoldReason says why
    DONE = "done", "Sent"  # a provider accepted it
    DISCARDED = "discarded", "Discarded"  # no account accepted it; can be reprocessed
    EXPIRED = "expired", "Expired"  # not sent in time
    CANCELLED = "cancelled", "Cancelled"  # by a person or through the API
    REJECTED = "rejected", "Rejected"  # failed validation, was never queued


class HoldReason(TextChoices):
    """Reason of a hold; stored in `Mail.reason_code`."""

    UNKNOWN = "outcome-unknown", "Outcome unknown"  # it may have been sent, and must not be sent twice
    POISON = "poison", "Quarantined"  # two workers died while they were sending it, or Mercury fails at its message
    FILE_MISSING = "file-missing", "File missing"  # the storage has lost the content of an attachment
    OPERATOR = "operator", "Held"  # by a person or the API


STORAGE_AWAY = "file-storage"  # reason_code of an attempt whose attachments could not be read
NEVER_CALLED = "not-called"  # reason_code of an attempt that was closed before its account heard of it
CANNOT_CARRY = "cannot-carry"  # reason_code of an email that no account it may use can carry
SUPPRESSED = "suppressed"  # reason_code of an email that ended because all who were left are suppressed
ALL_SUPPRESSED = "Every recipient that was left is on the suppression list, so no provider was asked."
DUPLICATE = "duplicate"  # reason_code of an email that is DONE and that two attempts were accepted for

# Workers that died with an email, from which on it is sent apart from others; see dispatch/quarantine.py.
QUARANTINE_CLAIMS = 1

WORKER_SILENCE = dt.timedelta(seconds=10)  # a worker without a heartbeat for this long is considered dead
IDEMPOTENCY_KEYS_KEPT = dt.timedelta(hours=24)

DUE = (Status.QUEUED, Status.WAITING)  # in an order: SQLite uses an index only for a condition written like its own
LEASED = frozenset({Status.SENDING})
FINAL = frozenset({Status.DONE, Status.DISCARDED, Status.EXPIRED, Status.CANCELLED, Status.REJECTED})

# The state before -> the states that may follow. QUEUED after a final state is a reprocess.
TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset(
        {
            Status.QUEUED,  # rescheduled
            Status.SENDING,
            Status.WAITING,  # no account can accept it now
            Status.HELD,
            Status.DONE,  # accepted for some recipients earlier, and given up for the others
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
    """Action that can be requested of an email. SENT and NOT_SENT resolve an unknown outcome."""

    CANCEL = "cancel", "Cancel"
    HOLD = "hold", "Hold"
    RELEASE = "release", "Release"
    REPROCESS = "reprocess", "Reprocess"
    RETRY = "retry", "Retry now"
    RESCHEDULE = "reschedule", "Reschedule"
    SENT = "sent", "Mark as sent"
    NOT_SENT = "not-sent", "Mark as not sent"


RESOLVING = (Action.SENT, Action.NOT_SENT)


class Inclusion(TextChoices):
    """Emails that a bulk action skips unless it includes them."""

    UNCERTAIN = "uncertain", "it may have been sent already"
    REFUSED = "refused", "will be rejected again: the message is the problem"


class DeliveryGuarantee(TextChoices):
    """Guarantee that decides what follows an unknown outcome."""

    AT_LEAST_ONCE = "at-least-once", "At least once"  # one more copy, by another account if there is one; then hold it
    AT_MOST_ONCE = "at-most-once", "At most once"  # hold it until it is confirmed


class RecipientKind(TextChoices):
    """Header in which an email names a recipient; a blind copy (`bcc`) is in none."""

    TO = "to", "To"
    CC = "cc", "Cc"
    BCC = "bcc", "Bcc"


class RecipientState(TextChoices):
    """Outcome for one recipient of an email."""

    PENDING = "pending", "Pending"
    ACCEPTED = "accepted", "Accepted"
    REFUSED = "refused", "Permanently rejected"
    SUPPRESSED = "suppressed", "Suppressed"  # on the suppression list: no provider was asked


class SuppressionReason(TextChoices):
    """Reason why an address gets no email."""

    HARD_BOUNCE = "hard-bounce", "Hard bounce"  # its server says that it does not exist
    COMPLAINT = "complaint", "Complaint"  # its owner reported an email as spam
    UNSUBSCRIBE = "unsubscribe", "Unsubscribed"
    INVALID = "invalid", "Invalid address"
    MANUAL = "manual", "By hand"


class AttemptState(TextChoices):
    """State of an attempt, that is of one provider call."""

    OPEN = "open", "In progress"
    ACCEPTED = "accepted", "Accepted"
    REFUSED = "refused", "Refused"
    UNKNOWN = "unknown", "Outcome unknown"


class EventName(TextChoices):
    """Name of an event: those of the sending model in the order of an email's life, then Mercury's own."""

    NEW = "NEW", "Received"
    BAD_REQUEST = "BAD REQUEST", "Failed validation"
    ACCEPTED = "ACCEPTED", "Valid and stored"
    ENQUEUE = "ENQUEUE", "Queued"
    DEQUEUE = "DEQUEUE", "Claimed by a worker"
    READY_TO_SEND = "READY TO SEND", "Account selected"
    SEND = "SEND", "Sent to the provider"
    DONE = "DONE", "Accepted by the provider"
    FAILURE = "FAILURE", "Refused"
    RETRY = "RETRY", "Retry"
    DISCARDED = "DISCARDED", "Discarded"

    UNKNOWN = "UNKNOWN", "Outcome unknown"
    HELD = "HELD", "Held"
    RELEASED = "RELEASED", "Released"
    POSTPONED = "POSTPONED", "Postponed"
    RESCHEDULED = "RESCHEDULED", "Rescheduled"
    REPROCESS = "REPROCESS", "Reprocess"
    CANCELLED = "CANCELLED", "Cancelled"
    EXPIRED = "EXPIRED", "Expired"
    RESOLVED = "RESOLVED", "Resolved"
    LATE_RESULT = "LATE RESULT", "Late response"
    REQUESTED = "REQUESTED", "Action requested"
    DUPLICATE = "DUPLICATE", "Sent twice"
    SUPPRESSED = "SUPPRESSED", "Recipient suppressed"
    FILE_DOWNLOADED = "FILE DOWNLOADED", "File downloaded"
    LINK_REVOKED = "LINK REVOKED", "Download link revoked"
    COPIED = "COPIED", "Sent as a copy"

    DELIVERED = "DELIVERED", "Delivered"
    DEFERRED = "DEFERRED", "Deferred"
    BOUNCED = "BOUNCED", "Bounced"
    COMPLAINED = "COMPLAINED", "Complained"
    OPENED = "OPENED", "Opened"
    CLICKED = "CLICKED", "Clicked"
    UNSUBSCRIBED = "UNSUBSCRIBED", "Unsubscribed"


class Actor(TextChoices):
    """Recorder of an event. A provider's own result is recorded by `<account>:<attempt id>`."""

    MAIL_SERVICE = "Mail Service", "Mail Service"  # intake
    DISPATCHER = "Dispatcher", "Dispatcher"
    SWEEPER = "Sweeper", "Sweeper"  # recovers emails of dead workers
    DOWNLOAD_PAGE = "Download page", "Download page"  # of a large file, for anybody who has its link
    COMMAND = "command line", "Command line"  # an operator at a terminal


class Source(TextChoices):
    """Endpoint through which an email was submitted."""

    API = "api", "REST API"
    FORM = "form", "Form"
    COMMAND = "command", "Command line"
    STREAM = "stream", "Stream"


class Counted(TextChoices):
    """Things that the roll-ups count."""

    ARRIVAL = "arrival", "Submitted emails"  # outcome: accepted, rejected, or throttled, which has no queue
    FIRST_SEND = "first-send", "First attempts"  # duration: since they came in
    CALL = "call", "Provider requests"  # outcome: AttemptState; duration: the call
    END = "end", "Emails finished or put on hold"  # outcome: Ending; duration: since they came in
    SUPPRESSED = "suppressed", "Suppressed recipients"


class Ending(TextChoices):
    """Way in which an email left the dispatcher, as the roll-ups count it."""

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
