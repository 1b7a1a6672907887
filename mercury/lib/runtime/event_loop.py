"""The event loop that emails are sent on: libuv's, which spends a fifth less of a processor on a call than asyncio's."""

import asyncio
import ctypes
import gc
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

Answer = TypeVar("Answer")

COLLECT_AFTER = (
    20_000  # new objects; Python's 700 means that hundreds of calls under way are looked through all the time
)
LARGE_BLOCK = 1_000_000  # bytes
_MMAP_THRESHOLD, _ARENA_MAX = -3, -8  # mallopt(3) of glibc


def run(main: Coroutine[Any, Any, Answer]) -> Answer:
    """`asyncio.run` on a new loop. For any thread that has none running."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def trim_memory() -> None:
    """Take all that a started process has loaded out of the garbage collector's sight. Call it once, when started."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 20, 20)
    _give_large_blocks_back()


def _give_large_blocks_back() -> None:
    """Let glibc give each block of a megabyte or more back as soon as it is free.

    It raises that size by itself to 32 MB, keeps what is smaller for the thread that freed it, and a process that has worked
    on some large emails stays at a gigabyte. Other C libraries have no such switch, and no such habit.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, LARGE_BLOCK)
        mallopt(_ARENA_MAX, 2)
