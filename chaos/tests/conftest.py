"""One testbed for all short versions of a leg: to build one takes longer than to strike at it."""

from collections.abc import Iterator

import pytest
from django.conf import settings

from chaos.servers import ProgramMissing, SmallDisk
from chaos.testbed import SHORT, Testbed, build_testbed
from chaos.tests.missing import missing_is_told

DISK = 600  # MB


@pytest.fixture(scope="session")
def built() -> Iterator[Testbed]:
    """The leg under test, started, with short silences. The scheduler keeps the tests that use it in one process."""
    leg, plant = "full" if settings.REDIS_URL else "embedded", "hurry,abort-on-poison,sleep-by-waiting"
    with missing_is_told(), build_testbed(leg, plant=plant, disk=_disk(), **SHORT) as fresh:
        fresh.start()
        yield fresh


def _disk() -> int:
    """MB of a file system of its own, that can be filled; 0 where none can be mounted."""
    try:
        SmallDisk(DISK).remove()
    except ProgramMissing:
        return 0
    return DISK
