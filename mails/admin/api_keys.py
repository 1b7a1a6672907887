"""API keys for operators: create (the key is shown once), change, rotate, revoke."""

import datetime as dt
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.safestring import SafeString

from mails.access import api_keys, grants, key_limits
from mails.access.api_keys import Scope
from mails.models import ApiKey
from mercury.lib import encryption
from mercury.lib.audit import log as audit
from mercury.lib.guarded_admin import GuardedAdmin

OVERLAPS = (("1", "1 hour"), ("24", "1 day"), ("168", "7 days"), ("0", "not at all: the old key stops working now"))
_SESSION_KEY = "key-to-show-once"


class SendersField(forms.CharField):
    """Addresses, one a line; a list to the model."""

    widget = forms.Textarea

    def prepare_value(self, value: Any) -> Any:
        """Return a list as lines."""
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        """Return lines as a list, each address once."""
        lines = str(value or "").replace(",", "\n").split()
        return list(dict.fromkeys(lines))

    def validate(self, value: Any) -> None:
        """Check that each is an address, `@` and a domain, or `*`."""
        super().validate(value)
        for sender in value:
            try:
                api_keys.normalize_sender(sender)
            except ValueError as error:
                raise forms.ValidationError(str(error)) from error


class RateField(forms.CharField):
    """Rate limit of a key, such as 10/s."""

    def clean(self, value: Any) -> str:
        """Return the rate as a key stores it; an invalid one gets an error that says how to write it."""
        try:
            return api_keys.normalize_rate(super().clean(value))
        except ValueError as error:
            raise forms.ValidationError(str(error)) from error


class LimitField(forms.IntegerField):
    """A limit of a key, such as 1000."""

    def clean(self, value: Any) -> int | None:
        """Return the limit; one out of range gets an error that says what to do."""
        try:
            return api_keys.check_limit(super().clean(value))
        except ValueError as error:
            raise forms.ValidationError(str(error)) from error


class ApiKeyForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    """Settings of a key that an operator chooses."""

    scopes = forms.MultipleChoiceField(
        choices=Scope.choices,
        widget=forms.CheckboxSelectMultiple,
        initial=[Scope.MAILS_SEND, Scope.MAILS_READ],
        help_text="What requests with this key may do.",
    )
    senders = SendersField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 4}),
        help_text="Allowed senders, one per line; @example.com for a domain, * for any. Empty: it cannot send.",
    )
    rate = RateField(
        required=False,
        help_text="Rate limit of everything it writes, such as 10/s, 600/m, 1000/h or 50000/d. Empty: no limit.",
    )
    emails_per_minute = LimitField(
        required=False,
        help_text="Emails in each minute of the clock, counted exactly over all machines. Empty: no limit.",
    )
    recipients_per_day = LimitField(
        required=False,
        help_text="Recipients of its emails on each day (UTC), counted exactly over all machines. Empty: no limit.",
    )
    expires_at = forms.DateTimeField(
        required=False,
        widget=forms.DateTimeInput(format="%Y-%m-%dT%H:%M", attrs={"type": "datetime-local"}),
        help_text="UTC. Empty: never.",
    )

    person: Any = None  # the signed-in user; set on a subclass for each request

    class Meta:
        model = ApiKey
        fields = ("name", "scopes", "senders", "rate", "emails_per_minute", "recipients_per_day", "expires_at")

    def clean_name(self) -> str:
        """Refuse marks that control a terminal or change the writing direction."""
        try:
            return api_keys.normalize_name(self.cleaned_data["name"])
        except ValueError as error:
            raise forms.ValidationError(str(error)) from error

    def clean(self) -> dict[str, Any]:
        """Refuse scopes and senders that the person who grants them lacks."""
        data = super().clean() or {}
        wanted = {"scopes": data.get("scopes", []), "senders": data.get("senders", [])}
        if self.instance.pk:
            before = ApiKey.objects.get(pk=self.instance.pk)
            missing = grants.find_missing_for_change(self.person, before, **wanted)
        else:
            missing = grants.find_missing_for_new_key(self.person, **wanted)
        if missing:
            raise forms.ValidationError(_describe_refusal("You cannot grant what you do not have", missing))
        return data


