"""One rig for all short versions of a leg: to build one takes longer than to strike at it."""

from collections.abc import Iterator

import pytest
from django.conf import settings

from faults.rig import SHORT, Rig, rig

DISK = 600  # MB, of a file system of its own that can be filled


@pytest.fixture(scope="session")
def built() -> Iterator[Rig]:
    """The leg under test, started, with short silences. xdist keeps the tests that use it in one process."""
    with rig(
        "full" if settings.REDIS_URL else "embedded", plant="hurry,abort-on-poison,sleep-by-waiting", disk=DISK, **SHORT
    ) as fresh:
        fresh.start()
        yield fresh
