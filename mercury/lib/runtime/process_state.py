"""State of this process that no database holds, in one object. `MercuryConfig.ready` makes it, and again in a forked child.

A module that has such state declares a class for it and asks for the process's one object of that class. So nothing is
kept in module globals, a child of a fork inherits no thread, lock or connection of its parent, and each test begins as
a process does.
"""

from typing import Any, TypeVar

from django.apps import apps

Part = TypeVar("Part")


class ProcessState:
    """One object of each class, made when it is first asked for."""

    def __init__(self) -> None:
        self._parts: dict[type[Any], Any] = {}

    def get(self, part: type[Part]) -> Part:
        """Return the object of this class. Fit for any thread, and for a signal's handler: it takes no lock."""
        found: Part | None = self._parts.get(part)
        if found is None:
            found = self._parts.setdefault(part, part())  # of two threads that make one, both get the same
        return found


def get(part: type[Part]) -> Part:
    """Return this process's object of this class."""
    state: ProcessState = apps.app_configs["mercury"].process_state  # type: ignore[attr-defined]  # lib knows no app
    return state.get(part)
