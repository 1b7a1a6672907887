"""Build what is sent of an email: of a small one at once, of a large one in a thread, so that no other call waits for it."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.core.mail import EmailMessage

from providers.transports import mime

LARGE = (
    256 * 1024
)  # characters of bodies and bytes of files; a smaller email is built in about the time that a thread takes to begin

Built = TypeVar("Built")


class Builder:
    """Builds for all channels of an event loop, in one thread: more of them would only wait for the interpreter."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="build")

    async def build(self, make: Callable[[EmailMessage], Built], message: EmailMessage) -> Built:
        """Return what `make` builds of the message. Raises what it raises."""
        if mime.measure(message) <= LARGE:
            return make(message)
        try:
            building = asyncio.get_running_loop().run_in_executor(self._thread, make, message)
        except RuntimeError:  # no thread can be started: that others wait is better than no email
            return make(message)
        return await building

    def close(self) -> None:
        """Begin no other build."""
        self._thread.shutdown(wait=False, cancel_futures=True)
