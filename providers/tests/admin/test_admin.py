"""The operators' pages of accounts and of the sandbox."""

import datetime as dt
from email.message import EmailMessage as StandardMessage

import pytest
from django.contrib.auth.models import User
from django.core.mail import EmailMessage
from django.test import Client
from django.utils import timezone

from providers.accounts import registration, sandboxes
from providers.accounts.options import get_options
from providers.models import Account, Breaker, BreakerChange, BreakerMode
from providers.sandbox import mailbox
from providers.sandbox.failure_modes import FailureKind, SimulatedFailure

pytestmark = pytest.mark.django_db
ACCOUNTS = "/admin/providers/account/"
SECRET = "SG.a-secret-of-twenty-9Xq"


@pytest.fixture
def operator():
    client = Client()
    client.force_login(User.objects.create_superuser("hermes", "hermes@olimpus.com", "a-long-pass-phrase"))
    return client


@pytest.fixture
def olympus() -> Account:
    return registration.register("olympus", "sandbox", {}, by="test")


@pytest.fixture
def hades() -> Account:
    return registration.register("hades", "sandbox", {}, by="test")


def action(account: Account, name: str) -> str:
    return f"{ACCOUNTS}{account.pk}/action/{name}/"


def kept_mail(account: str, subject: str = "You made my day") -> str:
    message = EmailMessage(subject, "Hi <b>Hera</b>", "zeus@olimpus.com", ["hera@olimpus.com"])
    return mailbox.store(account, message.message().as_bytes())


def test_the_list_shows_each_account_with_its_breaker(operator, olympus, hades):
    page = operator.get(ACCOUNTS).text

    assert "olympus" in page
    assert "no recent errors" in page


def test_without_any_account_the_sandbox_is_there(operator):
    page = operator.get(ACCOUNTS).text

    assert "Sandbox is on." in page
    assert "sandbox-a" in page


def test_an_account_is_added_and_its_secret_never_shown_again(operator):
    form = {"name": "sendgrid-main", "option_api_key": SECRET, "option_api_url": "", "weight": 2, "enabled": "on"}

    page = operator.post(f"{ACCOUNTS}add/?kind=sendgrid", form, follow=True).text

    account = Account.objects.get(name="sendgrid-main")
    assert (get_options(account) or {})["api_key"] == SECRET
    assert "set, ends …9Xq" in page
    assert SECRET not in page
    assert SECRET not in operator.get(f"{ACCOUNTS}{account.pk}/edit/").text


def test_a_secret_left_empty_is_kept(operator):
    account = registration.register("sendgrid-main", "sendgrid", {"api_key": SECRET}, by="test")

    operator.post(
        f"{ACCOUNTS}{account.pk}/edit/", {"option_api_key": "", "option_api_url": "", "weight": 5, "enabled": "on"}
    )

    account.refresh_from_db()
    assert account.weight == 5
    assert (get_options(account) or {})["api_key"] == SECRET


def test_a_new_address_asks_for_the_secret_next_to_its_field(operator):
    account = registration.register("sendgrid-main", "sendgrid", {"api_key": SECRET}, by="test")
    form = {"option_api_key": "", "option_api_url": "https://api.hades.example/v3/", "weight": 1, "enabled": "on"}

    response = operator.post(f"{ACCOUNTS}{account.pk}/edit/", form)

    assert response.status_code == 400
    assert list(response.context["form"].errors) == ["option_api_key"]
    assert "enter it again" in response.text
    account.refresh_from_db()
    assert (get_options(account) or {})["api_url"] == "https://api.sendgrid.com/v3/"


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"name": "Not A Name", "option_host": "mail.olimpus.com"}, "lower case letters"),
        ({"name": "smtp-one", "option_host": ""}, "It is required."),
        ({"name": "smtp-one", "option_host": "127.0.0.1"}, "Host: "),
        ({"name": "smtp-one", "option_host": "mail.olimpus.com", "weight": "-1"}, "A weight is"),
    ],
)
def test_errors_are_named_and_the_input_is_kept(operator, form, message):
    whole = {"weight": 1, "option_security": "starttls", **form}

    response = operator.post(f"{ACCOUNTS}add/?kind=smtp", whole)

    assert response.status_code == 400
    assert message in response.text
    assert "<title>Error:" in response.text
    assert not Account.objects.filter(kind="smtp").exists()


