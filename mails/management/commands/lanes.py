"""`manage.py lanes`: what waits in each lane; pause one, and resume it."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from mails import pauses
from mails.actions import apply
from mails.lanes import Lane
from mails.management import steering
from mails.models import LanePause
from mails.pauses import UnknownLane
from mails.reporting import system_status
from mails.reporting.system_status import Waiting
from mails.states import Actor
from mercury.lib import commands
from mercury.lib.commands import Exit, Output
from mercury.lib.database import database_clock

COLUMNS = {
    "lane": "Lane",
    "state": "State",
    "due": "Due",
    "later": "Back-off",
    "paused_at": "Since (UTC)",
    "paused_by": "By",
    "paused_note": "Why",
}
TONES = {"runs": "ok", "paused": "bad"}


class Command(commands.MercuryCommand):
    """List lanes, pause and resume them."""

    help = (
        "Lanes: what waits in each, and whether it is paused. The mails of a paused lane are taken as ever, and wait; "
        "none is handed to a provider, on any machine, until the lane is resumed."
    )
    makes_changes = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the words and their options."""
        words = parser.add_subparsers(dest="word", metavar="WORD")
        commands.subcommand(words, "list", "Show all lanes. The same without a word.")
        pause = commands.subcommand(words, "pause", "Hand no mail of a lane to a provider.", makes_changes=True)
        pause.add_argument("--note", default="", metavar="WHY", help="Why; shown wherever the lane is.")
        resume = commands.subcommand(words, "resume", "Let a lane's mails go out again.", makes_changes=True)
        for word in (pause, resume):
            word.add_argument("name", metavar="NAME", help="The lane, as `list` shows it.")

    def run(self, out: Output, options: dict[str, Any]) -> Exit | None:
        """Do what the word says."""
        words = {"list": _list, "pause": _pause, "resume": _resume}
        return words[options["word"] or "list"](out, options)


def _list(out: Output, options: dict[str, Any]) -> Exit | None:
    now, paused = database_clock.now(), pauses.standing()
    rows = [_row(system_status.waiting(lane, now, paused.get(lane))) for lane in Lane.values]
    out.rows(rows, columns=COLUMNS, empty="No lane.", tones=TONES)
    return None


def _row(lane: Waiting) -> dict[str, object]:
    return {
        "lane": lane.lane,
        "state": "paused" if lane.paused_at else "runs",
        "due": lane.due,
        "later": lane.later,
        "paused_at": lane.paused_at,
        "paused_by": lane.paused_by,
        "paused_note": lane.paused_note,
    }


def _pause(out: Output, options: dict[str, Any]) -> Exit | None:
    lane, note = _found(options["name"]), steering.read_note(options)
    pause = pauses.standing().get(lane)
    if pause is not None:
        out.say(f"Lane {lane} is paused already, {_since(pause)}")
        out.document({"lane": lane, "state": "paused", "changed": False})
        return None
    out.say(f"Once lane {lane} is paused, no mail of it is handed to a provider. New mails are taken, and wait.")
    out.say(apply.kept_by(lane))
    return _told(out, lane, pause=True, options=options, note=note)


def _resume(out: Output, options: dict[str, Any]) -> Exit | None:
    lane = _found(options["name"])
    pause = pauses.standing().get(lane)
    if pause is None:
        out.say(f"Lane {lane} is not paused.")
        out.document({"lane": lane, "state": "runs", "changed": False})
        return None
    out.say(f"Paused {_since(pause)}")
    out.say(apply.let_go_by(lane))
    return _told(out, lane, pause=False, options=options)


def _since(pause: LanePause) -> str:
    return f"since {pause.paused_at:%Y-%m-%d %H:%M} UTC by {pause.who}. {pause.note}".rstrip()


def _told(out: Output, lane: Lane, *, pause: bool, options: dict[str, Any], note: str = "") -> Exit | None:
    """Ask, do it, and say what happened."""
    before = "paused" if lane in pauses.standing() else "runs"
    if options["dry_run"] or not out.ask(f"{'Pause' if pause else 'Resume'} lane {lane}?"):
        out.document({"lane": lane, "state": before, "changed": False})
        return None if options["dry_run"] else Exit.FAILED
    if pause:
        changed = apply.pause_lane(lane, by=Actor.COMMAND, note=note)
        words = f"Lane {lane} is paused." if changed else f"Somebody else paused lane {lane} in this moment."
        out.say(f"{words} Resume it: manage.py lanes resume {lane}", tone="waiting")
    else:
        changed = apply.resume_lane(lane, by=Actor.COMMAND)
        out.say(f"Lane {lane} is resumed: its mails go out.", tone="ok")
    out.document({"lane": lane, "state": "paused" if pause else "runs", "changed": changed})
    return None


def _found(name: str) -> Lane:
    try:
        return pauses.lane(name)
    except UnknownLane as unknown:
        raise CommandError(str(unknown), returncode=Exit.WRONG_USE) from unknown
