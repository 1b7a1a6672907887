"""Tags that have a name and a value of few characters, as Amazon SES and Resend have them. Recipients do not see them."""

import itertools
import re
from collections.abc import Iterator

from django.core.mail import EmailMessage

MAX_TAGS = 20  # of one email; neither provider documents how many it allows
_WORD = re.compile("[A-Za-z0-9_-]{1,256}")


def build_tags(message: EmailMessage) -> dict[str, str]:
    """Return the email's id, its metadata and its tags as far as they fit, by name; tags are `tag`, `tag_2` and so on."""
    tags = dict[str, str]()
    for name, value in _list_wanted(message):
        if len(tags) < MAX_TAGS and _WORD.fullmatch(name) and _WORD.fullmatch(value):
            tags.setdefault(name, value)
    return tags


def _list_wanted(message: EmailMessage) -> Iterator[tuple[str, str]]:
    metadata = getattr(message, "metadata", {})
    yield from sorted(metadata.items(), key=lambda entry: entry[0] != "mercury_id")
    names = itertools.chain(["tag"], map("tag_{}".format, itertools.count(2)))
    free = (name for name in names if name not in metadata)
    yield from zip(free, getattr(message, "tags", ()), strict=False)
