"""The invariants that hold whatever strikes. Pure: three records in, the breaches out, each a sentence that names the mail."""

from collections import defaultdict
from collections.abc import Callable

from chaos.records import MailOnRecord, Records, Taking

FINAL = {"done", "discarded", "expired", "cancelled", "held"}


def _none_missing(records: Records) -> list[str]:
    return [
        f"{answer.order.subject} was acknowledged with {answer.status} as {answer.mail_id}, and is not there"
        for answer in records.told
        if answer.status == 202 and (answer.mail_id not in records.mails or records.seen.get(answer.mail_id) == "")
    ]


def _ends(records: Records) -> list[str]:
    return [f"{mail.subject} is {mail.status}" for mail in records.mails.values() if mail.status not in FINAL] + [
        f"{mail_id} is {status} to the API and {records.mails[mail_id].status} in the database"
        for mail_id, status in records.seen.items()
        if status and mail_id in records.mails and status != records.mails[mail_id].status
    ]


def _taken(records: Records) -> list[str]:
    taken = records.taken_by_mail
    done = [mail for mail in records.mails.values() if mail.status == "done" or mail.count("DONE")]
    return [f"{mail.subject} is done, and no provider took it" for mail in done if mail.id not in taken]


def _doubt_first(records: Records) -> list[str]:
    found = []
    for mail_id, takings in records.taken_by_mail.items():
        mail = records.mails.get(mail_id)
        for doubles, taking in enumerate(takings[1:], start=1):
            doubts = _doubts_before(mail, taking) if mail else 0
            if doubts < doubles:
                found.append(f"{taking.subject} was taken again by {taking.account} with {doubts} doubts on record")
    return found


def _doubts_before(mail: MailOnRecord, taking: Taking) -> int:
    """Return how many unknown outcomes were on record before the attempt that this delivery belongs to."""
    sends = [event.id for event in mail.events if event.name == "SEND" and event.at_ns <= taking.at_ns]
    return sum(event.name == "UNKNOWN" and event.id < max(sends, default=0) for event in mail.events)


def _one_done(records: Records) -> list[str]:
    return [
        f"{mail.subject} has {mail.count('DONE')} times DONE"
        for mail in records.mails.values()
        if mail.count("DONE") > 1
    ]


def _attempted(records: Records) -> list[str]:
    return [
        f"{mail.subject} is done without an accepted attempt"
        for mail in records.mails.values()
        if mail.count("DONE") and not any(attempt.state == "accepted" for attempt in mail.attempts)
    ]


def _one_mail(records: Records) -> list[str]:
    by_subject: dict[str, set[str]] = defaultdict(set)
    for mail in records.mails.values():
        by_subject[mail.subject].add(mail.id)
    for answer in records.told:
        if answer.mail_id:
            by_subject[answer.order.subject].add(answer.mail_id)
    return [f"{subject} led to {len(ids)} mails" for subject, ids in by_subject.items() if len(ids) > 1]


def _nothing_stuck(records: Records) -> list[str]:
    found = []
    for mail in records.mails.values():
        if mail.is_leased:
            found.append(f"{mail.subject} is still in somebody's hand")
        if mail.is_due:
            found.append(f"{mail.subject} still waits to be sent")
        found += [f"{mail.subject} has an open attempt" for attempt in mail.attempts if attempt.state == "open"]
    return found


def _two_copies(records: Records) -> list[str]:
    found = []
    for mail_id, takings in records.taken_by_mail.items():
        mail = records.mails.get(mail_id)
        asked_for = sum(mail.count(name) for name in _ANOTHER_COPY) if mail else 0
        if len(takings) > 2 + asked_for:
            found.append(f"{takings[0].subject} was taken {len(takings)} times, and nobody asked for that")
    return found


_ANOTHER_COPY = ("RESOLVED", "RELEASED", "REPROCESS")  # a person, or evidence, lets it go out once more

LAWS: dict[str, Callable[[Records], list[str]]] = {
    "no acknowledged mail is missing": _none_missing,
    "each mail ends in a final state or HELD": _ends,
    "each DONE was taken by a provider": _taken,
    "what was taken twice has an unknown outcome on record before the second send": _doubt_first,
    "no mail has two DONE": _one_done,
    "no DONE without an attempt": _attempted,
    "one key, one mail": _one_mail,
    "nothing is stuck": _nothing_stuck,
    "nothing is taken more than twice by itself": _two_copies,
}


def judge(records: Records) -> dict[str, list[str]]:
    """Each invariant with its breaches, none where it holds."""
    return {name: invariant(records) for name, invariant in LAWS.items()}
