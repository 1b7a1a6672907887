"""Judge SMTP replies: the failure class of a refusal, and whether it is permanent. Pure.

Three things decide: the enhanced status code (RFC 3463), the step of the session, and known words. An email ends at once
only if a reply is clearly about this message, or about this mailbox permanently. Everything else is retried.
`docs/providers/smtp.md` has real replies with their results, and the tests read it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from providers.outcomes import Accepted, FailureClass, RecipientRefusal, Refused, UsedUpQuota
from providers.reply_words import (
    ACCOUNT_TOPICS,
    DEFAULT_WAIT,
    HOURLY_WAIT,
    MAX_WAIT,
    Topic,
    find_quota_period,
    find_stated_wait,
    find_topic,
)


class Phase(Enum):
    """The step of the session that a reply answers."""

    GREETING = "greeting"
    EHLO = "EHLO"
    STARTTLS = "STARTTLS"
    AUTH = "AUTH"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    DOT = "dot"


BEFORE_MAIL = frozenset({Phase.GREETING, Phase.EHLO, Phase.STARTTLS, Phase.AUTH})


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The meaning of one reply. MESSAGE at RCPT: this mailbox, permanently."""

    failure_class: FailureClass
    retry_after: float | None = None  # seconds, if the reply asks for a wait
    at_capacity: bool = False  # the account accepts no more concurrent calls; nothing else is wrong
    next_call: bool = False  # at RCPT: the call has enough recipients; this one goes into a further call
    used_up: UsedUpQuota | None = None  # a quota of the account, which gets no more calls until it is free again


@dataclass(frozen=True, slots=True, kw_only=True)
class _ParsedReply:
    """A parsed reply."""

    code: int
    phase: Phase
    subject: int | None  # of the enhanced code, None without one
    detail: int | None
    topic: Topic | None
    permanent: bool  # 5xx, unless the enhanced code says "4"

    def is_about(self, subject: int, *details: int) -> bool:
        """Return True if the enhanced code is of this subject, and one of these details where any are given."""
        return self.subject == subject and (not details or self.detail in details)


_ENHANCED = re.compile(r"(?<![\d.])([45])\.(\d{1,3})\.(\d{1,3})(?![\d.]*\d)")
_LOG_IN_CODES = frozenset({525, 530, 534, 535, 538})
_MAILBOX_CODES = frozenset({550, 551, 553, 556})  # "no such mailbox", "not here", "no such name", "takes no email"
_MAILBOX_TOPICS = frozenset({Topic.MAILBOX_BUSY, Topic.GREYLISTED, Topic.MAILBOX_FULL})
_FULL = (2, 2)  # 5.2.2: the mailbox, whose "size limit" is not the message's
_FLOOD = (7, 28, 500)  # X.7.28: too much email; Exchange's X.7.500: "server busy" for one sender
_PASSING_TOPICS = frozenset({Topic.SYSTEM, Topic.LATER})  # over soon, whatever the code says
_LOOP = (4, 6)  # 5.4.6: the message goes round in a circle


def judge(code: int, text: str, phase: Phase, *, recipients: int = 1) -> Judgement:
    """Return the meaning of a refusing reply. `recipients`: of the message in this call."""
    reply = _parse(code, text, phase)
    wait = find_stated_wait(text)
    bounded = min(wait, MAX_WAIT) if wait else None
    limit = _judge_limit(reply, bounded)
    if limit is not None:
        return limit
    if phase is Phase.RCPT and (reply.topic is Topic.MANY_RECIPIENTS or reply.is_about(5, 3)):
        return Judgement(failure_class=FailureClass.RECIPIENT, next_call=True)
    failure_class = _judge_class(reply, recipients)
    used_up = None
    if failure_class is FailureClass.ACCOUNT and _is_about_quota(reply):
        used_up = UsedUpQuota(period=find_quota_period(text), resets_in=wait)
    return Judgement(failure_class=failure_class, retry_after=bounded, used_up=used_up)


def _is_about_quota(reply: _ParsedReply) -> bool:
    """Return True if a quota of the account is used up. At RCPT, X.2.X is about the recipient's mailbox."""
    return reply.topic is Topic.QUOTA and not (reply.phase is Phase.RCPT and reply.is_about(2))


def _parse(code: int, text: str, phase: Phase) -> _ParsedReply:
    found = _ENHANCED.search(text)
    return _ParsedReply(
        code=code,
        phase=phase,
        subject=int(found[2]) if found else None,
        detail=int(found[3]) if found else None,
        topic=find_topic(text),
        permanent=code >= 500 and not (found and found[1] == "4"),
    )


