"""Routing rules for operators: the list, the form of a rule with a test before it is stored, and the preview."""

from dataclasses import dataclass
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from mails.admin.routing_forms import PreviewForm, RuleForm
from mails.intake.client import Client
from mails.intake.receipts import Refused
from mails.intake.route_preview import RoutePreview, preview_mail, preview_submission
from mails.models import ApiKey, Mail, RoutingRule
from mails.obstacles import SendingConditions
from mails.routing import changes, review
from mails.routing.book import RuleBook, load_rule
from mails.routing.changes import RuleNotFound
from mails.routing.drafts import RuleInvalid
from mails.routing.facts import load_facts
from mails.states import DUE, Source
from mercury.lib.audit import log as audit
from mercury.lib.mail.printable import replace_unprintable

VIEW, ADD, CHANGE, DELETE = (f"mails.{verb}_routingrule" for verb in ("view", "add", "change", "delete"))
TESTED = 200  # of the last emails, with a rule before it is stored
EXAMPLES = 5  # of them that a test names


@dataclass(frozen=True, slots=True, kw_only=True)
class TestedRule:
    """What a rule would do: in words, and to the last emails. `others`: emails that would go by another rule than now."""

    sentence: str
    warnings: list[str]
    looked_at: int
    matching: int
    others: list[tuple[Mail, str, str]]
    more: int


@require_http_methods(["GET", "POST"])
def rules_page(request: HttpRequest) -> HttpResponse:
    """Show the rules in their order, and the preview; a POST asks for one and changes nothing."""
    _check(request, VIEW)
    rows = review.list_rules()
    form = PreviewForm(
        request.POST if request.method == "POST" else None, initial={"mail": request.GET.get("mail", "")}
    )
    found: RoutePreview | None = None
    if request.method == "POST" and form.is_valid():
        found = _preview(request, form, review.build_book(rows))
    warnings = review.find_all_warnings(rows)
    context = {
        "title": "Routing",
        "rules": [_describe(row, warnings) for row in rows],
        "form": form,
        "found": found,
        "may_add": request.user.has_perm(ADD),
        "may_change": request.user.has_perm(CHANGE),
        "may_delete": request.user.has_perm(DELETE),
    }
    return _render(request, "admin/routing/rules.html", context, status=400 if form.errors else 200)


@require_http_methods(["GET", "POST"])
def add_page(request: HttpRequest) -> HttpResponse:
    """Add a rule, or test it first."""
    _check(request, VIEW, ADD)
    return _show_form(request, None)


@require_http_methods(["GET", "POST"])
def change_page(request: HttpRequest, rule_id: int) -> HttpResponse:
    """Change a rule, or test the change first."""
    _check(request, VIEW, CHANGE)
    return _show_form(request, _find(rule_id))


@require_POST
def switch_view(request: HttpRequest, rule_id: int, verb: str) -> HttpResponse:
    """Enable, disable or move a rule by one place, and return to the list."""
    _check(request, VIEW, CHANGE)
    row, by = _find(rule_id), audit.get_person(request)
    try:
        match verb:
            case "enable" | "disable":
                changes.set_enabled(row, enabled=verb == "enable", by=by)
                messages.success(request, f"The rule {row.name} is {verb}d.")
            case "up" | "down":
                changes.move(row, max(1, row.position + (-1 if verb == "up" else 1)), by=by)
                messages.success(request, f"The rule {row.name} was moved {verb}.")
            case _:
                raise Http404("No such action.")
    except RuleNotFound as error:
        messages.warning(request, str(error))
    return redirect("routing")


@require_http_methods(["GET", "POST"])
def remove_page(request: HttpRequest, rule_id: int) -> HttpResponse:
    """Remove a rule after confirmation."""
    _check(request, VIEW, DELETE)
    row = _find(rule_id)
    if request.method == "POST":
        try:
            changes.remove(row, by=audit.get_person(request))
            messages.success(request, f"The rule {row.name} was removed.")
        except RuleNotFound as error:
            messages.warning(request, str(error))
        return redirect("routing")
    rule, waiting = load_rule(row), Mail.objects.filter(status__in=DUE, routing_rule=row.pk)[:1001].count()
    context = {
        "title": f"Remove the rule {row.name}?",
        "trail": [("Routing", reverse("routing"))],
        "sentences": [
            rule.sentence if rule else row.name,
            f"{'More than 1,000' if waiting > 1000 else waiting} emails wait under it: they are matched with the other rules.",
        ],
        "button": "Remove the rule",
        "back": reverse("routing"),
    }
    return _render(request, "admin/confirm.html", context)


