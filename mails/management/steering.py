"""What the commands for mails in flight share: which mails, what will happen, the question, and what happened."""

import uuid
from collections.abc import Iterable
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db.models import Q

from mails.actions import apply, selection
from mails.actions.apply import Survey, Tally
from mails.lifecycle.action_requests import Order
from mails.models import Mail, first_id
from mails.querysets import MailQuerySet
from mails.reporting import search, systemic_refusals
from mails.sentences import clean
from mails.states import Action, Actor, Also
from mercury.lib import commands
from mercury.lib.commands import Exit

FILTERS = ("state", "reason", "provider", "since", "refusals_of")


class SteeringCommand(commands.MercuryCommand):
    """A command that asks one thing of mails in flight: those that are named, or those that the filters find."""

    makes_changes = True
    action: Action
    with_filters = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("ids", nargs="*", metavar="ID", help="The mails' ids, as `mails` shows them.")
        parser.add_argument("--note", default="", metavar="WHY", help="Why; kept in each mail's event.")
        if self.with_filters:
            parser.add_argument("--state", choices=search.STATES, help="Only those in this state.")
            parser.add_argument("--reason", metavar="CODE", help="Only those with this reason, as `mails` shows it.")
            parser.add_argument("--provider", metavar="ACCOUNT", help="Only those that this account had last.")
            parser.add_argument(
                "--since", type=commands.moment, metavar="1h", help="Only those since then: an age or a date."
            )
            parser.add_argument(
                "--limit", type=commands.whole(1, 1_000_000), metavar="N", help="At most so many, oldest first."
            )

    def order(self, options: dict[str, Any]) -> Order:
        """What is asked for."""
        return Order(self.action, Actor.COMMAND, note(options))

    def run(self, out: commands.Output, options: dict[str, Any]) -> Exit | None:
        """Say what will happen, ask, do it, and say what happened."""
        order = self.order(options)
        named = bool(options["ids"])
        mails = _chosen(order.action, options)
        also = tuple(Also) if named or options.get("reason") else ()
        if options.get("refusals_of"):
            also = (*also, Also.REFUSED)
        survey = apply.survey(order.action, mails, how=order.how, also=also, limit=options.get("limit"))
        _announce(out, survey, order)
        if not survey.eligible or options["dry_run"]:
            tally = Tally(left_out=survey.left_out.total(), already=survey.already)
            out.document(_document(order, survey, tally, dry_run=options["dry_run"]))
            return None if survey.eligible else _ended(tally, named=named)
        if not out.ask(f"{selection.order_words(order.action, _count(survey.eligible))}?"):
            out.say("Nothing was changed.")
            return Exit.FAILED
        with out.progress(order.action.label, total=len(survey.eligible)) as bar:
            tally = apply.act_on(survey.eligible, order, on_progress=bar.show)
        tally.left_out += survey.left_out.total()
        tally.already += survey.already
        out.say(_told(order.action, tally), tone="ok")
        out.document(_document(order, survey, tally, dry_run=False))
        return _ended(tally, named=named)


def _ended(tally: Tally, *, named: bool) -> Exit | None:
    """How the order went. A mail that was named must be as asked for; that it was so before is as good, as over the API."""
    missed = tally.changed + (tally.left_out - tally.already if named else 0)
    if not missed:
        return None
    return Exit.PARTLY_DONE if tally.done or tally.wished or tally.already else Exit.FAILED


def add_house(parser: CommandParser, words: str) -> None:
    """Declare --all, which means the whole house and not its mails one by one."""
    parser.add_argument("--all", action="store_true", help=words)


def is_for_the_house(options: dict[str, Any]) -> bool:
    """Whether --all was given. Raises CommandError if mails were named beside it."""
    if options["all"] and (options["ids"] or any(options.get(name) for name in FILTERS)):
        raise CommandError(
            "--all means the whole house: leave out ids and filters, or --all.", returncode=Exit.WRONG_USE
        )
    return bool(options["all"])


