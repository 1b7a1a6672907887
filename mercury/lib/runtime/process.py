"""Whose environment this is: that of the running instance, or that of somebody's terminal.

A server or worker stores what its environment says, such as provider accounts. A command typed in a terminal may carry
other variables, so it stores nothing unless it is asked to.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_is_terminal: ContextVar[bool] = ContextVar("is_terminal", default=False)


def is_terminal() -> bool:
    """Return True inside a command that neither serves nor dispatches."""
    return _is_terminal.get()


@contextmanager
def is_in_terminal() -> Iterator[None]:
    """Mark the block as a command's own work."""
    token = _is_terminal.set(True)
    try:
        yield
    finally:
        _is_terminal.reset(token)