def _judge_limit(reply: _ParsedReply, wait: float | None) -> Judgement | None:
    """Return the meaning of a reply about a limit of rate or connections, None if it is about something else."""
    match reply.topic:
        case Topic.CONNECTIONS:
            return Judgement(failure_class=FailureClass.RATE, retry_after=wait, at_capacity=True)
        case Topic.RATE:
            return Judgement(failure_class=FailureClass.RATE, retry_after=wait or DEFAULT_WAIT)
        case Topic.HOURLY:
            return Judgement(failure_class=FailureClass.RATE, retry_after=wait or HOURLY_WAIT)
        case Topic.MANY_RECIPIENTS if reply.phase is not Phase.RCPT and not reply.permanent:
            return Judgement(failure_class=FailureClass.RATE, retry_after=wait or DEFAULT_WAIT)
        case None | Topic.LATER if not reply.permanent and reply.is_about(*_FLOOD):
            return Judgement(failure_class=FailureClass.RATE, retry_after=wait or DEFAULT_WAIT)
    return None


def _judge_class(reply: _ParsedReply, recipients: int) -> FailureClass:
    if reply.phase in BEFORE_MAIL:
        return _judge_before_mail(reply)
    if reply.permanent:
        return _judge_permanent(reply, recipients)
    return _judge_temporary(reply)


def _judge_before_mail(reply: _ParsedReply) -> FailureClass:
    """Return the class of a refusal before MAIL. Never MESSAGE: the server has not seen it."""
    if not reply.permanent:
        temporary = reply.phase is Phase.AUTH and reply.topic is Topic.AUTHENTICATION and not reply.is_about(7, 12)
        return FailureClass.ACCOUNT if reply.topic in ACCOUNT_TOPICS and not temporary else FailureClass.PROVIDER
    if reply.phase is not Phase.GREETING:
        return FailureClass.ACCOUNT
    ours = reply.topic in ACCOUNT_TOPICS or reply.topic is Topic.POLICY or reply.is_about(7) or reply.code == 521
    return FailureClass.ACCOUNT if ours else FailureClass.PROVIDER


def _judge_temporary(reply: _ParsedReply) -> FailureClass:
    """Return the class of a 4xx, from MAIL on."""
    if reply.topic in ACCOUNT_TOPICS or reply.is_about(1, 7, 8):
        return FailureClass.ACCOUNT
    if reply.topic is Topic.GREYLISTED:
        return FailureClass.RECIPIENT
    if reply.code == 421 or reply.phase is Phase.MAIL:
        return FailureClass.PROVIDER
    if reply.topic in _MAILBOX_TOPICS or reply.is_about(2):
        return FailureClass.RECIPIENT
    if reply.phase is not Phase.RCPT or reply.topic is Topic.SYSTEM or reply.is_about(3):
        return FailureClass.PROVIDER
    return FailureClass.RECIPIENT


def _judge_permanent(reply: _ParsedReply, recipients: int) -> FailureClass:
    """Return the class of a 5xx, from MAIL on."""
    if reply.code in _LOG_IN_CODES or reply.is_about(1, 7, 8) or reply.topic is Topic.SENDER_REJECTED:
        return FailureClass.ACCOUNT
    if reply.phase is Phase.RCPT:
        return _judge_mailbox(reply)
    if _is_about_the_message(reply):
        return FailureClass.MESSAGE
    if reply.phase is Phase.MAIL:
        return FailureClass.ACCOUNT
    if reply.topic is Topic.MAILBOX_FULL or reply.is_about(2, 1, 2):
        # Exchange means the mailbox that submits the message.
        return FailureClass.ACCOUNT if reply.code == 554 else FailureClass.RECIPIENT
    if reply.topic in _MAILBOX_TOPICS:
        return FailureClass.RECIPIENT
    if reply.topic in ACCOUNT_TOPICS or reply.topic in _PASSING_TOPICS:
        return FailureClass.ACCOUNT
    if reply.topic in (Topic.NO_MAILBOX, Topic.MAILBOX_CLOSED, Topic.BAD_ADDRESS) or reply.is_about(1):
        return FailureClass.MESSAGE if recipients == 1 else FailureClass.RECIPIENT  # of several it may mean any
    return FailureClass.ACCOUNT


def _is_about_the_message(reply: _ParsedReply) -> bool:
    """Return True if a 5xx is clearly about this message: its size, form or content."""
    if reply.is_about(*_FULL):
        return False
    if reply.topic is Topic.SIZE or reply.is_about(2, 3) or reply.is_about(3, 4):
        return True
    if reply.topic in ACCOUNT_TOPICS or reply.topic in _MAILBOX_TOPICS:
        return False
    if reply.is_about(6) or reply.is_about(*_LOOP):
        return True
    return reply.phase in (Phase.DATA, Phase.DOT) and reply.topic is Topic.CONTENT


