"""Few writes for the calls of many threads: while one group is being written, the next one gathers."""

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from django.db import OperationalError

from mercury.lib.database.database_bounds import waits

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class _Place(Generic[Item, Answer]):
    """One caller's place in the line. `called`: its answer is there, or it is its turn to write."""

    def __init__(self, item: Item) -> None:
        self.item = item
        self.called = threading.Event()
        self.answer: Answer
        self.error: BaseException | None = None
        self.has_result = False


class GroupCommit(Generic[Item, Answer]):
    """Hands the items of all threads that call at about the same time to one `write`.

    A lone caller waits for nobody. A caller that comes while a group is being written waits for its end, and the first of
    them then writes for all of them, in its own thread. `write` never runs twice at once; it gets the items in their
    order of arrival and gives an answer for each. What it raises, every caller of the group gets. `after` runs in the
    writing thread, once the others have their answers and the next group is on its way; it must not raise.
    """

    def __init__(
        self, write: Callable[[Sequence[Item]], Sequence[Answer]], *, after: Callable[[Sequence[Item]], None]
    ) -> None:
        self._write = write
        self._after = after
        self._lock = threading.Lock()
        self._writing = False
        self._waiting: list[_Place[Item, Answer]] = []
        self._next: _Place[Item, Answer] | None = None  # who writes, as soon as it wakes

    def __call__(self, item: Item) -> Answer:
        """Have the item written, and return its answer. Waits for at most two writes, and no longer than it may.

        Raises OperationalError if the time is over first: the item may have been written then, or not.
        """
        place: _Place[Item, Answer] = _Place(item)
        with self._lock:
            self._waiting.append(place)
            first, self._writing = not self._writing, True
            if first:
                self._next = place
        if not first:
            self._wait(place)
        if not place.has_result:
            self._write_group()
        if place.error is not None:
            raise place.error
        return place.answer

    def _wait(self, place: _Place[Item, Answer]) -> None:
        waits.wait_for(place.called)
        with self._lock:
            if place.has_result or place is self._next:
                return
            if place in self._waiting:
                self._waiting.remove(place)
        raise OperationalError("The database did not store earlier submissions in time.")

    def _write_group(self) -> None:
        with self._lock:
            group, self._waiting, self._next = self._waiting, [], None
        items = [place.item for place in group]
        try:
            for place, answer in zip(group, self._write(items), strict=True):
                place.answer = answer
        except BaseException as error:  # noqa: BLE001 (raised below, by all: nobody may be left waiting)
            for place in group:
                place.error = error
        self._hand_over()
        for place in group:
            place.has_result = True
            place.called.set()
        if group[0].error is None:
            self._after(items)

    def _hand_over(self) -> None:
        with self._lock:
            following = self._next = self._waiting[0] if self._waiting else None
            self._writing = following is not None
        if following is not None:
            following.called.set()