def _show_form(request: HttpRequest, row: RoutingRule | None) -> HttpResponse:
    form = RuleForm(request.POST if request.method == "POST" else None, row=row)
    tested = None
    if request.method == "POST" and form.is_valid() and form.draft is not None:
        if "test" in request.POST:
            tested = _test(form)
        elif stored := _store(request, form):
            for warning in review.find_warnings(review.list_rules(), stored):
                messages.warning(request, f"{stored.name}: {warning}")
            messages.success(request, f"The rule {stored.name} was saved.")
            return redirect("routing")
    context = {
        "title": f"Change {row.name}" if row else "Add a rule",
        "form": form,
        "tested": tested,
        "conditions": [form[name] for name in ("sender_domain", "recipient_domain", "tag", "api_key")],
        "ranges": [form[f"{name}_{end}"] for name in ("size", "recipients") for end in ("from", "to")],
        "others": [form[name] for name in ("position", "note")],
        "errors": [
            (form[name].id_for_label if name in form.fields else "accounts", error)
            for name, listed in form.errors.items()
            for error in listed
        ],
    }
    return _render(request, "admin/routing/rule_form.html", context, status=400 if form.errors else 200)


def _store(request: HttpRequest, form: RuleForm) -> RoutingRule | None:
    """Store the rule; return None if it cannot be, and the form shows why."""
    assert form.draft is not None  # noqa: S101 (the form is valid)
    by, position = audit.get_person(request), form.cleaned_data["position"]
    try:
        if form.row is None:
            return changes.add(form.draft, by=by, position=position)
        return changes.change(form.row, form.draft, by=by, position=position)
    except RuleInvalid as invalid:
        form.add_errors(invalid.errors)
    except RuleNotFound as error:
        form.add_error(None, str(error))
    return None


def _test(form: RuleForm) -> TestedRule:
    """Return what the rule would do, with the last emails as they were submitted."""
    assert form.draft is not None  # noqa: S101 (the form is valid)
    row = form.draft.to_row()
    row.pk = form.row.pk if form.row else None
    now, then = (review.build_book(rows) for rows in (review.list_rules(), _list_with(row, form)))
    mails = {mail.pk: mail for mail in Mail.objects.order_by("-pk")[:TESTED]}
    matching, others = 0, []
    for mail_id, facts in load_facts(mails).items():
        before, after = now.match(facts), then.match(facts)
        matching += after is not None and after.name == row.name
        if (before.id if before else None, before and before.policy) != (
            after.id if after else None,
            after and after.policy,
        ):
            others.append((mails[mail_id], before.name if before else "no rule", after.name if after else "no rule"))
    rule = load_rule(row)
    return TestedRule(
        sentence=rule.sentence if rule else "",
        warnings=review.find_warnings(_list_with(row, form), row),
        looked_at=len(mails),
        matching=matching,
        others=others[:EXAMPLES],
        more=max(0, len(others) - EXAMPLES),
    )


def _list_with(row: RoutingRule, form: RuleForm) -> list[RoutingRule]:
    return review.list_rules(row, form.cleaned_data["position"])


def _preview(request: HttpRequest, form: PreviewForm, book: RuleBook) -> RoutePreview | None:
    """Return the preview; None if there is none, and the form shows why."""
    conditions, chosen = SendingConditions.load(), form.cleaned_data
    if chosen["mail"]:
        visible = Mail.objects.visible_to(api_key=None, user=request.user)
        mail = visible.filter(pk=chosen["mail"]).first()
        if mail is None:
            form.add_error("mail", "There is no such email, or you may not see it.")
            return None
        return preview_mail(mail, book=book, conditions=conditions)
    key = ApiKey.objects.filter(name=chosen["api_key"], revoked_at=None).order_by("-pk").first()
    client = Client(source=Source.API, api_key=key) if key else Client(source=Source.COMMAND)
    found = preview_submission(form.read_fields(), client=client, book=book, conditions=conditions)
    if isinstance(found, Refused):
        form.add_error(None, f"This email would be refused: {replace_unprintable(found.detail)}")
        return None
    return found


def _describe(row: RoutingRule, warnings: dict[str, list[str]]) -> dict[str, Any]:
    rule = load_rule(row)
    sentence = rule.sentence if rule else "This version of Mercury does not understand the rule: it matches nothing."
    return {"row": row, "sentence": sentence, "warnings": warnings.get(row.name, [])}


def _find(rule_id: int) -> RoutingRule:
    row = RoutingRule.objects.filter(pk=rule_id).first()
    if row is None:
        raise Http404("No such rule.")
    return row


def _check(request: HttpRequest, *permissions: str) -> None:
    if not request.user.has_perms(permissions):
        raise PermissionDenied


def _render(request: HttpRequest, template: str, context: dict[str, Any], *, status: int = 200) -> HttpResponse:
    return TemplateResponse(request, template, {**admin.site.each_context(request), **context}, status=status)
