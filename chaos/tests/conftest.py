"""One testbed for all short versions of a leg: building one takes longer than a scenario."""

from collections.abc import Iterator

import pytest
from django.conf import settings

from chaos.servers import ProgramMissing, SmallDisk
from chaos.testbed import SHORT, Testbed, build_testbed
from chaos.tests.missing import skip_if_program_missing

DISK = 600  # MB


@pytest.fixture(scope="session")
def built() -> Iterator[Testbed]:
    """The leg under test, started, with short silences. The scheduler keeps the tests that use it in one process."""
    leg, plant = "full" if settings.REDIS_URL else "embedded", "hurry,abort-on-poison,sleep-by-waiting,slow-task"
    with skip_if_program_missing(), build_testbed(leg, plant=plant, disk=_measure_disk(), **SHORT) as fresh:
        fresh.start()
        yield fresh


def _measure_disk() -> int:
    """Return the MB of a file system of its own, which a test can fill; 0 if none can be mounted."""
    try:
        SmallDisk(DISK).remove()
    except ProgramMissing:
        return 0
    return DISK