def test_adding_begins_with_the_kind(operator):
    page = operator.get(f"{ACCOUNTS}add/").text

    assert "?kind=smtp" in page
    assert "?kind=mailgun" in page


@pytest.mark.parametrize(("kind", "is_asked"), [("mailgun", True), ("smtp", False), ("sandbox", False)])
def test_only_http_accounts_have_a_rule_for_http_500(operator, kind, is_asked):
    assert ("Treat HTTP 500" in operator.get(f"{ACCOUNTS}add/?kind={kind}").text) == is_asked


def test_an_account_without_a_rule_for_http_500_is_saved(operator, olympus):
    page = operator.post(f"{ACCOUNTS}{olympus.pk}/edit/", {"weight": 5, "enabled": "on"}, follow=True).text

    olympus.refresh_from_db()
    assert olympus.weight == 5
    assert "On HTTP 500" not in page


def test_the_page_of_an_account_lists_what_it_can_and_cannot_do(operator, olympus):
    page = operator.get(f"{ACCOUNTS}{olympus.pk}/change/").text

    assert "<li>keep every email for you to read</li>" in page
    assert "<li>deliver email</li>" in page


def test_the_page_of_a_forced_breaker_says_so_once(operator, olympus):
    operator.post(action(olympus, "force-open"), {"why": ""})

    page = operator.get(f"{ACCOUNTS}{olympus.pk}/change/").text

    assert "<strong>Not accepting email.</strong> Breaker forced open." in page


@pytest.mark.parametrize(
    ("name", "mode"),
    [("force-open", BreakerMode.OPEN), ("force-closed", BreakerMode.CLOSED)],
)
def test_forcing_a_breaker_says_what_it_does_and_keeps_who_did_it_and_why(operator, olympus, hades, name, mode):
    asked = operator.get(action(olympus, name)).text
    unchanged = Breaker.objects.get(account=olympus).mode
    Breaker.objects.update(state="open")
    done = operator.post(action(olympus, name), {"why": "they said so"}, follow=True).text

    assert "What will happen" in asked
    assert unchanged == BreakerMode.AUTO
    assert Breaker.objects.get(account=olympus).mode == mode
    change = BreakerChange.objects.filter(account=olympus).latest("id")
    assert (change.by, change.what) == ("user:hermes", f"forced {mode}, “they said so”")
    assert change.what in done
    assert not BreakerChange.objects.filter(account=olympus, what="closed").exists()


def test_a_breaker_goes_back_to_its_arithmetic(operator, olympus):
    operator.post(action(olympus, "force-open"))
    operator.post(action(olympus, "automatic"))

    assert Breaker.objects.get(account=olympus).mode == BreakerMode.AUTO


def test_closing_the_last_door_is_said_before(operator, olympus):
    assert "all email is queued until one is" in operator.get(action(olympus, "disable")).text


def test_an_account_is_disabled_and_enabled(operator, olympus):
    page = operator.post(action(olympus, "disable"), {"why": "the bill is unpaid"}, follow=True).text
    disabled = Account.objects.get(pk=olympus.pk).enabled
    operator.post(action(olympus, "enable"))

    assert not disabled
    assert "disabled, “the bill is unpaid”" in page
    assert Account.objects.get(pk=olympus.pk).enabled
    assert BreakerChange.objects.filter(account=olympus).latest("id").what == "enabled"


def test_a_note_is_cut_to_what_a_line_of_history_holds(operator, olympus):
    operator.post(action(olympus, "disable"), {"why": "x" * 200})

    assert BreakerChange.objects.filter(account=olympus).latest("id").what == f"disabled, “{'x' * 150}”"


