import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mercury.lib.database.group_commit import GroupCommit


class Store:
    """Writes down its groups. `gate` holds the first write back until the test opens it."""

    def __init__(self, error=None):
        self.groups = []
        self.woken = []
        self.error = error
        self.began, self.gate = threading.Event(), threading.Event()
        self.commit = GroupCommit(self.write, after=self.woken.append)

    def write(self, items):
        self.groups.append(list(items))
        if len(self.groups) == 1:
            self.began.set()
            self.gate.wait(10)
        if self.error is not None and "bad" in items:
            raise self.error
        return [item.upper() for item in items]

    def hand_in(self, pool, *items):
        """Hand in one after the other, each once the line is as long as expected."""
        answers = []
        for number, item in enumerate(items):
            answers.append(pool.submit(self.commit, item))
            while len(self.commit._waiting) <= number:
                pass
        return answers


def test_a_lone_caller_waits_for_nobody():
    store = Store()
    store.gate.set()

    assert store.commit("a") == "A"
    assert store.commit("b") == "B"

    assert store.groups == store.woken == [["a"], ["b"]]


def test_who_comes_during_a_write_is_written_together_and_in_order():
    store = Store()

    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(store.commit, "a")
        store.began.wait(10)
        others = store.hand_in(pool, "b", "c", "d")
        store.gate.set()
        answers = [answer.result(10) for answer in (first, *others)]

    assert answers == ["A", "B", "C", "D"]
    assert store.groups == [["a"], ["b", "c", "d"]]
    assert sorted(store.woken) == [["a"], ["b", "c", "d"]]


def test_an_error_reaches_its_whole_group_and_no_other():
    store = Store(error=ValueError("no room"))

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(store.commit, "a")
        store.began.wait(10)
        others = store.hand_in(pool, "b", "bad")
        store.gate.set()

        assert first.result(10) == "A"
        for answer in others:
            with pytest.raises(ValueError, match="no room"):
                answer.result(10)

    assert store.commit("c") == "C"
    assert store.woken == [["a"], ["c"]]


def test_of_many_threads_each_gets_its_own_answer():
    store = Store()
    store.gate.set()

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(store.commit, (f"m{number}" for number in range(2000))))

    assert answers == [f"M{number}" for number in range(2000)]
    assert sum(len(group) for group in store.groups) == 2000
