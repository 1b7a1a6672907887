"""The periodic tasks of the instance. Every resident dispatcher offers to run them; the leader of each does.

Two threads run them after each heartbeat: one recovers what dead workers left, the other does all the rest. So recovery
waits for no task, and claims and heartbeats wait for neither. A task whose leader is slow may begin in another process,
once the leader's lease is over: each of them is safe then, as its module says.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict

import structlog
from django.conf import settings
from django.db import Error

from mails.actions import bulk
from mails.maintenance import (
    ended_links,
    expired_suppressions,
    leadership,
    old_deliveries,
    old_rows,
    partitions,
    retention,
    rule_matching,
    sweeper,
    unused_files,
    webhook_secrets,
)
from mails.maintenance.periodic_thread import Beat, PeriodicThread
from mails.reporting import rollups
from mercury.lib.database import database_clock
from mercury.lib.database.database_errors import classify, is_temporary
from mercury.lib.storages.errors import StorageUnavailable

log = structlog.get_logger(__name__)

SLICE = 1.0  # seconds, and one batch more, that a task with much to do works before the others have their turn

Task = Callable[[Beat], None]


class Scheduler:
    """The periodic tasks of one process. `wake`: called when a task has made emails due."""

    def __init__(self, *, wake: Callable[[], object]) -> None:
        self._wake = wake
        self._rule_matching = rule_matching.RuleMatching()
        self._old_deliveries: old_deliveries.OldDeliveries | None = None  # its run in progress
        self._removal: Iterator[retention.RemovedCounts] | None = None  # retention's run in progress
        self.tasks: dict[str, Task] = {
            rollups.TASK: self._roll_up,
            bulk.TASK: self._continue_bulk_actions,
            partitions.TASK: self._prepare_partitions,
            retention.TASK: self._remove_old_mails,
            old_rows.TASK: self._remove_old_rows,
            old_deliveries.TASK: self._remove_old_deliveries,
            ended_links.TASK: self._release_ended_links,
            expired_suppressions.TASK: self._remove_expired_suppressions,
            unused_files.TASK: self._remove_unused_files,
            rule_matching.TASK: self._match_rules_again,
            webhook_secrets.TASK: self._encrypt_webhook_secrets,
        }
        self._threads = (
            PeriodicThread("mercury-sweeper", lambda beat: run_tasks({sweeper.TASK: self._recover_and_expire}, beat)),
            PeriodicThread("mercury-maintenance", lambda beat: run_tasks(self.tasks, beat)),
        )

    def start(self) -> None:
        """Begin to follow the heartbeats."""
        for thread in self._threads:
            thread.start()

    def note_heartbeat(self, worker: str) -> None:
        """Have the tasks run that this worker leads and that are due. Returns at once."""
        for thread in self._threads:
            thread.note_heartbeat(worker)

    def stop(self) -> None:
        """Begin no more tasks. One that does not end within a second ends with the process, and is undone."""
        for thread in self._threads:
            thread.ask_to_stop()
        for thread in self._threads:
            if not thread.stop():
                log.warning("maintenance_not_stopped", thread=thread.name)

    def _recover_and_expire(self, beat: Beat) -> None:
        """Return emails of dead workers to the queue, and end those that have expired."""
        if sweeper.sweep_if_leader(beat.worker, until=beat.at + sweeper.LONGEST_LOOK):
            self._wake()

    def _roll_up(self, beat: Beat) -> None:
        if leadership.acquire(rollups.TASK, beat.worker):
            rollups.run()

    def _continue_bulk_actions(self, beat: Beat) -> None:
        if leadership.acquire(bulk.TASK, beat.worker) and bulk.run():
            self._wake()

    def _prepare_partitions(self, beat: Beat) -> None:
        """Make the months of the event table ahead of time."""
        if leadership.begin_run(partitions.TASK, beat.worker, every=partitions.EVERY):
            partitions.prepare(database_clock.now())

    def _remove_old_mails(self, beat: Beat) -> None:
        """Delete what is older than its retention period: an hour's worth or a year's, in slices, an hour after the last run."""
        if self._removal is None and leadership.begin_run(retention.TASK, beat.worker, every=retention.EVERY):
            self._removal = retention.run(settings.MERCURY_BODY_RETENTION, settings.MERCURY_MAIL_RETENTION)
        until = time.monotonic() + SLICE
        while self._removal is not None and time.monotonic() < until:
            removed = next(self._removal, None)  # None also after it raised; what it left is for the next run
            if removed is None:
                self._removal = None
            elif removed:
                log.info("retention_removed", **asdict(removed))

    def _remove_old_rows(self, beat: Beat) -> None:
        if leadership.acquire(old_rows.TASK, beat.worker):
            old_rows.remove(seconds=SLICE)

    def _remove_old_deliveries(self, beat: Beat) -> None:
        """Delete old deliveries of webhooks, in slices, an hour after the last run."""
        if leadership.begin_run(old_deliveries.TASK, beat.worker, every=old_deliveries.EVERY):
            self._old_deliveries = old_deliveries.OldDeliveries()
        if self._old_deliveries is not None and not self._old_deliveries.remove(seconds=SLICE):
            self._old_deliveries = None

    def _release_ended_links(self, beat: Beat) -> None:
        if leadership.begin_run(ended_links.TASK, beat.worker, every=ended_links.EVERY):
            ended_links.remove()

    def _remove_expired_suppressions(self, beat: Beat) -> None:
        if leadership.begin_run(expired_suppressions.TASK, beat.worker, every=expired_suppressions.EVERY):
            expired_suppressions.remove(seconds=SLICE)

    def _remove_unused_files(self, beat: Beat) -> None:
        if leadership.acquire(unused_files.TASK, beat.worker):
            unused_files.remove(seconds=SLICE)

    def _encrypt_webhook_secrets(self, beat: Beat) -> None:
        if leadership.begin_run(webhook_secrets.TASK, beat.worker, every=webhook_secrets.EVERY):
            webhook_secrets.encrypt_again()

    def _match_rules_again(self, beat: Beat) -> None:
        """Match emails on their way with routing rules that changed."""
        if leadership.acquire(rule_matching.TASK, beat.worker) and self._rule_matching.work(seconds=SLICE):
            self._wake()


def run_tasks(tasks: Mapping[str, Task], beat: Beat) -> None:
    """Run the tasks, one after the other. One that fails stops no other."""
    for name, task in tasks.items():
        try:
            task(beat)
        except StorageUnavailable as error:
            log.warning("task_failed", task=name, error=str(error))
        except Exception as error:
            if isinstance(error, Error) and is_temporary(error):
                log.warning("task_failed", task=name, error=classify(error))
            else:
                log.exception("task_failed", task=name)
