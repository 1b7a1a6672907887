"""Who may do what: one row for each address and method. The table of docs/access.md is made of these rows.

A new address fails the tests until it has a row here and there.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from mails.access.api_keys import Scope

API = "api/v1.0/"
A_MAIL, AN_EVENT = r"^mails/(?P<mail_id>[^/]+)", r"/events/(?P<event_id>[^/]+)/?$"
AN_ACCOUNT = r"^dispatcher/providers/(?P<account_id>[^/]+)/?$"
DETAILS = r"^details/mails/(?P<mail_id>[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})"
APPS = r"admin/^(?P<app_label>audit|axes|providers|mails|auth)/$"


@dataclass(frozen=True, kw_only=True)
class Who:
    """Whom an address answers. Everything that is not named is refused."""

    anybody: bool = False
    signed_in: bool = False
    staff: bool = False  # in the admin nothing is answered without it
    owner: bool = False  # the person whose email it is
    superuser: bool = True
    any_of: tuple[frozenset[str], ...] = ()  # each a set of permissions that suffices; people who hold one
    scope: str = ""  # keys, for their own email

    @property
    def people(self) -> str:
        """As the documentation says it."""
        if self.anybody:
            return "everyone, without login"
        words = ["everyone who is signed in"] if self.signed_in else []
        words += ["its owner"] if self.owner else []
        words += [" and ".join(f"`{name}`" for name in sorted(needed)) for needed in self.any_of]
        if self.staff and not self.any_of and self.superuser:
            words.append("every staff member")
        return ", or ".join(words) or "nobody"


@dataclass(frozen=True, kw_only=True)
class Row:
    """Some addresses, a method, and whom they answer."""

    title: str
    routes: tuple[str, ...]
    methods: str
    who: Who

    def __str__(self) -> str:
        keys = f"`{self.who.scope}`" if self.who.scope else ("every key" if self.who.anybody else "no key")
        return f"| {self.title} | {self.methods} | {self.who.people} | {keys} |"


def holding(*needed: str, scope: str = "", owner: bool = False) -> Who:
    """People with one of these, each a permission or several joined by +."""
    return Who(any_of=tuple(frozenset(names.split("+")) for names in needed), scope=scope, owner=owner)


def staff(*needed: str) -> Who:
    """Members of staff with one of these."""
    return Who(staff=True, any_of=holding(*needed).any_of)


ANYBODY, SIGNED_IN, STAFF = Who(anybody=True), Who(signed_in=True), Who(staff=True)
NOBODY = Who(staff=True, superuser=False)
SIGNED = Who(superuser=False)  # the link alone decides


def _row(title: str, methods: str, who: Who, *routes: str) -> Row:
    return Row(title=title, methods=methods, who=who, routes=routes)


def _model(label: str, *, view: Who, add: Who = NOBODY, change: Who = NOBODY, delete: Who = NOBODY) -> Iterator[Row]:
    """The pages that Django makes for a model."""
    page = f"admin/{label}/"
    one = f"{page}<path:object_id>/"
    yield _row(f"`/{page}`: the list, one, its history", "GET", view, page, f"{one}change/", f"{one}history/")
    yield _row(f"`/{page}add/`", "GET, POST", add, f"{page}add/")
    yield _row(f"`/{page}…/change/`", "POST", change, f"{one}change/")
    yield _row(f"`/{page}…/delete/`", "GET, POST", delete, f"{one}delete/")
    yield _row(f"`/{page}…/` redirects", "GET", STAFF, one)


def _pages() -> Iterator[Row]:
    yield _row("`/`: the form", "GET, POST", SIGNED_IN, "")
    yield _row("`/preview`: of what is typed in the form", "POST", SIGNED_IN, "preview")
    draft = "preview/files/<uuid:file_id>/picture"
    yield _row("`/preview/…/picture`: only by the signed link of a page that shows it", "GET", SIGNED, draft)
    yield _row("`/mails/`: one's own emails", "GET", SIGNED_IN, "mails/")
    mail = "mails/<uuid:mail_id>"
    parts = ("", "/timeline", "/html", "/message.eml", "/files/<int:number>")
    yield _row(
        "`/mails/…`: an email, its parts",
        "GET",
        holding("mails.view_mail", owner=True),
        *(f"{mail}{part}" for part in parts),
    )
    picture = f"{mail}/files/<int:number>/picture"
    yield _row("`/mails/…/picture`: only by the signed link of a page that shows it", "GET", SIGNED, picture)
    yield _row("`/mails/…/cancel`", "GET, POST", Who(owner=True, superuser=False), f"{mail}/cancel")
    link = "files/<str:token>"
    yield _row("`/files/…`: a large file, only by its signed download link", "GET, POST", SIGNED, link)
    yield _row("`/files/…/…`: its bytes", "GET", SIGNED, f"{link}/<str:ticket>")
    yield _row("`/details/…` redirects", "GET", ANYBODY, DETAILS)
    yield _row("`/login/`", "GET, POST", ANYBODY, "login/")
    yield _row("`/logout/`", "POST", ANYBODY, "logout/", "admin/logout/")
    yield _row("`/health/…`", "GET", ANYBODY, "health/live", "health/ready", "health/workers")
    yield _row("`/metrics`: `METRICS_TOKEN`, `METRICS_FROM`", "GET", Who(superuser=False), "metrics")
    yield _row("`/api/docs/`", "GET", ANYBODY, "api/docs/")


def _api() -> Iterator[Row]:
    mails, events, accounts = f"{API}^mails", f"{API}{A_MAIL}/events", f"{API}^dispatcher/providers"
    yield _row("`/api/v1.0/`, its OpenAPI document", "GET", ANYBODY, API, "api/v1.0", f"{API}schema")
    yield _row("API: `mails/`", "GET", Who(signed_in=True, scope=Scope.MAILS_READ), f"{mails}$", f"{mails}/$")
    feed = Who(signed_in=True, scope=Scope.MAILS_READ)
    yield _row("API: `events/`: of the emails that `mails/` lists", "GET", feed, f"{API}^events$", f"{API}^events/$")
    send = Who(signed_in=True, scope=Scope.MAILS_SEND)
    yield _row("API: `mails/`, `/mails/batch`", "POST", send, f"{mails}$", f"{mails}/$", f"{mails}/batch/?$")
    yield _row(
        "API: `mails/…`, its events and files",
        "GET",
        holding("mails.view_mail", scope=Scope.MAILS_READ, owner=True),
        f"{API}{A_MAIL}/files/(?P<number>[0-9]{{1,4}})/?$",
        f"{API}{A_MAIL}/?$",
        f"{events}$",
        f"{events}/$",
        f"{API}{A_MAIL}{AN_EVENT}",
    )
    yield _row(
        "API: `mails/…/cancel`, `hold`, `release`, `reprocess`, `reschedule`, `resolve`",
        "POST",
        holding("mails.view_mail+mails.change_mail", scope=Scope.MAILS_MANAGE),
        *(f"{API}{A_MAIL}/{verb}/?$" for verb in ("cancel", "hold", "release", "reprocess", "reschedule", "resolve")),
    )
    yield _row(
        "API: `mails/…/events/`",
        "POST",
        holding("mails.view_mail+mails.add_event", scope=Scope.EVENTS_WRITE, owner=True),
        f"{events}$",
        f"{events}/$",
    )
    own = Who(owner=True, superuser=False, scope=Scope.MAILS_SEND)
    yield _row("API: `mails/…/copy`", "POST", own, f"{API}{A_MAIL}/copy/?$")
    links, a_link = f"{API}^links", f"{API}^links/(?P<link_id>[^/]+)"
    who = Who(signed_in=True, scope=Scope.MAILS_READ)
    yield _row("API: `links/`: download links of one's own emails", "GET", who, f"{links}$", f"{links}/$")
    who = holding("mails.view_mail", owner=True, scope=Scope.MAILS_READ)
    yield _row("API: `links/…`", "GET", who, f"{a_link}/?$")
    who = holding("mails.view_mail+mails.change_mail", scope=Scope.MAILS_MANAGE)
    yield _row("API: `links/…/revoke`", "POST", who, f"{a_link}/revoke/?$")
    yield from _suppressions()
    yield from _webhooks()
    files, a_file = f"{API}^files", f"{API}^files/(?P<file_id>[^/]+)/?$"
    who = Who(signed_in=True, scope=Scope.MAILS_SEND)
    yield _row("API: `files/`: one's own files", "GET, POST", who, f"{files}$", f"{files}/$")
    who = Who(owner=True, superuser=False, scope=Scope.MAILS_SEND)
    yield _row("API: `files/…`", "GET, PATCH, DELETE", who, a_file)
    yield _row(
        "API: `dispatcher/providers/`, one",
        "GET",
        holding("providers.view_account", scope=Scope.PROVIDERS_READ),
        f"{accounts}$",
        f"{accounts}/$",
        f"{API}{AN_ACCOUNT}",
    )
    write = Scope.PROVIDERS_WRITE
    yield _row(
        "API: `dispatcher/providers/`",
        "POST",
        holding("providers.add_account", scope=write),
        f"{accounts}$",
        f"{accounts}/$",
    )
    for method, right in {"PUT": "change", "DELETE": "delete"}.items():
        who = holding(f"providers.{right}_account", scope=write)
        yield _row("API: `dispatcher/providers/…`", method, who, f"{API}{AN_ACCOUNT}")
    who = holding("providers.change_account", scope=write)
    yield _row("API: `dispatcher/providers/…/open`", "POST", who, f"{API}{AN_ACCOUNT.removesuffix('/?$')}/open/?$")
    rules, a_rule = f"{API}^dispatcher/rules", f"{API}^dispatcher/rules/(?P<rule_id>[^/]+)/?$"
    who = holding("mails.view_routingrule", scope=Scope.PROVIDERS_READ)
    yield _row("API: `dispatcher/rules/`, one", "GET", who, f"{rules}$", f"{rules}/$", a_rule)
    yield _row("API: `dispatcher/preview`", "POST", who, f"{API}^dispatcher/preview/?$")
    who = holding("mails.add_routingrule", scope=write)
    yield _row("API: `dispatcher/rules/`", "POST", who, f"{rules}$", f"{rules}/$")
    for method, right in {"PUT": "change", "DELETE": "delete"}.items():
        who = holding(f"mails.{right}_routingrule", scope=write)
        yield _row("API: `dispatcher/rules/…`", method, who, a_rule)
    rules, a_rule = f"{API}^dispatcher/queue-rules", f"{API}^dispatcher/queue-rules/(?P<queue_rule_id>[^/]+)/?$"
    who = holding("mails.view_queuerule", scope=Scope.PROVIDERS_READ)
    yield _row("API: `dispatcher/queue-rules/`, one", "GET", who, f"{rules}$", f"{rules}/$", a_rule)
    who = holding("mails.add_queuerule", scope=write)
    yield _row("API: `dispatcher/queue-rules/`", "POST", who, f"{rules}$", f"{rules}/$")
    for method, right in {"PUT": "change", "DELETE": "delete"}.items():
        who = holding(f"mails.{right}_queuerule", scope=write)
        yield _row("API: `dispatcher/queue-rules/…`", method, who, a_rule)
    figures = ("now", "queues", "applications", "providers", "series", "breakers")
    who = holding("mails.view_rollup", scope=Scope.STATS_READ)
    yield _row("API: `stats/…`", "GET", who, *(f"{API}^stats/{name}/?$" for name in figures))


def _admin() -> Iterator[Row]:
    rollup, change_mail = "mails.view_rollup", "mails.change_mail"
    manage = staff("mails.view_mail+mails.change_mail")
    yield _row("`/admin/`, redirects to `more/` without `mails.view_rollup`", "GET", STAFF, "admin/", "admin/more/")
    yield _row("`/admin/figures/`, `queues/`", "GET", staff(rollup), "admin/figures/", "admin/queues/")
    yield _row("`/admin/sending/…/`", "GET, POST", staff(change_mail), "admin/sending/<str:verb>/")
    yield _row("`/admin/queues/…/`", "GET, POST", staff(change_mail), "admin/queues/<str:name>/<str:verb>/")
    yield _row("`/admin/login/` redirects to `/login/`", "GET", NOBODY, "admin/login/")
    passwords = ("admin/password_change/", "admin/password_change/done/")
    yield _row("`/admin/password_change/`: one's own", "GET", STAFF, *passwords)
    yield _row("`/admin/jsi18n/`", "GET", STAFF, "admin/jsi18n/")
    yield _row(
        "`/admin/autocomplete/`, and unknown addresses", "GET", NOBODY, "admin/autocomplete/", "admin/(?P<url>.*)$"
    )
    yield _row(
        "`/admin/r/…` does not exist",
        "GET",
        NOBODY,
        "admin/r/<path:rest>",
        "admin/r/<path:content_type_id>/<path:object_id>/",
    )
    log = staff("audit.view_auditentry", "audit.change_auditentry")
    yield _row("`/admin/audit/`, the page of an app", "GET", log, APPS)
    yield from _sandbox()
    mail = "admin/mails/mail/"
    yield _row(f"`/{mail}bulk/`", "GET, POST", manage, f"{mail}bulk/")
    yield _row(f"`/{mail}export/`", "GET", staff("mails.view_mail"), f"{mail}export/")
    yield _row(f"`/{mail}…/action/…/`", "GET, POST", manage, f"{mail}<uuid:mail_id>/action/<str:verb>/")
    yield _row(f"`/{mail}…/copy/`", "GET, POST", manage, f"{mail}<uuid:mail_id>/copy/")
    bulk = "admin/mails/bulkaction/"
    yield _row(f"`/{bulk}…/news/`", "GET", staff("mails.view_mail"), f"{bulk}<uuid:bulk_id>/news/")
    yield _row(f"`/{bulk}…/stop/`", "POST", manage, f"{bulk}<uuid:bulk_id>/stop/")
    key = "admin/mails/apikey/<int:key_id>/"
    yield _row("`/admin/mails/apikey/…/revoke/`", "GET, POST", staff("mails.change_apikey"), f"{key}revoke/")
    yield _row(
        "`/admin/mails/apikey/…/rotate/`, and all that the key may do",
        "GET, POST",
        staff("mails.change_apikey+mails.view_mail"),
        f"{key}rotate/",
    )
    yield from _routing()
    yield from _streams()
    yield from _webhook_pages()
    yield from _accounts()
    yield from _models()


def _sandbox() -> Iterator[Row]:
    box, read = "admin/sandbox/", staff("providers.view_account+mails.view_mail")
    one = f"{box}<slug:account>/"
    message = f"{one}<str:key>/"
    yield _row("`/admin/sandbox/`, emails only with `mails.view_mail`", "GET", staff("providers.view_account"), box)
    parts = ("", "html", "message.eml", "files/<int:number>")
    yield _row("`/admin/sandbox/…`: an email", "GET", read, *(f"{message}{part}" for part in parts))
    picture = f"{message}files/<int:number>/picture"
    yield _row("`/admin/sandbox/…/picture`: only by the signed link of a page that shows it", "GET", SIGNED, picture)
    yield _row("`/admin/sandbox/…/failure-mode/`", "POST", staff("providers.change_account"), f"{one}failure-mode/")
    yield _row("`/admin/sandbox/…/clear/`", "GET, POST", staff("providers.change_account"), f"{one}clear/")


def _suppressions() -> Iterator[Row]:
    page = "admin/suppressions/"
    yield _row(f"`/{page}`, redirects to the list", "GET", staff("mails.view_suppression"), page)
    listed, one = f"{API}^suppressions", f"{API}^suppressions/(?P<suppression_id>[^/]+)/?$"
    reads = holding("mails.view_suppression", scope=Scope.SUPPRESSIONS_READ)
    routes = (f"{listed}$", f"{listed}/$", f"{listed}/check/?$", f"{listed}/export/?$", one)
    yield _row("API: `suppressions/`, `check`, `export`, one", "GET", reads, *routes)
    adds = holding("mails.add_suppression", scope=Scope.SUPPRESSIONS_WRITE)
    yield _row("API: `suppressions/`, `import`", "POST", adds, f"{listed}$", f"{listed}/$", f"{listed}/import/?$")
    removes = holding("mails.delete_suppression", scope=Scope.SUPPRESSIONS_WRITE)
    yield _row("API: `suppressions/…`", "DELETE", removes, one)


def _webhooks() -> Iterator[Row]:
    listed, one = f"{API}^webhooks", f"{API}^webhooks/(?P<webhook_id>[^/]+)"
    sent = f"{one}/deliveries"
    a_delivery = f"{sent}/(?P<delivery_id>[^/]+)"
    reads = holding("mails.view_webhook", scope=Scope.WEBHOOKS_READ)
    routes = (f"{listed}$", f"{listed}/$", f"{one}/?$", f"{sent}$", f"{sent}/$", f"{a_delivery}/?$")
    yield _row("API: `webhooks/`, one, its deliveries", "GET", reads, *routes)
    write = Scope.WEBHOOKS_WRITE
    adds = holding("mails.add_webhook", scope=write)
    yield _row("API: `webhooks/`", "POST", adds, f"{listed}$", f"{listed}/$")
    changes = holding("mails.change_webhook", scope=write)
    yield _row("API: `webhooks/…`", "PATCH", changes, f"{one}/?$")
    yield _row(
        "API: `webhooks/…/test`, `rotate-secret`, `enable`, `disable`, `redeliver`",
        "POST",
        changes,
        *(f"{one}/{verb}/?$" for verb in ("test", "rotate-secret", "enable", "disable", "redeliver")),
        f"{a_delivery}/redeliver/?$",
    )
    yield _row("API: `webhooks/…`", "DELETE", holding("mails.delete_webhook", scope=write), f"{one}/?$")


def _webhook_pages() -> Iterator[Row]:
    page, view = "admin/webhooks/", "mails.view_webhook"
    one = f"{page}<uuid:webhook_id>/"
    a_delivery = f"{one}deliveries/<int:delivery_id>/"
    yield _row(
        f"`/{page}`, one, a delivery; the event only with `mails.view_mail`", "GET", staff(view), page, one, a_delivery
    )
    yield _row(f"`/{page}add/`", "GET, POST", staff(f"{view}+mails.add_webhook"), f"{page}add/")
    change = staff(f"{view}+mails.change_webhook")
    routes = (f"{one}change/", f"{one}redeliver/", f"{one}<str:verb>/", f"{a_delivery}redeliver/")
    yield _row(
        f"`/{page}…/change/`, `redeliver/`, `test/`, `rotate/`, `enable/`, `disable/`", "GET, POST", change, *routes
    )
    yield _row(f"`/{page}…/remove/`", "GET, POST", staff(f"{view}+mails.delete_webhook"), f"{one}remove/")


def _routing() -> Iterator[Row]:
    page, view = "admin/routing/", "mails.view_routingrule"
    one = f"{page}<int:rule_id>/"
    yield _row(f"`/{page}`: the rules and the preview", "GET, POST", staff(view), page)
    yield _row(f"`/{page}add/`", "GET, POST", staff(f"{view}+mails.add_routingrule"), f"{page}add/")
    change = staff(f"{view}+mails.change_routingrule")
    yield _row(f"`/{page}…/`", "GET, POST", change, one)
    yield _row(f"`/{page}…/remove/`", "GET, POST", staff(f"{view}+mails.delete_routingrule"), f"{one}remove/")
    yield _row(f"`/{page}…/enable/`, `disable/`, `up/`, `down/`", "POST", change, f"{one}<str:verb>/")


def _streams() -> Iterator[Row]:
    page, view = "admin/streams/", "mails.view_eventsink"
    one = f"{page}events/<slug:name>/"
    yield _row(f"`/{page}`, one", "GET", staff(view), page, f"{page}figures/", one)
    change = staff(f"{view}+mails.change_eventsink")
    words = f"`/{page}events/…/pause/`, `resume/`, `forget/`, `replay/`"
    yield _row(words, "GET, POST", change, f"{one}<str:verb>/", f"{one}replay/")
    change = staff(f"{view}+mails.change_submissionstream")
    words = f"`/{page}submissions/…/pause/`, `resume/`"
    yield _row(words, "GET, POST", change, f"{page}submissions/<slug:name>/<str:verb>/")


def _accounts() -> Iterator[Row]:
    page, change = "admin/providers/account/", staff("providers.change_account")
    one = f"{page}<int:account_id>/"
    yield _row(f"`/{page}…/edit/`, `test/`", "GET, POST", change, f"{one}edit/", f"{one}test/", f"{page}test/")
    yield _row(
        f"`/{page}…/action/…/`; to delete also `providers.delete_account`",
        "GET, POST",
        change,
        f"{one}action/<str:name>/",
    )


def _models() -> Iterator[Row]:
    def either(app: str, model: str) -> Who:
        return staff(f"{app}.view_{model}", f"{app}.change_{model}")

    view_mail = staff("mails.view_mail")
    yield from _model("mails/mail", view=view_mail, change=view_mail)
    yield from _model("mails/bulkaction", view=view_mail, change=view_mail)
    yield from _model("mails/downloadlink", view=view_mail)
    manage = staff("mails.view_mail+mails.change_mail")
    revoke = "admin/mails/downloadlink/<uuid:link_id>/revoke/"
    yield _row("`/admin/mails/downloadlink/…/revoke/`", "GET, POST", manage, revoke)
    yield from _model(
        "mails/suppression",
        view=staff("mails.view_suppression"),
        add=staff("mails.add_suppression"),
        delete=staff("mails.delete_suppression"),
    )
    listed = "admin/mails/suppression/"
    yield _row(f"`/{listed}export/`", "GET", staff("mails.view_suppression"), f"{listed}export/")
    yield _row(f"`/{listed}import/`", "GET, POST", staff("mails.add_suppression"), f"{listed}import/")
    yield from _model("mails/storedfile", view=view_mail)
    remove = "admin/mails/storedfile/<uuid:file_id>/remove/"
    yield _row("`/admin/mails/storedfile/…/remove/`", "GET, POST", manage, remove)
    event = "admin/mails/event/"
    yield from (row for row in _model("mails/event", view=view_mail) if row.routes[0] != event)
    shown = f"{event}<path:object_id>/change/", f"{event}<path:object_id>/history/"
    yield _row(f"`/{event}`: one, its history", "GET", view_mail, *shown)
    yield _row(f"`/{event}` redirects to the emails", "GET", STAFF, event)
    yield from _model(
        "mails/apikey",
        view=either("mails", "apikey"),
        add=staff("mails.add_apikey"),
        change=staff("mails.change_apikey"),
    )
    for name in ("queuesettings", "queuerule"):
        yield from _model(
            f"mails/{name}",
            view=either("mails", name),
            add=staff(f"mails.add_{name}"),
            change=staff(f"mails.change_{name}"),
            delete=staff(f"mails.delete_{name}"),
        )
    account = either("providers", "account")
    yield from _model("providers/account", view=account, add=staff("providers.add_account"), change=account)
    yield from _model("providers/breakerchange", view=staff("providers.view_account"))
    yield from _model("audit/auditentry", view=either("audit", "auditentry"))
    yield from _model("axes/accesslog", view=either("axes", "accesslog"))
    yield from _model(
        "axes/accessattempt",
        view=either("axes", "accessattempt"),
        change=staff("axes.change_accessattempt"),
        delete=staff("axes.delete_accessattempt"),
    )
    for model, add in {"user": "auth.add_user+auth.change_user", "group": "auth.add_group"}.items():
        yield from _model(
            f"auth/{model}",
            view=either("auth", model),
            add=staff(add),
            change=staff(f"auth.change_{model}"),
            delete=staff(f"auth.delete_{model}"),
        )
    yield _row(
        "`/admin/auth/user/…/password/`", "GET, POST", staff("auth.change_user"), "admin/auth/user/<id>/password/"
    )


MATRIX: tuple[Row, ...] = (*_pages(), *_api(), *_admin())
