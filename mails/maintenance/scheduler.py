"""The periodic tasks of the instance. Every dispatcher offers to run them with each heartbeat; the leader of each does."""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict

import structlog
from django.conf import settings
from django.db import Error

from mails.actions import bulk
from mails.dispatch import wake
from mails.maintenance import leadership, partitions, retention, sweeper
from mails.reporting import rollups
from mercury.lib.database import database_clock
from mercury.lib.database.database_errors import classify, is_temporary

log = structlog.get_logger(__name__)

REMOVAL_A_HEARTBEAT = 0.2  # seconds, and one batch more

_removal: Iterator[retention.RemovedCounts] | None = None  # retention's run in progress


def run_tasks(worker: str) -> None:
    """Run each task that this worker leads and that is due. One that fails stops no other."""
    for name, task in TASKS.items():
        run_safely(name, lambda task=task: task(worker))  # type: ignore[misc]


def run_safely(name: str, work: Callable[[], object]) -> None:
    """Do the work, and log a failure: it must not end the dispatcher that the task runs in."""
    try:
        work()
    except Exception as error:
        if isinstance(error, Error) and is_temporary(error):
            log.warning("task_failed", task=name, error=classify(error))
        else:
            log.exception("task_failed", task=name)


def recover_and_expire(worker: str) -> None:
    """Return emails of dead workers to the queue, and end those that have expired."""
    if sweeper.sweep_if_leader(worker):
        wake.wake_local()


def roll_up(worker: str) -> None:
    """Add the latest figures to the roll-ups."""
    if leadership.acquire(rollups.TASK, worker):
        rollups.run()


def continue_bulk_actions(worker: str) -> None:
    """Carry out the next batch of a bulk action."""
    if leadership.acquire(bulk.TASK, worker) and bulk.run():
        wake.wake_local()


def prepare_partitions(worker: str) -> None:
    """Make the months of the event table ahead of time."""
    if leadership.begin_run(partitions.TASK, worker, every=partitions.EVERY):
        partitions.prepare(database_clock.now())


def remove_old(worker: str) -> None:
    """Remove what is older than its retention: an hour's worth or a year's, a few batches a heartbeat.

    Not all at once: emails may be waiting for this thread.
    """
    global _removal
    if _removal is None and leadership.begin_run(retention.TASK, worker, every=retention.EVERY):
        _removal = retention.run(settings.MERCURY_BODY_RETENTION, settings.MERCURY_MAIL_RETENTION)
    until = time.monotonic() + REMOVAL_A_HEARTBEAT
    while _removal is not None and time.monotonic() < until:
        removed = next(_removal, None)  # None also after it raised; what it left is for the next run
        if removed is None:
            _removal = None
        elif removed:
            log.info("retention_removed", **asdict(removed))


TASKS: dict[str, Callable[[str], None]] = {
    sweeper.TASK: recover_and_expire,
    rollups.TASK: roll_up,
    partitions.TASK: prepare_partitions,
    retention.TASK: remove_old,
    bulk.TASK: continue_bulk_actions,
}