def test_the_last_error_ends_with_one_full_stop(operator, olympus):
    later = timezone.now() + dt.timedelta(seconds=30)
    Breaker.objects.update(state="open", open_until=later, last_failure="The sandbox was set to answer 503.")

    assert "Last error: The sandbox was set to answer 503.<" in operator.get(f"{ACCOUNTS}{olympus.pk}/change/").text


@pytest.mark.parametrize("name", ["enable", "automatic", "zeus"])
def test_only_what_makes_a_difference_is_possible(operator, olympus, name):
    assert operator.post(action(olympus, name)).status_code == 404


def test_an_account_made_here_is_deleted(operator, olympus, hades):
    operator.post(action(olympus, "delete"))

    assert list(Account.objects.values_list("name", flat=True)) == ["hades"]


def test_a_test_mail_tells_what_the_account_answered(operator, olympus):
    addresses = {"sender": "zeus@olimpus.com", "recipient": "hera@olimpus.com"}

    accepted = operator.post(f"{ACCOUNTS}{olympus.pk}/test/", addresses).text
    sandboxes.set_failure_mode(
        olympus, SimulatedFailure(kind=FailureKind.REFUSE, value=503, until=timezone.now() + dt.timedelta(minutes=1))
    )
    refused = operator.post(f"{ACCOUNTS}{olympus.pk}/test/", addresses).text

    assert "Accepted" in accepted
    assert mailbox.load_page("olympus").mails[0].subject == "Test email from Mercury"
    assert "http-503" in refused


def test_a_test_through_a_sandbox_needs_no_address(operator, olympus):
    page = operator.post(f"{ACCOUNTS}{olympus.pk}/test/", {"sender": "", "recipient": ""}).text

    assert "olympus accepted it" in page
    assert mailbox.load_page("olympus").mails[0].to == "somebody@example.com"


def test_a_test_through_a_real_account_needs_both(operator):
    real = registration.register("hades", "sendgrid", {"api_key": SECRET}, by="test")

    response = operator.post(f"{ACCOUNTS}{real.pk}/test/", {"sender": "", "recipient": ""})

    assert response.status_code == 400
    assert "Nothing was sent" in response.text


def test_all_accounts_are_tested_at_once(operator, olympus, hades):
    addresses = {"sender": "zeus@olimpus.com", "recipient": "hera@olimpus.com"}
    sandboxes.set_failure_mode(
        olympus, SimulatedFailure(kind=FailureKind.REFUSE, value=503, until=timezone.now() + dt.timedelta(minutes=1))
    )

    asked = operator.get(f"{ACCOUNTS}test/").text
    page = operator.post(f"{ACCOUNTS}test/", addresses).text

    assert "Sends one test email through each of hades, olympus" in asked
    assert "Send 2 test emails" in asked
    assert "hades accepted it" in page
    assert ", http-503: " in page.partition("olympus: ")[2]
    assert len(mailbox.load_page("hades").mails) == 1


def test_where_no_account_is_enabled_none_is_tested(operator, olympus):
    registration.update(olympus, enabled=False, by="hermes")

    page = operator.post(f"{ACCOUNTS}test/", {"sender": "zeus@olimpus.com", "recipient": "hera@olimpus.com"}).text

    assert "No account to test" in page
    assert mailbox.load_page("olympus").mails == []


def test_a_test_mail_needs_addresses(operator, olympus):
    response = operator.post(f"{ACCOUNTS}{olympus.pk}/test/", {"sender": "zeus", "recipient": "hera@olimpus.com"})

    assert response.status_code == 400
    assert "“zeus” is not a valid email address" in response.text


def test_who_may_look_may_not_act(olympus):
    user = User.objects.create_user("iris", "iris@olimpus.com", "a-long-pass-phrase", is_staff=True)
    from django.contrib.auth.models import Permission

    user.user_permissions.add(Permission.objects.get(codename="view_account"))
    client = Client()
    client.force_login(user)

    assert client.get(f"{ACCOUNTS}{olympus.pk}/change/").status_code == 200
    assert "Force open" not in client.get(f"{ACCOUNTS}{olympus.pk}/change/").text
    assert client.post(action(olympus, "force-open")).status_code == 403
    assert client.post("/admin/sandbox/olympus/clear/").status_code == 403
    assert client.get(f"{ACCOUNTS}test/").status_code == 403
    assert client.get(f"{ACCOUNTS}add/").status_code == 403