def _judge_mailbox(reply: _ParsedReply) -> FailureClass:
    """Return the class of a 5xx at RCPT; MESSAGE: this mailbox, permanently."""
    if reply.code in _MAILBOX_CODES and reply.is_about(1, 1, 2, 3, 4, 5, 6, 9, 10):
        return FailureClass.MESSAGE
    if reply.topic in ACCOUNT_TOPICS or reply.topic is Topic.POLICY or reply.is_about(7):
        return FailureClass.ACCOUNT
    if reply.topic in _MAILBOX_TOPICS:
        return FailureClass.RECIPIENT
    if reply.topic in (Topic.NO_MAILBOX, Topic.MAILBOX_CLOSED, Topic.BAD_ADDRESS) or _is_about_the_message(reply):
        return FailureClass.MESSAGE
    if reply.code in _MAILBOX_CODES and reply.topic in _PASSING_TOPICS:
        return FailureClass.RECIPIENT
    if reply.code in _MAILBOX_CODES and (reply.subject is None or reply.is_about(1, 0)):
        return FailureClass.MESSAGE
    if reply.is_about(1, 3):
        return FailureClass.MESSAGE
    if reply.is_about(2) or reply.is_about(4) or reply.code == 552:
        return FailureClass.RECIPIENT
    return FailureClass.PROVIDER if reply.topic is Topic.SYSTEM or reply.code == 503 else FailureClass.ACCOUNT


def build_refused(
    code: int,
    text: str,
    phase: Phase,
    *,
    recipients: int = 1,
    refused: tuple[RecipientRefusal, ...] = (),
) -> Refused:
    """Return the outcome of a call that ended with this reply. `text` is redacted; of a reply to AUTH none is kept.

    `recipients`: how many the server had accepted. `refused`: those that it had refused before.
    """
    judgement = judge(code, text, phase, recipients=recipients)
    return Refused(
        failure_class=judgement.failure_class,
        reason_code=f"smtp-{code}",
        reason=_describe_log_in_refusal(code, text) if phase is Phase.AUTH else text,
        status_code=code,
        retry_after=judgement.retry_after,
        refused=refused,
        at_capacity=judgement.at_capacity,
        used_up=judgement.used_up,
    )


def _describe_log_in_refusal(code: int, text: str) -> str:
    """Return a reply to AUTH without its words: a server may repeat the password in any spelling."""
    enhanced = _ENHANCED.search(text)
    return f"The server refused the login: {code}{f' {enhanced[0]}' if enhanced else ''}."


def refuse_recipient(address: str, code: int, text: str) -> RecipientRefusal:
    """Return the meaning of a reply to RCPT for the recipient. `text` is redacted."""
    judgement = judge(code, text, Phase.RCPT)
    return RecipientRefusal(
        address=address,
        reason=f"{code} {text}",
        permanent=judgement.failure_class is FailureClass.MESSAGE,
        failure_class=judgement.failure_class,
        next_call=judgement.next_call,
    )


# If all recipients are refused, the first of these classes that occurs is that of the call. A reply about one mailbox proves
# that the server works, so PROVIDER comes late.
_WEIGHT = (FailureClass.ACCOUNT, FailureClass.RATE, FailureClass.RECIPIENT, FailureClass.PROVIDER, FailureClass.MESSAGE)


def refuse_all(replies: Sequence[tuple[str, int, str]]) -> Refused:
    """Return the outcome of a call in which every recipient was refused. `replies`: address, code and redacted text."""
    judged = [(judge(code, text, Phase.RCPT), code, text) for _, code, text in replies]
    decisive, code, text = min(judged, key=lambda reply: _WEIGHT.index(reply[0].failure_class))
    failure_class = decisive.failure_class
    if decisive.next_call:  # not even one is accepted: a limit of the account, not of the call
        failure_class = FailureClass.RATE
    elif failure_class is FailureClass.PROVIDER and any(
        judgement.failure_class is FailureClass.MESSAGE for judgement, _, _ in judged
    ):
        failure_class = FailureClass.RECIPIENT
    wait = decisive.retry_after or (
        DEFAULT_WAIT if failure_class is FailureClass.RATE and not decisive.at_capacity else None
    )
    refused = tuple(refuse_recipient(*reply) for reply in replies)
    return Refused(
        failure_class=failure_class,
        reason_code=f"smtp-{code}",
        reason=text,
        status_code=code,
        retry_after=wait,
        refused=refused,
        at_capacity=decisive.at_capacity,
        used_up=decisive.used_up,
    )


def build_accepted(code: int, text: str, refused: tuple[RecipientRefusal, ...]) -> Accepted:
    """Return the outcome of an accepted message, with the id that most servers give it."""
    queued = re.search(r"queued as ([\w.+@<>-]{1,255})", text, re.IGNORECASE)
    return Accepted(provider_message_id=queued[1] if queued else "", status_code=code, refused=refused)
