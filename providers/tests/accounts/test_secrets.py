import pytest
from cryptography.fernet import Fernet

from mails.tests.commandline import run
from mercury.lib import encryption
from mercury.lib.audit.models import Act, AuditEntry
from providers.accounts import registration, registry, secrets
from providers.accounts.options import get_options
from providers.models import Account

pytestmark = pytest.mark.django_db
OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


@pytest.fixture
def olympus(settings):
    """An account that was registered before any key was set."""
    settings.MERCURY_ENCRYPTION_KEYS = []
    return registration.register("olympus", "sendgrid", {"api_key": "SG.thunderbolt"}, by="zeus")


@pytest.fixture
def usable(begin_process):
    """Ask, as a new process does, whether the account can be used."""

    def ask() -> dict[str, bool]:
        begin_process()
        return {
            candidate.config.name: candidate.configured
            for candidate in registry.load_candidates()
            if candidate.config.name == "olympus"
        }

    return ask


def test_the_first_key_disables_no_account(settings, olympus, usable):
    settings.MERCURY_ENCRYPTION_KEYS = [NEW]

    assert usable() == {"olympus": True}


def test_encrypt_moves_everything_to_the_newest_key_and_keeps_the_rest(settings, olympus, usable):
    settings.MERCURY_ENCRYPTION_KEYS = [NEW]
    before = Account.objects.get()

    looked = run("providers", "encrypt", "--dry-run", "--json")
    untouched = Account.objects.get().secret_options
    done = run("providers", "encrypt", "--json")
    again = run("providers", "encrypt", "--json")

    assert looked.document == {"encrypted": ["olympus"], "current": [], "unreadable": [], "dry_run": True}
    assert untouched == before.secret_options
    assert done.document == {"encrypted": ["olympus"], "current": [], "unreadable": []}
    assert again.document == {"encrypted": [], "current": ["olympus"], "unreadable": []}
    after = Account.objects.get()
    assert encryption.is_current(after.secret_options)
    assert (after.updated_at, after.source) == (before.updated_at, before.source)
    settings.SECRET_KEY = "another, for the old one leaked"
    assert usable() == {"olympus": True}
    assert AuditEntry.objects.get(act=Act.ENCRYPT).name == "olympus"


def test_what_cannot_be_read_is_named_and_the_others_are_done(settings, olympus):
    settings.MERCURY_ENCRYPTION_KEYS = [OLD]
    registration.register("hades", "sendgrid", {"api_key": "SG.helmet"}, by="zeus")
    settings.MERCURY_ENCRYPTION_KEYS = [NEW]

    answer = run("providers", "encrypt")

    assert answer.code == 3
    assert "Encrypted with the newest key: olympus." in answer.out
    assert "Not readable with any configured key: hades. Add their key" in answer.out


def test_a_change_made_during_the_reencryption_wins(settings, olympus, monkeypatch):
    settings.MERCURY_ENCRYPTION_KEYS = [NEW]
    encrypt_again = encryption.reencrypt

    def change_during_reencryption(token):
        registration.update(Account.objects.get(), options={"api_key": "SG.another"}, by="hera")
        return encrypt_again(token)

    monkeypatch.setattr("mercury.lib.encryption.reencrypt", change_during_reencryption)

    assert secrets.encrypt_all_again(by="zeus").encrypted == []
    assert get_options(Account.objects.get())["api_key"] == "SG.another"