@admin.register(ApiKey)
class ApiKeyAdmin(GuardedAdmin):
    """API keys by name. A key is revoked, never deleted, because its emails refer to it."""

    empty_sentence = "Applications authenticate with an API key: add one for each, and it appears here."
    form = ApiKeyForm
    audits_itself = True
    list_display = ("name", "prefix", "state", "may", "sends_as", "limit", "last_used", "expires")
    list_display_links = ("name",)
    search_fields = ("name", "prefix")
    change_form_template = "admin/mails/apikey/change_form.html"

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        """Return False: a key is revoked instead."""
        return False

    @admin.display(description="state")
    def state(self, key: ApiKey) -> SafeString:
        """Return the badge: revoked, expired, never used or active."""
        return SafeString(render_to_string("_tone_badge.html", _state(key)))

    @admin.display(description="scopes")
    def may(self, key: ApiKey) -> str:
        """Return its scopes."""
        return ", ".join(key.scopes) or "none"

    @admin.display(description="senders")
    def sends_as(self, key: ApiKey) -> str:
        """Return its allowed senders."""
        return ", ".join(key.senders) or "none"

    @admin.display(description="limits")
    def limit(self, key: ApiKey) -> str:
        """Return its rate and its limits."""
        limits = ((key.emails_per_minute, "emails a minute"), (key.recipients_per_day, "recipients a day"))
        return "; ".join(filter(None, [key.rate, *(f"{most:,} {unit}" for most, unit in limits if most)])) or "no limit"

    @admin.display(description="last used", ordering="last_used_at")
    def last_used(self, key: ApiKey) -> str:
        """Return when it was last used, with the time zone."""
        return f"{key.last_used_at:%Y-%m-%d %H:%M} UTC" if key.last_used_at else "never"

    @admin.display(description="expires", ordering="expires_at")
    def expires(self, key: ApiKey) -> str:
        """Return when it expires, with the time zone."""
        return f"{key.expires_at:%Y-%m-%d %H:%M} UTC" if key.expires_at else "never"

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show Django's list under Mercury's title."""
        return super().changelist_view(request, {"title": "API keys", **(extra_context or {})})

    def get_form(self, request: HttpRequest, obj: ApiKey | None = None, change: bool = False, **kwargs: Any) -> Any:
        """Return the form with the signed-in user."""
        return type("ApiKeyForm", (super().get_form(request, obj, change, **kwargs),), {"person": request.user})

    def get_urls(self) -> list[URLPattern]:
        """Return Django's pages, and those that revoke and rotate."""
        wrap = self.admin_site.admin_view
        ours = [
            path("<int:key_id>/revoke/", wrap(self.revoke_view), name="mails_apikey_revoke"),
            path("<int:key_id>/rotate/", wrap(self.rotate_view), name="mails_apikey_rotate"),
        ]
        return [*ours, *super().get_urls()]

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        """Save a changed key, or create one and keep it, encrypted, for the next page to show."""
        if change:
            api_keys.update(obj, by=audit.get_person(request))
            return
        made, text = api_keys.create(
            obj.name,
            scopes=obj.scopes,
            senders=obj.senders,
            rate=obj.rate,
            emails_per_minute=obj.emails_per_minute,
            recipients_per_day=obj.recipients_per_day,
            expires_at=obj.expires_at,
            by=audit.get_person(request),
        )
        obj.pk = made.pk
        obj.refresh_from_db()
        _keep_for_next_page(request, made, text)

    def response_add(self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None) -> HttpResponse:
        """Redirect to the page that shows the new key once."""
        return HttpResponseRedirect(reverse("admin:mails_apikey_change", args=[obj.pk]))

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show the form; for a key that was just created, also the key and a curl command that works."""
        key = ApiKey.objects.filter(pk=object_id).first() if object_id and object_id.isdecimal() else None
        shown = {
            "key": key,
            "key_text": _pop_shown_once(request, key) if request.method == "GET" else "",
            "key_state": _state(key) if key else None,
            "key_limits": key_limits.load_statuses(key) if key else (),
            "example_sender": _choose_example_sender(key),
            "api_url": request.build_absolute_uri(reverse("api-mail-list")),
        }
        return super().changeform_view(request, object_id, form_url, {**shown, **(extra_context or {})})

    def revoke_view(self, request: HttpRequest, key_id: int) -> HttpResponse:
        """Revoke a key after confirmation."""
        key = self._get_key(request, key_id)
        if request.method == "POST":
            done = api_keys.revoke(key, by=audit.get_person(request))
            words = f"The key {key} was revoked." if done else f"The key {key} was already revoked."
            messages.success(request, words)
            return redirect("admin:mails_apikey_changelist")
        return self._confirm(
            request,
            key,
            title=f"Revoke API key {key.name}?",
            sentences=[
                "Requests with this key will get 401. This cannot be undone.",
                f"Existing emails are not affected. {_describe_use(key)}",
            ],
            button="Revoke the key",
        )

    def rotate_view(self, request: HttpRequest, key_id: int) -> HttpResponse:
        """Replace a key by a new one; the old one stays valid for the chosen time."""
        key = self._get_key(request, key_id)
        if missing := grants.find_missing_for_rotation(request.user, key):
            raise PermissionDenied(
                _describe_refusal("The new key would let you do more than you are allowed to", missing)
            )
        if request.method == "POST":
            hours = request.POST.get("overlap", "")
            if hours not in dict(OVERLAPS):
                raise Http404
            try:
                made, text = api_keys.rotate(key, dt.timedelta(hours=int(hours)), by=audit.get_person(request))
            except api_keys.KeyNotUsable as error:
                messages.error(request, str(error))
                return redirect("admin:mails_apikey_changelist")
            _keep_for_next_page(request, made, text)
            messages.success(request, f"API key {key.name} was rotated.")
            return redirect("admin:mails_apikey_change", made.pk)
        return self._confirm(
            request,
            key,
            title=f"Rotate API key {key.name}?",
            sentences=[
                "A new key is created and shown once on the next page. Name, emails, scopes and senders do not change.",
                f"The old key stays valid for the time you choose. {_describe_use(key)}",
            ],
            button="Rotate the key",
            choices=OVERLAPS,
        )

    def _get_key(self, request: HttpRequest, key_id: int) -> ApiKey:
        if not self.has_change_permission(request):
            raise PermissionDenied
        key = ApiKey.objects.filter(pk=key_id, revoked_at__isnull=True).first()
        if key is None:
            raise Http404("No such API key, or it was revoked.")
        return key

    def _confirm(
        self,
        request: HttpRequest,
        key: ApiKey,
        *,
        title: str,
        sentences: list[str],
        button: str,
        choices: tuple[tuple[str, str], ...] = (),
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "trail": [
                ("API keys", reverse("admin:mails_apikey_changelist")),
                (key.name, reverse("admin:mails_apikey_change", args=[key.pk])),
            ],
            "sentences": sentences,
            "button": button,
            "choices_label": "Keep the old key valid for",
            "choices_name": "overlap",
            "choices": choices,
            "back": reverse("admin:mails_apikey_change", args=[key.pk]),
        }
        return TemplateResponse(request, "admin/confirm.html", context)


def _describe_refusal(what: str, missing: list[str]) -> str:
    return f"{what}: {'; '.join(missing)}. Ask a superuser."


def _state(key: ApiKey) -> dict[str, str]:
    now = timezone.now()
    if key.revoked_at:
        return {"word": "Revoked", "tone": "neutral", "icon": "ban"}
    if key.expires_at and key.expires_at <= now:
        return {"word": "Expired", "tone": "bad", "icon": "cross"}
    if key.last_used_at is None:
        return {"word": "Never used", "tone": "waiting", "icon": "clock"}
    return {"word": "Active", "tone": "ok", "icon": "tick"}


def _describe_use(key: ApiKey) -> str:
    return f"Last used {key.last_used_at:%d %b %Y %H:%M} UTC." if key.last_used_at else "It was never used."


def _choose_example_sender(key: ApiKey | None) -> str:
    """Return an allowed sender of the key, so that the pasted command works."""
    senders = key.senders if key else []
    first = next((sender for sender in senders if not sender.startswith(("@", "*"))), "")
    domain = next((sender for sender in senders if sender.startswith("@")), "@example.com")
    return first or f"mercury{domain}"


def _keep_for_next_page(request: HttpRequest, key: ApiKey, text: str) -> None:
    request.session[_SESSION_KEY] = {"key": key.pk, "text": encryption.encrypt(text)}


def _pop_shown_once(request: HttpRequest, key: ApiKey | None) -> str:
    """Return the key that was just created, and forget it, so that a reload does not show it again."""
    kept = request.session.get(_SESSION_KEY)
    if key is None or not kept or kept["key"] != key.pk:
        return ""
    del request.session[_SESSION_KEY]
    return encryption.decrypt(kept["text"])