def test_the_mailbox_lists_and_opens_what_the_sandbox_took(operator, olympus):
    key = kept_mail("olympus")

    listed = operator.get("/admin/sandbox/?account=olympus").text
    opened = operator.get(f"/admin/sandbox/olympus/{key}/").text

    assert "You made my day" in listed
    assert "Hi &lt;b&gt;Hera&lt;/b&gt;" in opened
    assert "hera@olimpus.com" in opened


@pytest.mark.parametrize("url", ["/admin/sandbox/olympus/nothing/", "/admin/sandbox/zeus/nothing/"])
def test_a_mail_that_is_not_there_is_not_found(operator, olympus, url):
    assert operator.get(url).status_code == 404


def test_an_empty_mailbox_says_how_to_fill_it(operator, olympus):
    page = operator.get("/admin/sandbox/").text

    assert "No email captured yet" in page
    assert "manage.py send" in page


def test_the_mailbox_is_searched_and_paged(operator, olympus, monkeypatch):
    monkeypatch.setattr("providers.admin.sandbox.MAILS_A_PAGE", 1)
    for subject in ("First", "Second"):
        mailbox.store("olympus", f"Subject: {subject}\n\nhi".encode())

    newest = operator.get("/admin/sandbox/?account=olympus").text
    found = operator.get("/admin/sandbox/?account=olympus&q=first").text

    assert "Second" in newest
    assert "First" not in newest
    assert "before=" in newest
    assert "First" in found
    assert "No email matches" in operator.get("/admin/sandbox/?account=olympus&q=third").text


def test_a_kept_mail_leads_to_the_page_of_its_mail(operator, olympus):
    mail_id = "019aa3f2-6c1e-7b40-9d55-3f1c8ee0a417"
    key = mailbox.store("olympus", f"Subject: hi\nX-Mercury-ID: {mail_id}\n\nhi".encode())

    for url in ("/admin/sandbox/?account=olympus", f"/admin/sandbox/olympus/{key}/"):
        assert f'href="/admin/mails/mail/{mail_id}/change/"' in operator.get(url).text


