"""A missing program skips its test; in CI it fails it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from chaos.servers import ProgramMissing


@contextmanager
def skip_if_program_missing() -> Iterator[None]:
    """Skip the test if a program is missing, and name it; fail in CI."""
    try:
        yield
    except ProgramMissing as missing:
        if os.environ.get("CI", "").lower() in {"", "0", "false"}:
            pytest.skip(str(missing))
        raise
