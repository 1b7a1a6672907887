"""Every command that takes --dry-run and --json tells a program what it would do, and does nothing."""

import argparse
from collections.abc import Iterator

import pytest
from django.apps import apps
from django.core.management import get_commands, load_command_class
from django.utils import timezone

from mails.access import api_keys
from mails.actions import apply, pausing
from mails.lifecycle.action_requests import ActionRequest
from mails.models import EventSink, Mail, SubmissionStream
from mails.queues import QueueName
from mails.states import Action, Actor
from mails.suppression import entries
from mails.suppression.rules import NewEntry
from mails.tests.builders import HERA, ZEUS, a_mail
from mails.tests.commandline import run
from mails.tests.events.webhook_builders import a_webhook
from mails.tests.files.builders import a_link, an_upload
from mails.tests.routing.builders import a_queue_rule, a_rule
from providers.accounts import registration, registry

pytestmark = pytest.mark.django_db

PREFIX = "<prefix>"
MAIL = "<mail>"
LINK = "<link>"
LIST = "<list>"
RULE = "sandbox-only"
FILE = "<file>"
WEBHOOK = "<webhook>"
# What is written after each command to have it do something; a new command needs its line here.
EXAMPLES = {
    ("apikey", "create"): ["shop", "--sender", ZEUS],
    ("apikey", "revoke"): [PREFIX],
    ("apikey", "rotate"): [PREFIX],
    ("cancel",): [MAIL],
    ("copy",): [MAIL],
    ("createdb",): ["--force"],
    ("demo",): ["--failover"],
    ("dispatch",): ["--once"],
    ("files", "remove"): [FILE],
    ("hold",): [MAIL],
    ("links", "revoke"): [LINK],
    ("pause",): ["--queue", "text"],
    ("providers", "add"): ["hades", "sandbox:"],
    ("providers", "breaker"): ["sandbox-a", "open"],
    ("providers", "disable"): ["sandbox-a"],
    ("providers", "enable"): ["sandbox-a"],
    ("providers", "encrypt"): [],
    ("providers", "open"): ["sandbox-a"],
    ("providers", "quota"): ["sandbox-a", "--daily", "500"],
    ("providers", "remove"): ["olympus"],
    ("providers", "test"): ["sandbox-a"],
    ("queues", "set"): ["bulk", "--share", "20"],
    ("queues", "add-rule"): ["letters", "bulk"],
    ("queues", "remove-rule"): ["news"],
    ("queues", "enable-rule"): ["off"],
    ("queues", "disable-rule"): ["news"],
    ("release",): [MAIL],
    ("reprocess",): ["--state", "waiting"],
    ("reschedule",): ["--state", "scheduled", "--at", "now"],
    ("resume",): ["--queue", "bulk"],
    ("retention",): [],
    ("rules", "add"): ["all", "--account", "sandbox-a"],
    ("rules", "disable"): [RULE],
    ("rules", "enable"): [RULE],
    ("rules", "move"): [RULE, "1"],
    ("rules", "remove"): [RULE],
    ("sandbox", "clear"): [],
    ("sandbox", "set"): ["sandbox-a", "refuse=503"],
    ("send",): ["--from", ZEUS, "--to", HERA],
    ("resolve",): [MAIL, "--sent"],
    ("setup",): [],
    ("replay",): ["file", "--since", "1h"],
    ("streams", "forget"): ["shop"],
    ("streams", "pause"): ["file"],
    ("streams", "rejected"): ["file", "--clear"],
    ("streams", "remove"): ["file"],
    ("streams", "resume"): ["file"],
    ("suppressions", "add"): [HERA],
    ("suppressions", "import"): [LIST],
    ("suppressions", "remove"): [HERA, "--scope", "olimpus.com"],
    ("sweep",): [],
    ("webhooks", "add"): ["https://8.8.8.8/new", "--api-key", "till"],
    ("webhooks", "disable"): [WEBHOOK],
    ("webhooks", "enable"): [WEBHOOK],
    ("webhooks", "redeliver"): [WEBHOOK, "--since", "1h"],
    ("webhooks", "remove"): [WEBHOOK],
    ("webhooks", "rotate-secret"): [WEBHOOK],
    ("webhooks", "test"): [WEBHOOK],
}


