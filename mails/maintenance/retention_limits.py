"""How long texts and mails may be kept, and how short. A leaf: the system checks ask it before any model is there."""

import datetime as dt

from mercury.lib import durations

# Idempotency keys lead to their emails; the second day allows for machines whose clocks differ.
SHORTEST = dt.timedelta(days=2)
LONGEST = dt.timedelta(days=36_500)


def wrong(bodies: dt.timedelta, mails: dt.timedelta) -> str:
    """Why texts and mails cannot be removed at these ages, and what to do; empty if they can. Pure."""
    texts_at, mails_at = durations.words(bodies.total_seconds()), durations.words(mails.total_seconds())
    if mails < SHORTEST:
        return (
            f"Mails cannot be removed after {mails_at}: an Idempotency-Key leads to its mail for 24 hours. "
            "Keep them for 2d or longer."
        )
    if bodies > mails:
        return (
            f"Texts cannot be kept for {texts_at} while their mails are removed after {mails_at}. "
            "Keep the mails for as long as the texts, or longer."
        )
    if mails > LONGEST:
        return f"Mails cannot be kept for {mails_at}: 36500d, a hundred years, is the longest."
    return ""
