"""The last request of an email whose outcome is unknown, as a claim reads it."""

import datetime as dt
from typing import NamedTuple

import orjson

from mails.states import AttemptState, DeliveryGuarantee
from mercury.lib.database.recordset import as_time
from providers.accounts.registry import Candidate
from providers.routing import repeats

EXPIRED_UNKNOWN = "It may have been sent, and it expired before its account could be asked again."


class UnansweredRequest(NamedTuple):
    """The request, and the key that it had."""

    account: str
    key_scope: str  # empty: the provider cannot recognize a repeated one
    since: dt.datetime  # when its key was used first
    is_only: bool = True  # no request with another key has an unknown outcome

    def is_repeatable(self, candidate: Candidate | None, now: dt.datetime) -> bool:
        """Return True if its account, as it is now, sends no second copy of it. `candidate`: that account, if it exists."""
        return repeats.may_be_remembered(self.key_scope, since=self.since, candidate=candidate, now=now)


def must_repeat(unanswered: UnansweredRequest | None, delivery_guarantee: DeliveryGuarantee) -> bool:
    """Return True if the email may be sent by a repeated request alone: it may have been sent, and must not be twice."""
    return unanswered is not None and delivery_guarantee == DeliveryGuarantee.AT_MOST_ONCE


def select_unanswered(mail: str, *, function: str) -> str:
    """Return the expression that gathers the request of an email as one JSON text; NULL if it has none.

    `mail`: the name of its row. `function`: the database's, which builds a JSON array. Once some recipients were accepted, a
    repeated request would have others, and another key.
    """
    of_mail = f"FROM mails_attempt AS {{}} WHERE {{}}.mail_id = {mail}.id AND"
    first, other, answered = (of_mail.format(name, name) for name in ("first", "other", "answered"))
    return f"""
        CASE WHEN {mail}.possible_duplicate THEN (
            SELECT {function}(
                unanswered.account,
                CASE WHEN EXISTS (
                    SELECT 1 {answered} answered.state = '{AttemptState.ACCEPTED}' AND answered.number > unanswered.number
                ) THEN '' ELSE unanswered.key_scope END,
                (SELECT min(opened_at) {first} first.key_scope = unanswered.key_scope),
                NOT EXISTS (
                    SELECT 1 {other} other.state = '{AttemptState.UNKNOWN}'
                        AND (other.key_scope <> unanswered.key_scope OR other.key_scope = '')
                        AND other.number <> unanswered.number
                        AND NOT EXISTS (
                            SELECT 1 {answered} answered.state = '{AttemptState.ACCEPTED}'
                                AND answered.key_scope = other.key_scope AND other.key_scope <> ''
                        )
                )
            )
            FROM mails_attempt AS unanswered
            WHERE unanswered.mail_id = {mail}.id AND unanswered.state = '{AttemptState.UNKNOWN}'
            ORDER BY unanswered.number DESC LIMIT 1
        ) END"""  # noqa: S608 (names and constants of ours)


def load_unanswered(text: str | None) -> UnansweredRequest | None:
    """Return what the expression gathered."""
    if not text:
        return None
    account, key_scope, since, is_only = orjson.loads(text)
    return UnansweredRequest(account, key_scope, as_time(since), bool(is_only))