def words_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of a command's words, as `set` of `sandbox set`."""
    kinds = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return {word: choice for kind in kinds for word, choice in kind.choices.items()}


def dry_runs() -> Iterator[tuple[str, ...]]:
    """Each command of Mercury's, with its word if it has words, that takes both options."""
    for name, app in sorted(get_commands().items()):
        if app in {"mails", "mercury", "providers"}:
            parser = load_command_class(app, name).create_parser("manage.py", name)
            words = words_of(parser)
            forms: list[tuple[tuple[str, ...], argparse.ArgumentParser]]
            forms = [((name, word), arguments) for word, arguments in words.items()] or [((name,), parser)]
            for form, arguments in forms:
                if {"--dry-run", "--json"} <= arguments._option_string_actions.keys():
                    yield form


@pytest.fixture
def mail():
    """One mail that is over its time, so that a sweep too finds something to do."""
    registry.load_candidates()
    mail = a_mail()
    Mail.objects.filter(pk=mail.pk).update(expires_at=timezone.now())
    return mail


def everything():
    """All rows of all tables, to see that none changes."""
    kept = [model for model in apps.get_models() if model._meta.managed]
    return {model._meta.label: list(model._default_manager.order_by("pk").values()) for model in kept}


def add_rules(form):
    """Add the rules that the example of this command names."""
    if RULE in EXAMPLES[form]:
        a_rule(RULE, "sandbox-a")
    if form[0] == "queues":
        a_queue_rule("news", "bulk", tag=["news"])
        a_queue_rule("off", "bulk", enabled=False)


@pytest.mark.parametrize("form", list(dry_runs()), ids=" ".join)
def test_a_dry_run_tells_a_program_what_would_be_done_and_does_nothing(form, mail, settings, tmp_path):
    assert form in EXAMPLES, f"give `manage.py {' '.join(form)}` a line in EXAMPLES"
    key, _ = api_keys.create("till", scopes=[api_keys.Scope.MAILS_SEND], senders=["*"])
    if form == ("providers", "remove"):
        registration.register("olympus", "sandbox", {}, by="zeus")
    if form == ("release",):
        apply.apply_action(mail.pk, ActionRequest(action=Action.HOLD, by=Actor.COMMAND))
    if form == ("copy",):
        apply.apply_action(mail.pk, ActionRequest(action=Action.CANCEL, by=Actor.COMMAND))
    if form == ("resume",):
        pausing.pause_sending(QueueName.BULK, by=Actor.COMMAND)
    names = {PREFIX: key.prefix, MAIL: str(mail.pk), WEBHOOK: str(a_webhook(key).pk)}
    if form[0] in {"replay", "streams"}:
        settings.MERCURY_ENVIRONMENT = {"EVENT_SINK_FILE": "file:///nowhere/events.jsonl"}
        EventSink.objects.create(name="file", position=0, created_at=timezone.now())
        SubmissionStream.objects.create(name="shop", created_at=timezone.now(), rate_since=timezone.now())
    if form == ("links", "revoke"):
        names[LINK] = str(a_link().pk)
    if form[0] == "suppressions":
        entries.put([NewEntry(HERA, scope="olimpus.com")], source="test")
        names[LIST] = str(tmp_path / "list.csv")
        (tmp_path / "list.csv").write_text(f"address\n{HERA}\n")
    add_rules(form)
    if form == ("files", "remove"):
        names[FILE] = str(an_upload().pk)
    before = everything()

    ran = run(*form, *(names.get(word, word) for word in EXAMPLES[form]), "--dry-run", "--json")

    assert not ran.error
    assert len(ran.lines) == 1
    assert ran.document["dry_run"] is True
    assert everything() == before


def test_the_examples_are_of_commands_that_exist():
    assert EXAMPLES.keys() == set(dry_runs())
