"""A change of one stream from the command line: the question before it, and what was done."""

from collections.abc import Callable
from typing import Any, NamedTuple

from mails.states import Actor
from mercury.lib.commands import ExitCode, Output


class StreamChange(NamedTuple):
    """What a subcommand does with a stream."""

    verb: str
    question: str  # with a place for the stream's name
    state: str  # that the stream is in afterwards
    work: Callable[..., bool]  # called with the name and `by`; False if it was in that state before


def change_stream(out: Output, change: StreamChange, name: str, options: dict[str, Any]) -> ExitCode | None:
    """Ask, do it, and say what happened; with `--dry-run` say what would."""
    if options["dry_run"]:
        out.say(f"Would {change.verb} {name}.")
        out.write_document({"name": name, "changed": False})
        return None
    if not out.ask(change.question.format(name)):
        return ExitCode.FAILED
    changed = change.work(name, by=Actor.COMMAND)
    out.say(f"{name} is {change.state}." if changed else f"Nothing to do: {name} was in that state before.")
    out.write_document({"name": name, "changed": changed})
    return None
