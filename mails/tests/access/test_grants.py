"""Nobody grants what they lack, and every act is recorded with who did it."""

import datetime as dt

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.utils import timezone

from mails.access import api_keys, grants
from mails.access.api_keys import Scope
from mails.models import ApiKey, SenderPermission
from mails.tests.commandline import run
from mails.tests.people import browser_of, hermes
from mercury.lib.audit.models import Act, AuditEntry

pytestmark = pytest.mark.django_db
KEYS, USERS, GROUPS = "/admin/mails/apikey/", "/admin/auth/user/", "/admin/auth/group/"
KEY_FORM = {"name": "shop", "scopes": ["mails:send", "mails:read"], "senders": "shop@olimpus.com"}


def argus(*codenames, senders=(), name="argus") -> User:
    """A member of staff who holds these permissions and no other."""
    user = User.objects.create_user(name, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    for sender in senders:
        SenderPermission.objects.create(user=user, address=sender)
    return user


def acts() -> list[tuple[str, str, str]]:
    return list(AuditEntry.objects.order_by("id").values_list("act", "kind", "by"))


def person_form(user: User, **changes):
    return {
        "username": user.username,
        "is_active": "on",
        "is_staff": "on" if user.is_staff else "",
        "sender_permissions-TOTAL_FORMS": 0,
        "sender_permissions-INITIAL_FORMS": 0,
        **changes,
    }


@pytest.mark.parametrize(
    ("held", "wanted", "uncovered"),
    [
        (["*"], ["*", "@a.com", "x@a.com"], []),
        (["@olimpus.com"], ["@olimpus.com", "zeus@olimpus.com", "zeus@OLIMPUS.com"], []),
        (["@olimpus.com"], ["*", "@hades.com", "zeus@hades.com"], ["*", "@hades.com", "zeus@hades.com"]),
        (["zeus@olimpus.com"], ["@olimpus.com", "hera@olimpus.com"], ["@olimpus.com", "hera@olimpus.com"]),
        ([], ["zeus@olimpus.com"], ["zeus@olimpus.com"]),
    ],
)
def test_an_address_is_granted_by_who_may_send_as_it(held, wanted, uncovered):
    assert grants.find_uncovered_senders(argus(senders=held), wanted) == uncovered


def test_who_makes_keys_gives_an_ordinary_one_the_senders_they_have():
    browser = browser_of(argus("view_apikey", "add_apikey", senders=["@olimpus.com"]))

    made = browser.post(f"{KEYS}add/", KEY_FORM)
    refused = browser.post(f"{KEYS}add/", KEY_FORM | {"senders": "*"})

    assert made.status_code == 302
    assert "you may not send as * yourself" in refused.text
    assert ApiKey.objects.get().senders == ["shop@olimpus.com"]


@pytest.mark.parametrize(
    "scope", [Scope.MAILS_MANAGE, Scope.EVENTS_SYSTEM, Scope.PROVIDERS_READ, Scope.PROVIDERS_WRITE, Scope.STATS_READ]
)
def test_a_scope_is_granted_by_who_has_its_permission(scope):
    base = ("view_apikey", "add_apikey", "change_apikey")
    needed = [name.partition(".")[2] for name in grants.PERMISSIONS[scope]]
    lacking = browser_of(argus(*base, name="lacking"))
    having = browser_of(argus(*base, *needed, name="having"))
    key, _text = api_keys.create("shop", scopes=[], senders=[])

    for url in (f"{KEYS}add/", f"{KEYS}{key.pk}/change/"):
        form = {"name": "new", "scopes": [scope], "senders": ""}
        assert f"the scope {scope} requires the permission" in lacking.post(url, form).text
        assert having.post(url, form).status_code == 302


def test_adding_to_a_key_the_right_to_read_takes_the_right_to_read():
    key, _text = api_keys.create("shop", scopes=["mails:send"], senders=["*"])
    browser = browser_of(argus("view_apikey", "change_apikey"))

    refused = browser.post(f"{KEYS}{key.pk}/change/", KEY_FORM | {"senders": "*"})
    narrowed = browser.post(f"{KEYS}{key.pk}/change/", KEY_FORM | {"scopes": ["mails:send"], "senders": ""})

    assert "the scope mails:read requires the permission mails.view_mail" in refused.text
    assert narrowed.status_code == 302  # what it had was not theirs to give, and is theirs to take away
    assert ApiKey.objects.get().senders == []


def test_the_text_of_a_key_is_for_who_may_do_all_that_it_may():
    key, text = api_keys.create("shop", scopes=["mails:send", "mails:read"], senders=["shop@olimpus.com"])
    url, overlap = f"{KEYS}{key.pk}/rotate/", {"overlap": "0"}

    lacking = browser_of(argus("view_apikey", "change_apikey")).post(url, overlap)
    assert api_keys.find(text) == key
    having = browser_of(argus("change_apikey", "view_mail", senders=["@olimpus.com"], name="b")).post(url, overlap)

    assert lacking.status_code == 403
    assert having.status_code == 302


def test_a_form_that_is_saved_late_brings_no_revoked_key_back():
    key, text = api_keys.create("shop", scopes=["mails:send"], senders=["*"])
    stale = ApiKey.objects.get()
    api_keys.rotate(key, dt.timedelta(0))
    api_keys.revoke(key)

    stale.rate = "5/m"
    api_keys.update(stale, by="user:hermes")

    assert api_keys.find(text) is None
    assert ApiKey.objects.get().revoked_at is not None
    assert ApiKey.objects.get().rate == "5/m"


def test_each_act_on_a_key_is_recorded_with_who_by_every_door():
    browser = browser_of(hermes())

    browser.post(f"{KEYS}add/", KEY_FORM)
    key = ApiKey.objects.get()
    browser.post(f"{KEYS}{key.pk}/change/", KEY_FORM | {"scopes": ["mails:read"], "rate": "5/m"})
    browser.post(f"{KEYS}{key.pk}/rotate/", {"overlap": "1"})
    browser.post(f"{KEYS}{key.pk}/revoke/")
    run("apikey", "create", "till", "--sender", "*")
    run("apikey", "rotate", ApiKey.objects.get(name="till").prefix)
    run("apikey", "revoke", ApiKey.objects.get(name="till").prefix, "--yes")

    by_page = [(act, "API key", "user:hermes") for act in ("register", "change", "rotate", "revoke")]
    by_command = [(act, "API key", "command line") for act in ("register", "rotate", "revoke")]
    assert acts() == by_page + by_command
    changed = AuditEntry.objects.get(act=Act.CHANGE)
    assert changed.detail == "scopes: mails:send, mails:read → mails:read; rate: none → 5/m"
    page = browser.get("/admin/audit/auditentry/").text
    assert "hermes" in page
    assert "command line" in page


def test_what_is_recorded_holds_no_secret():
    key, text = api_keys.create("shop", scopes=["mails:send"], senders=["*"])
    _key, fresh = api_keys.rotate(key, dt.timedelta(hours=1))

    kept = str(list(AuditEntry.objects.values()))

    for secret in (text, fresh):
        assert secret[12:] not in kept
        assert api_keys._hash(secret) not in kept


def test_who_changes_people_makes_no_superuser_not_even_of_themselves():
    user = argus("view_user", "change_user")

    answer = browser_of(user).post(f"{USERS}{user.pk}/change/", person_form(user, is_superuser="on"))

    user.refresh_from_db()
    assert answer.status_code == 302
    assert not user.is_superuser


def test_who_changes_people_gives_only_what_they_hold():
    user = argus("view_user", "change_user")
    hera = User.objects.create_user("hera")
    held, more = (Permission.objects.get(codename=name) for name in ("change_user", "view_mail"))
    team = Group.objects.create(name="readers")
    team.permissions.add(more)
    browser, url = browser_of(user), f"{USERS}{hera.pk}/change/"

    given = browser.post(url, person_form(hera, user_permissions=[held.pk]))
    refused = browser.post(url, person_form(hera, user_permissions=[held.pk, more.pk]))
    by_group = browser.post(url, person_form(hera, groups=[team.pk]))

    assert given.status_code == 302
    assert refused.status_code == by_group.status_code == 200
    assert list(hera.user_permissions.all()) == [held]
    assert not hera.groups.exists()


def test_who_makes_people_allows_only_the_addresses_they_have():
    user = argus("view_user", "change_user", "add_senderpermission", "view_senderpermission", senders=["@olimpus.com"])
    hera = User.objects.create_user("hera")
    browser, url = browser_of(user), f"{USERS}{hera.pk}/change/"
    form = {"sender_permissions-TOTAL_FORMS": 1}

    refused = browser.post(url, person_form(hera, **form, **{"sender_permissions-0-address": "*"}))
    given = browser.post(url, person_form(hera, **form, **{"sender_permissions-0-address": "hera@olimpus.com"}))

    assert "You cannot grant *: you may not send as it yourself" in refused.text
    assert given.status_code == 302
    assert grants.list_senders(hera) == ["hera@olimpus.com"]


@pytest.mark.parametrize("above", ["superuser", "permission", "group", "sender"])
def test_rows_of_who_may_do_more_are_only_read(above):
    operator = User.objects.create_user("operator", is_staff=True, is_superuser=above == "superuser")
    more = Permission.objects.get(codename="view_mail")
    if above == "permission":
        operator.user_permissions.add(more)
    if above == "group":
        operator.groups.add(Group.objects.create(name="readers"))
        Group.objects.get().permissions.add(more)
    if above == "sender":
        SenderPermission.objects.create(user=operator, address="@olimpus.com")
    browser = browser_of(argus("view_user", "change_user", "delete_user"))
    passwords = {"usable_password": "true", "password1": "a-long-pass-phrase", "password2": "a-long-pass-phrase"}

    answers = [
        browser.post(f"{USERS}{operator.pk}/change/", person_form(operator)),
        browser.post(f"{USERS}{operator.pk}/password/", passwords),
        browser.post(f"{USERS}{operator.pk}/delete/", {"post": "yes"}),
    ]
    browser.post(USERS, {"action": "delete_selected", "_selected_action": [operator.pk], "post": "yes"})

    assert [answer.status_code for answer in answers] == [403, 403, 403]
    assert browser.get(f"{USERS}{operator.pk}/change/").status_code == 200
    kept = User.objects.get(pk=operator.pk)
    assert kept.password == operator.password


def test_a_group_is_given_only_what_its_changer_holds_and_one_with_more_is_only_read():
    user = argus("view_group", "change_group")
    held, more = (Permission.objects.get(codename=name) for name in ("change_group", "view_mail"))
    own, above = Group.objects.create(name="own"), Group.objects.create(name="above")
    above.permissions.add(more)
    browser = browser_of(user)

    refused = browser.post(f"{GROUPS}{own.pk}/change/", {"name": "own", "permissions": [more.pk]})
    given = browser.post(f"{GROUPS}{own.pk}/change/", {"name": "own", "permissions": [held.pk]})
    locked = browser.post(f"{GROUPS}{above.pk}/change/", {"name": "above", "permissions": []})

    assert (refused.status_code, given.status_code, locked.status_code) == (200, 302, 403)
    assert list(own.permissions.all()) == [held]
    assert list(above.permissions.all()) == [more]


def test_acts_on_people_and_groups_are_recorded_with_what_was_given():
    boss = hermes()
    browser = browser_of(boss)
    hera = User.objects.create_user("hera")
    more = Permission.objects.get(codename="view_mail")

    browser.post(
        f"{USERS}add/",
        {
            "username": "iris",
            "usable_password": "true",
            "password1": "a-long-pass-phrase",
            "password2": "a-long-pass-phrase",
        }
        | {"sender_permissions-TOTAL_FORMS": 0, "sender_permissions-INITIAL_FORMS": 0},
    )
    browser.post(f"{USERS}{hera.pk}/change/", person_form(hera, is_superuser="on", user_permissions=[more.pk]))
    browser.post(
        f"{USERS}{hera.pk}/password/",
        {"usable_password": "true", "password1": "a-long-pass-phrase", "password2": "a-long-pass-phrase"},
    )
    browser.post(f"{GROUPS}add/", {"name": "readers", "permissions": [more.pk]})
    browser.post(USERS, {"action": "delete_selected", "_selected_action": [hera.pk], "post": "yes"})

    assert acts() == [
        ("register", "person", "user:hermes"),
        ("change", "person", "user:hermes"),
        ("change", "person", "user:hermes"),
        ("register", "group", "user:hermes"),
        ("delete", "person", "user:hermes"),
    ]
    changed, password = AuditEntry.objects.filter(act=Act.CHANGE).order_by("id")
    assert "superuser: no → yes" in changed.detail
    assert "permissions: none → view_mail" in changed.detail
    assert password.detail == "Changed password."
    assert AuditEntry.objects.get(kind="group").detail == "permissions: none → view_mail"


def test_the_audit_log_outlives_who_acted():
    browser = browser_of(argus("add_apikey", "view_apikey", senders=["*"]))
    browser.post(f"{KEYS}add/", KEY_FORM)

    User.objects.all().delete()

    assert acts() == [("register", "API key", "user:argus")]


def test_an_expired_key_does_not_count_as_a_new_one():
    key, _text = api_keys.create("shop", scopes=["mails:send"], senders=["*"], expires_at=timezone.now())

    assert grants.find_missing_for_change(argus(), key, scopes=["mails:send"], senders=["*"]) == []
    assert grants.find_missing_for_rotation(argus(name="b"), key) == ["you may not send as * yourself"]