def _chosen(action: Action, options: dict[str, Any]) -> MailQuerySet:
    """The mails that the ids and filters name. Raises CommandError where nothing does, or an id is none."""
    if options["ids"]:
        return Mail.objects.filter(pk__in=_known(options["ids"]))
    found = Mail.objects.filter(_filtered(options))
    if not any(options.get(name) for name in FILTERS):
        filters = (
            " ".join(f"--{name.replace('_', '-')}" for name in FILTERS if name in options) if "state" in options else ""
        )
        raise CommandError(f"Which mails? Name them by id{f', or with {filters}' if filters else ''}.", returncode=2)
    return selection.within_reach(action, found)


def _filtered(options: dict[str, Any]) -> Q:
    condition = search.STATES[options["state"]][1] if options.get("state") else Q()
    if options.get("reason"):
        condition &= Q(reason_code=options["reason"])
    if options.get("provider"):
        condition &= Q(provider=options["provider"])
    if options.get("refusals_of"):
        condition &= systemic_refusals.discarded(options["refusals_of"])
    if options.get("since"):
        condition &= Q(pk__gte=first_id(options["since"]))
    return condition


def _known(texts: Iterable[str]) -> list[uuid.UUID]:
    ids = {}
    for text in texts:
        try:
            ids[uuid.UUID(text)] = text
        except ValueError:
            raise CommandError(f"'{text}' is not a mail's id. `manage.py mails` shows them.", returncode=2) from None
    missing = ids.keys() - set(Mail.objects.filter(pk__in=ids).values_list("pk", flat=True))
    if missing:
        raise CommandError(f"No mail has the id '{ids[missing.pop()]}'. `manage.py mails --search` finds one.")
    return list(ids)


def note(options: dict[str, Any]) -> str:
    """The reason that was given. Raises CommandError if it is too long, or is no plain text."""
    given: str = options["note"].strip()
    if len(given) > apply.MAX_NOTE or clean(given) != given:
        raise CommandError(f"--note: at most {apply.MAX_NOTE} characters, none of them a control.", returncode=2)
    return given


def _announce(out: commands.Output, survey: Survey, order: Order) -> None:
    if not out.as_json:
        out.rows(
            [{"cause": one.words, "mails": one.mails, "forecast": one.forecast} for one in survey.causes],
            columns={"cause": "They are", "mails": "Mails", "forecast": f"{order.action.label}: forecast"},
            tones={one.forecast: one.tone for one in survey.causes},
            empty=_nothing(survey),
        )
    if survey.eligible and order.action == Action.REPROCESS:
        out.say(f"They begin again {order.how.words}, {apply.pace(len(survey.eligible), order.how)}")
    for why, count in survey.left_out.most_common():
        them = "it" if count == 1 else "them"
        cure = f" To take {them} along, name {them} by id or with --reason." if why in Also.labels else ""
        out.say(f"{count} left out: {why}.{cure}", tone="waiting")


def _nothing(survey: Survey) -> str:
    """What is said in place of the table where no mail is to be taken."""
    if not survey.left_out:
        return "There is no such mail."
    return "Nothing is left to do." if survey.left_out.total() == survey.already else "None of these can be taken."


def _told(action: Action, tally: Tally) -> str:
    return selection.told(action, done=tally.done, wished=tally.wished, changed=tally.changed, left_out=tally.left_out)


def _document(order: Order, survey: Survey, tally: Tally, *, dry_run: bool) -> dict[str, object]:
    return {
        "action": order.action,
        **({"how": order.how.as_text() or "all"} if order.action == Action.REPROCESS else {}),
        "dry_run": dry_run,
        "eligible": len(survey.eligible),
        "causes": [{"cause": one.words, "mails": one.mails, "forecast": one.forecast} for one in survey.causes],
        "left_out_because": dict(survey.left_out),
        "done": tally.done,
        "wished": tally.wished,
        "left_out": tally.left_out,
        "already": tally.already,
        "moved_on": tally.changed,
    }


def _count(ids: list[uuid.UUID]) -> str:
    return "1 mail" if len(ids) == 1 else f"{len(ids):,} mails"
