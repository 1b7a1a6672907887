"""Limits of the retention periods. A leaf: the system checks use it before the models are loaded."""

import datetime as dt

from mercury.lib import durations

# Idempotency keys lead to their emails; the second day allows for machines whose clocks differ.
SHORTEST = dt.timedelta(days=2)
LONGEST = dt.timedelta(days=36_500)


def find_error(bodies: dt.timedelta, mails: dt.timedelta) -> str:
    """Return what is wrong with these retention periods, and what to do; empty if they are valid."""
    bodies_kept, mails_kept = (
        durations.format_duration(bodies.total_seconds()),
        durations.format_duration(mails.total_seconds()),
    )
    if mails < SHORTEST:
        return (
            f"Emails cannot be deleted after {mails_kept}: an Idempotency-Key refers to its email for 24 hours. "
            "Keep them for at least 2d."
        )
    if bodies > mails:
        return (
            f"Bodies cannot be kept for {bodies_kept} if their emails are deleted after {mails_kept}. "
            "Keep emails at least as long as bodies."
        )
    if mails > LONGEST:
        return f"Emails cannot be kept for {mails_kept}: the maximum is 36500d (a hundred years)."
    return ""
