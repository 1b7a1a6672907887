"""Releases the files of download links that have ended, and forgets downloads that are over.

A content that no email, upload or link uses any more is deleted by the task for unused files.
"""

import datetime as dt

from mails.files import links

TASK = "ended-links"
EVERY = dt.timedelta(minutes=1)
BATCH = 500  # rows in one transaction


def remove() -> int:
    """Release a batch of ended links, and delete a batch of downloads; return how many rows. Several processes may do it at once."""
    return links.release_ended(BATCH) + links.forget_downloads(BATCH)
