"""Base of the commands that act on emails: selection, preview, question and result."""

import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db.models import Q

from mails.actions import apply, rules, wording
from mails.actions.apply import ActionCounts
from mails.actions.errors import ChangesRefused
from mails.actions.preview import ActionPreview, estimate_send_time, preview_action
from mails.intake.client import Client
from mails.lifecycle.action_requests import ActionRequest
from mails.models import Mail, first_id
from mails.models.querysets import MailQuerySet
from mails.reporting import search, systemic_refusals
from mails.states import Action, Actor, Inclusion, Source
from mercury.lib import commands
from mercury.lib.commands import ExitCode
from mercury.lib.mail.printable import replace_unprintable

FILTERS = ("state", "reason", "provider", "since", "refusals_of")
INCLUDE = {Inclusion.UNCERTAIN.label: "--include-uncertain", Inclusion.REFUSED.label: "--include-rejected"}


CLIENT = Client(source=Source.COMMAND)


class ActionCommand(commands.MercuryCommand):
    """A command that requests one action for emails named by id or found by filters."""

    makes_changes = True
    action: Action
    with_filters = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("ids", nargs="*", metavar="ID", help="Email ids, as shown by `mails`.")
        parser.add_argument("--note", default="", metavar="WHY", help="Reason, recorded in the event of each email.")
        if self.with_filters:
            parser.add_argument("--state", choices=search.STATES, help="Only emails in this state.")
            parser.add_argument("--reason", metavar="CODE", help="Only emails with this reason, as shown by `mails`.")
            parser.add_argument("--provider", metavar="ACCOUNT", help="Only emails last attempted by this account.")
            parser.add_argument(
                "--since",
                type=commands.parse_time_option,
                metavar="1h",
                help="Only emails accepted since then: an age or a date.",
            )
            parser.add_argument(
                "--limit",
                type=commands.parse_integer_option(1, 1_000_000),
                metavar="N",
                help="At most N, oldest first.",
            )

    def action_request(self, options: dict[str, Any]) -> ActionRequest:
        """Return the action request."""
        return ActionRequest(action=self.action, by=Actor.COMMAND, note=read_note(options))

    def run(self, out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
        """Show a preview, ask, act, and show the result."""
        action_request = self.action_request(options)
        named = bool(options["ids"])
        mails = _select(action_request.action, options)
        preview = preview_action(
            action_request.action,
            mails,
            account_choice=action_request.account_choice,
            included=_parse_inclusions(options),
            limit=options.get("limit"),
        )
        _announce(out, preview, action_request)
        if not preview.eligible or options["dry_run"]:
            counts = ActionCounts(skipped=preview.skipped.total(), already=preview.already)
            out.write_document(_build_document(action_request, preview, counts, dry_run=options["dry_run"]))
            return None if preview.eligible else _exit_code(counts, named=named)
        if not out.ask(
            f"{wording.label_action(action_request.action, commands.format_email_count(len(preview.eligible)))}?"
        ):
            out.say("Nothing was changed.")
            return ExitCode.FAILED
        with out.show_progress(action_request.action.label, total=len(preview.eligible)) as bar:
            counts = _apply(preview.eligible, action_request, bar.show)
        counts.skipped += preview.skipped.total()
        counts.already += preview.already
        out.say(_describe_result(action_request.action, counts), tone="ok")
        out.write_document(_build_document(action_request, preview, counts, dry_run=False))
        return _exit_code(counts, named=named)


def _apply(
    mail_ids: Sequence[uuid.UUID], action_request: ActionRequest, on_progress: Callable[[int], None]
) -> ActionCounts:
    try:
        return apply.apply_to_many(mail_ids, action_request, client=CLIENT, on_progress=on_progress)
    except ChangesRefused as refused:
        raise CommandError(str(refused), returncode=ExitCode.USAGE_ERROR) from None


def _exit_code(counts: ActionCounts, *, named: bool) -> ExitCode | None:
    """Return the exit code. An email named by id must end in the requested state; already being in it counts, as over the API."""
    missed = counts.changed + (counts.skipped - counts.already if named else 0)
    if not missed:
        return None
    return ExitCode.PARTLY_DONE if counts.done or counts.requested or counts.already else ExitCode.FAILED


def _parse_inclusions(options: dict[str, Any]) -> tuple[Inclusion, ...]:
    """Return the kinds of emails to include that a command skips by default."""
    if options["ids"] or options.get("reason"):
        return tuple(Inclusion)
    rejected = options.get("include_rejected") or options.get("refusals_of")
    return (
        *((Inclusion.UNCERTAIN,) if options.get("include_uncertain") else ()),
        *((Inclusion.REFUSED,) if rejected else ()),
    )


def _select(action: Action, options: dict[str, Any]) -> MailQuerySet:
    """Return the emails named by ids or found by filters. Raises CommandError without either, or for an unknown id."""
    if options["ids"]:
        return Mail.objects.filter(pk__in=_parse_ids(options["ids"]))
    found = Mail.objects.filter(_build_filter(options))
    if not any(options.get(name) for name in FILTERS):
        filters = (
            ", ".join(f"--{name.replace('_', '-')}" for name in FILTERS if name in options)
            if "state" in options
            else ""
        )
        raise CommandError(f"Specify email ids{f' or a filter: {filters}' if filters else ''}.", returncode=2)
    return rules.filter_eligible_states(action, found)


def _build_filter(options: dict[str, Any]) -> Q:
    condition = search.STATES[options["state"]][1] if options.get("state") else Q()
    if options.get("reason"):
        condition &= Q(reason_code=options["reason"])
    if options.get("provider"):
        condition &= Q(provider=options["provider"])
    if options.get("refusals_of"):
        condition &= systemic_refusals.match_discarded(options["refusals_of"])
    if options.get("since"):
        condition &= Q(pk__gte=first_id(options["since"]))
    return condition


def _parse_ids(texts: Iterable[str]) -> list[uuid.UUID]:
    ids = {}
    for text in texts:
        try:
            ids[uuid.UUID(text)] = text
        except ValueError:
            raise CommandError(f"'{text}' is not an email id. List ids with: manage.py mails", returncode=2) from None
    missing = ids.keys() - set(Mail.objects.filter(pk__in=ids).values_list("pk", flat=True))
    if missing:
        raise CommandError(f"No email with id '{ids[missing.pop()]}'. Search with: manage.py mails --search TEXT")
    return list(ids)


def read_note(options: dict[str, Any]) -> str:
    """Return the --note. Raises CommandError if it is too long or contains control characters."""
    note: str = options["note"].strip()
    if len(note) > rules.MAX_NOTE or replace_unprintable(note) != note:
        raise CommandError(
            f"--note: use at most {rules.MAX_NOTE} characters, without control characters.", returncode=2
        )
    return note


def _announce(out: commands.Output, preview: ActionPreview, action_request: ActionRequest) -> None:
    if not out.as_json:
        out.write_rows(
            [{"state": group.state, "emails": group.emails, "forecast": group.forecast} for group in preview.groups],
            columns={
                "state": "Current state",
                "emails": "Emails",
                "forecast": f"{action_request.action.label}: forecast",
            },
            tones={group.forecast: group.tone for group in preview.groups},
            empty=_explain_none(preview),
        )
    if preview.eligible and action_request.action == Action.REPROCESS:
        out.say(
            f"They start over {action_request.account_choice.words}, {estimate_send_time(len(preview.eligible), action_request.account_choice)}"
        )
    for why, count in preview.skipped.most_common():
        remedy = f" Use {INCLUDE[why]} to include {'it' if count == 1 else 'them'}." if why in INCLUDE else ""
        out.say(f"{count} skipped: {why}.{remedy}", tone="waiting")


def _explain_none(preview: ActionPreview) -> str:
    """Return the sentence shown in place of the table when no email is eligible."""
    if not preview.skipped:
        return "No matching emails."
    return "Nothing to do." if preview.skipped.total() == preview.already else "None of these emails is eligible."


def _describe_result(action: Action, counts: ActionCounts) -> str:
    return wording.describe_result(
        action, done=counts.done, requested=counts.requested, changed=counts.changed, skipped=counts.skipped
    )


def _build_document(
    action_request: ActionRequest, preview: ActionPreview, counts: ActionCounts, *, dry_run: bool
) -> dict[str, object]:
    return {
        "action": action_request.action,
        **(
            {"accounts": action_request.account_choice.as_text() or "all"}
            if action_request.action == Action.REPROCESS
            else {}
        ),
        "dry_run": dry_run,
        "eligible": len(preview.eligible),
        "groups": [
            {"state": group.state, "emails": group.emails, "forecast": group.forecast} for group in preview.groups
        ],
        "skipped_because": dict(preview.skipped),
        "done": counts.done,
        "pending": counts.requested,
        "skipped": counts.skipped,
        "already": counts.already,
        "changed": counts.changed,
    }
