"""Every command that takes --dry-run and --json tells a program what it would do, and does nothing."""

import argparse
from collections.abc import Iterator

import pytest
from django.apps import apps
from django.core.management import get_commands, load_command_class
from django.utils import timezone

from mails.access import api_keys
from mails.actions import apply, pausing
from mails.events.webhooks import operations
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
from providers.models import Account

pytestmark = pytest.mark.django_db

PREFIX = "<prefix>"
MAIL = "<mail>"
LINK = "<link>"
LIST = "<list>"
RULE = "sandbox-only"
FILE = "<file>"
LONG = "x" * 201
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
    ("streams", "pause-intake"): ["shop"],
    ("streams", "resume-intake"): ["shop"],
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


# What is refused, and with which words: that it exists already, that it is invalid, or that it cannot be done now.
REFUSED = {
    ("apikey", "rotate", "<revoked>"): "revoked",
    ("copy", MAIL, "--to", "hera"): "recipient",
    ("providers", "add", "olympus", "sandbox:"): "An account 'olympus' exists already",
    ("providers", "add", "sandbox-a", "sandbox:"): "'sandbox-a' is already used",
    ("providers", "add", "No Name", "sandbox:"): "letters, digits",
    ("providers", "enable", "sandbox-a"): "default sandbox",
    ("providers", "remove", "sandbox-a"): "exists because no other account does",
    ("queues", "add-rule", "news", "html"): "A rule 'news' exists already",
    ("queues", "add-rule", "letters", "html", "--queue", "bulk"): "No email can match",
    ("rules", "add", RULE, "--account", "olympus"): f"A rule '{RULE}' exists already",
    ("rules", "add", "other", "--account", "nowhere"): "nowhere",
    ("sandbox", "set", "mailgun", "refuse=503"): "'mailgun' is not a sandbox",
    ("sandbox", "clear", "mailgun"): "'mailgun' is not a sandbox",
    ("send", "--from", "zeus", "--to", HERA): "sender:",
    ("suppressions", "add", "hera"): "address",
    ("webhooks", "add", "https://8.8.8.8/a", "--api-key", "till"): "has a webhook with this URL",
    ("webhooks", "add", "https://127.0.0.1/", "--api-key", "till"): "127.0.0.1",
    ("webhooks", "add", "https://8.8.8.8/new", "--api-key", "till", "--note", LONG): "longer than 200",
    ("webhooks", "test", WEBHOOK): "The webhook is disabled",
}


@pytest.mark.parametrize("words", REFUSED, ids=lambda words: " ".join(words)[:60])
def test_a_dry_run_refuses_what_the_command_refuses(words, mail):
    registration.register("olympus", "sandbox", {}, by="zeus")
    registration.register("mailgun", "mailgun", {"api_key": "key", "sender_domain": "olimpus.com"}, by="zeus")
    Account.objects.filter(name="sandbox-a").update(enabled=False)
    a_rule(RULE, "olympus")
    a_queue_rule("news", "bulk", tag=["news"])
    key, _ = api_keys.create("till", scopes=[api_keys.Scope.MAILS_SEND], senders=["*"])
    revoked, _ = api_keys.create("old", scopes=[api_keys.Scope.MAILS_SEND], senders=["*"])
    api_keys.revoke(revoked)
    webhook = a_webhook(key, url="https://8.8.8.8/a")
    operations.disable(webhook, by="zeus")
    apply.apply_action(mail.pk, ActionRequest(action=Action.CANCEL, by=Actor.COMMAND))
    names = {"<revoked>": revoked.prefix, MAIL: str(mail.pk), WEBHOOK: str(webhook.pk)}
    given = [names.get(word, word) for word in words]
    before = everything()

    dry = run(*given, "--dry-run")
    real = run(*given, *(["--yes"] if asks(words) else []))

    assert REFUSED[words] in dry.error
    assert (dry.code, dry.error) == (real.code, real.error)
    assert everything() == before


def asks(words) -> bool:
    """True if the command takes --yes."""
    parser = load_command_class(get_commands()[words[0]], words[0]).create_parser("manage.py", words[0])
    return "--yes" in words_of(parser).get(words[1], parser)._option_string_actions


def test_the_examples_are_of_commands_that_exist():
    assert EXAMPLES.keys() == set(dry_runs())
