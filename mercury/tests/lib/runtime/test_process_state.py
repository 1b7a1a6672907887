"""The state of a process: one object of each class, and none of a parent's in its child."""

import os
import threading

from mercury.lib.runtime import process_state


class Counter:
    def __init__(self):
        self.lock = threading.Lock()
        self.count = 0


def test_whoever_asks_gets_the_same_object():
    found = []
    threads = [threading.Thread(target=lambda: found.append(process_state.get(Counter))) for _ in range(8)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {id(counter) for counter in found} == {id(process_state.get(Counter))}


def test_another_process_begins_with_nothing(begin_process):
    process_state.get(Counter).count = 7

    begin_process()

    assert process_state.get(Counter).count == 0


def test_a_child_waits_for_no_lock_of_its_parent():
    counter = process_state.get(Counter)
    counter.count = 7
    with counter.lock:
        child = os.fork()
        if child == 0:
            own = process_state.get(Counter)
            os._exit(0 if own.lock.acquire(blocking=False) and own.count == 0 else 1)
        _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