def test_a_stored_email_is_shown_in_parts(operator, olympus):
    message = StandardMessage()
    message.set_content("Hi")
    message.add_alternative('<p onclick="x">Hi</p><img src="https://evil.example/x.png">', subtype="html")
    message.add_attachment(b"thunder", maintype="text", subtype="html", filename="bolt.html")
    at = f"/admin/sandbox/olympus/{mailbox.store('olympus', message.as_bytes())}/"

    page, html, with_images = (operator.get(at + tail) for tail in ("", "html", "html?images=on"))
    source, file = operator.get(f"{at}message.eml"), operator.get(f"{at}files/1")

    assert (
        f'<iframe class="mail-frame" sandbox referrerpolicy="no-referrer" title="HTML of the email" src="{at}html">'
        in page.text
    )
    assert "1 remote image blocked" in page.text
    assert "<p>Hi</p><img>" in html.text
    assert "evil.example" in with_images.text
    assert html["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert source.content == message.as_bytes()
    assert file.content == b"thunder"
    assert file["Content-Disposition"] == 'attachment; filename="bolt.html"'
    assert operator.get(f"{at}files/2").status_code == 404


def test_a_mail_without_html_has_no_frame(operator, olympus):
    at = f"/admin/sandbox/olympus/{kept_mail('olympus')}/"

    assert "<iframe" not in operator.get(at).text
    assert operator.get(f"{at}html").status_code == 404


@pytest.mark.parametrize("tail", ["", "html", "message.eml", "files/1"])
def test_parts_of_a_mail_are_for_those_who_may_see_accounts(client, olympus, tail):
    user = User.objects.create_user("iris", password="rainbow", is_staff=True)
    client.force_login(user)

    assert client.get(f"/admin/sandbox/olympus/{kept_mail('olympus')}/{tail}").status_code == 403


def test_a_failure_mode_is_set_with_an_end_and_cleared(operator, olympus):
    operator.post("/admin/sandbox/olympus/failure-mode/", {"kind": "refuse", "value": "503", "for": "5m"})
    failure_mode = sandboxes.get_failure_mode(olympus)
    page = operator.get("/admin/sandbox/").text
    operator.post("/admin/sandbox/olympus/failure-mode/", {"kind": ""})

    assert failure_mode is not None
    assert (failure_mode.kind, failure_mode.value) == (FailureKind.REFUSE, 503)
    assert dt.timedelta(minutes=4) < failure_mode.until - timezone.now() <= dt.timedelta(minutes=5)
    assert "Refuses" in page
    assert sandboxes.get_failure_mode(olympus) is None


@pytest.mark.parametrize(
    "form", [{"kind": "zeus", "for": "1m"}, {"kind": "slow", "value": "x", "for": "1m"}, {"kind": "hang"}]
)
def test_an_invalid_failure_mode_changes_nothing(operator, olympus, form):
    response = operator.post("/admin/sandbox/olympus/failure-mode/", form)

    assert response.status_code == 400
    assert "<title>Error: Sandbox" in response.text
    assert "No failure mode was set on olympus" in response.text
    assert sandboxes.get_failure_mode(olympus) is None


def test_the_input_of_the_failure_panel_is_kept(operator, olympus):
    page = operator.post("/admin/sandbox/olympus/failure-mode/", {"kind": "refuse", "value": "99 <", "for": "30m"}).text

    assert 'value="99 &lt;"' in page
    assert '<option value="refuse" selected>' in page
    assert '<option value="30m" selected>' in page


def test_the_mailbox_is_emptied_after_saying_how_many(operator, olympus):
    kept_mail("olympus")

    asked = operator.get("/admin/sandbox/olympus/clear/").text
    operator.post("/admin/sandbox/olympus/clear/")

    assert "contains 1 email; all are removed" in asked
    assert mailbox.load_page("olympus").mails == []


def test_a_failure_mode_that_has_ended_is_not_shown(operator, olympus):
    ended = SimulatedFailure(kind=FailureKind.REFUSE, value=503, until=timezone.now() - dt.timedelta(seconds=1))
    sandboxes.set_failure_mode(olympus, ended)

    page = operator.get(f"/admin/providers/account/{olympus.pk}/change/").text

    assert "Failure mode active" not in page


def test_the_page_of_an_account_out_of_quota_says_so_and_opens_it(operator, olympus):
    Breaker.objects.filter(account=olympus).update(
        out_of_quota_since=timezone.now(), out_of_quota_reason="Not enough credits."
    )

    page = operator.get(f"{ACCOUNTS}{olympus.pk}/change/").text
    assert "<strong>Out of quota.</strong> Out of quota at the provider until someone opens it." in page
    assert "Not enough credits." in page
    assert "Open again" in page

    operator.post(action(olympus, "open"), {"why": "bought"})

    assert Breaker.objects.get(account=olympus).out_of_quota_since is None


def test_quotas_are_changed_on_the_page_and_shown(operator, olympus):
    form = {"weight": "1", "enabled": "on", "daily_quota": "500", "monthly_quota": "100", "quota_spread": ""}
    answer = operator.post(f"{ACCOUNTS}{olympus.pk}/edit/", form, follow=True)

    olympus.refresh_from_db()
    assert (olympus.daily_quota, olympus.monthly_quota, olympus.quota_spread) == (500, 100, None), answer.text
    page = operator.get(f"{ACCOUNTS}{olympus.pk}/change/").text
    assert "larger than the monthly quota" in page
    assert "0 of 100 used today" in page


def test_a_quota_of_zero_is_refused_beside_its_field(operator, olympus):
    page = operator.post(f"{ACCOUNTS}{olympus.pk}/edit/", {"weight": "1", "enabled": "on", "daily_quota": "0"}).text

    assert "disable it or give it the weight 0" in page
