"""Commands run as a person would, with their exit code and what they wrote."""

import io
import json
from dataclasses import dataclass
from typing import Any

from django.core.management import call_command
from django.core.management.base import CommandError


@dataclass(frozen=True)
class Ran:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    error: str = ""

    @property
    def lines(self) -> list[Any]:
        """Its JSON, one value a line."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def document(self) -> Any:
        """Its one JSON document."""
        [document] = self.lines
        return document


def run(*words: str) -> Ran:
    """Run `manage.py WORDS…` in this process; nobody sits at its terminal."""
    out = io.StringIO()
    try:
        call_command(*words, stdout=out)
    except CommandError as error:
        return Ran(error.returncode, out.getvalue(), str(error))
    except SystemExit as leaving:
        return Ran(int(leaving.code or 0), out.getvalue())
    return Ran(0, out.getvalue())
