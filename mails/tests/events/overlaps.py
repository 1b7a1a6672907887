"""Transactions that overlap, in an order that a test forces."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from django.db import connection, transaction

needs_overlaps = pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer at a time")


@contextmanager
def uncommitted(work: Callable[[], object]) -> Iterator[threading.Event]:
    """Do the work in a transaction of another thread, which commits when the event is set, or at the end."""
    done, commit = threading.Event(), threading.Event()

    def run() -> None:
        try:
            with transaction.atomic():
                work()
                done.set()
                commit.wait(10)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert done.wait(10)
    try:
        yield commit
    finally:
        commit.set()
        thread.join(10)
