"""The invariants that hold under every failure. Pure: they read three records and return the breaches, each a sentence that names the email."""

from collections import defaultdict
from collections.abc import Callable

from chaos.records import Delivery, MailOnRecord, Records

FINAL = {"done", "discarded", "expired", "cancelled", "held"}


def _find_missing(records: Records) -> list[str]:
    return [
        f"{answer.planned.subject} was acknowledged with {answer.status} as {answer.mail_id}, and is missing"
        for answer in records.client_records
        if answer.status == 202 and (answer.mail_id not in records.mails or records.seen.get(answer.mail_id) == "")
    ]


def _find_unfinished(records: Records) -> list[str]:
    return [f"{mail.subject} is {mail.status}" for mail in records.mails.values() if mail.status not in FINAL] + [
        f"{mail_id} is {status} to the API and {records.mails[mail_id].status} in the database"
        for mail_id, status in records.seen.items()
        if status and mail_id in records.mails and status != records.mails[mail_id].status
    ]


def _find_done_without_delivery(records: Records) -> list[str]:
    deliveries = records.deliveries_by_mail
    done = [mail for mail in records.mails.values() if mail.status == "done" or mail.count("DONE")]
    return [f"{mail.subject} is done, and no provider accepted it" for mail in done if mail.id not in deliveries]


def _find_unexplained_duplicates(records: Records) -> list[str]:
    found = []
    for mail_id, deliveries in records.deliveries_by_mail.items():
        mail = records.mails.get(mail_id)
        for earlier, delivery in enumerate(deliveries[1:], start=1):
            unknown = _count_unknown_before(mail, delivery) if mail else 0
            if unknown < earlier:
                found.append(
                    f"{delivery.subject} was accepted again by {delivery.account} with {unknown} unknown outcomes on record"
                )
    return found


def _count_unknown_before(mail: MailOnRecord, delivery: Delivery) -> int:
    """Return how many unknown outcomes were on record before the attempt that this delivery belongs to."""
    sends = [event.id for event in mail.events if event.name == "SEND" and event.at_ns <= delivery.at_ns]
    return sum(event.name == "UNKNOWN" and event.id < max(sends, default=0) for event in mail.events)


def _find_second_done(records: Records) -> list[str]:
    return [
        f"{mail.subject} has {mail.count('DONE')} DONE events"
        for mail in records.mails.values()
        if mail.count("DONE") > 1
    ]


def _find_done_without_attempt(records: Records) -> list[str]:
    return [
        f"{mail.subject} is done without an accepted attempt"
        for mail in records.mails.values()
        if mail.count("DONE") and not any(attempt.state == "accepted" for attempt in mail.attempts)
    ]


def _find_keys_with_two_mails(records: Records) -> list[str]:
    by_subject: dict[str, set[str]] = defaultdict(set)
    for mail in records.mails.values():
        by_subject[mail.subject].add(mail.id)
    for answer in records.client_records:
        if answer.mail_id:
            by_subject[answer.planned.subject].add(answer.mail_id)
    return [f"{subject} led to {len(ids)} emails" for subject, ids in by_subject.items() if len(ids) > 1]


def _find_stuck(records: Records) -> list[str]:
    found = []
    for mail in records.mails.values():
        if mail.is_leased:
            found.append(f"{mail.subject} is still leased")
        if mail.is_due:
            found.append(f"{mail.subject} is still due")
        found += [f"{mail.subject} has an open attempt" for attempt in mail.attempts if attempt.state == "open"]
    return found


def _find_third_copies(records: Records) -> list[str]:
    found = []
    for mail_id, deliveries in records.deliveries_by_mail.items():
        mail = records.mails.get(mail_id)
        asked_for = sum(mail.count(name) for name in _ANOTHER_COPY) if mail else 0
        if len(deliveries) > 2 + asked_for:
            found.append(f"{deliveries[0].subject} was accepted {len(deliveries)} times, and nobody asked for that")
    return found


def _find_altered(records: Records) -> list[str]:
    return [
        f"{mail.subject} arrived at {delivery.account} as {delivery.subject}"
        for mail_id, deliveries in records.deliveries_by_mail.items()
        if (mail := records.mails.get(mail_id))
        for delivery in deliveries
        if delivery.subject != mail.subject
    ]


_ANOTHER_COPY = ("RESOLVED", "RELEASED", "REPROCESS")  # a person, or the provider's confirmation, sends it again

INVARIANTS: dict[str, Callable[[Records], list[str]]] = {
    "no acknowledged email is missing": _find_missing,
    "each email ends in a final state or HELD": _find_unfinished,
    "each DONE was accepted by a provider": _find_done_without_delivery,
    "an email sent twice has an unknown outcome on record before the second send": _find_unexplained_duplicates,
    "no email has two DONE": _find_second_done,
    "no DONE without an attempt": _find_done_without_attempt,
    "one key, one email": _find_keys_with_two_mails,
    "nothing is stuck": _find_stuck,
    "nothing is sent more than twice automatically": _find_third_copies,
    "each email arrives as it was submitted": _find_altered,
}


def judge(records: Records) -> dict[str, list[str]]:
    """Return each invariant with its breaches; none if it holds."""
    return {name: invariant(records) for name, invariant in INVARIANTS.items()}
