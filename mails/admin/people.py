"""People: Django's users, with the addresses that each may send as. Nobody grants what they lack."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, Permission, User
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest

from mails.access import api_keys, grants
from mails.models import SenderPermission
from mercury.lib.guarded_admin import GuardedAdmin

_BEFORE = "_rights_before"  # on the request, between the save and its record


class SenderPermissionForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    """One address."""

    person: Any = None  # who grants it; set on a subclass for each request

    class Meta:
        model = SenderPermission
        fields = ("address",)

    def clean_address(self) -> str:
        """An address as it can be used, that the person who grants it may send as."""
        address = str(self.cleaned_data["address"])
        if "address" not in self.changed_data:
            return address
        try:
            api_keys.normalize_sender(address)
        except ValueError as error:
            raise forms.ValidationError(str(error)) from error
        if grants.find_uncovered_senders(self.person, [address]):
            raise forms.ValidationError(
                f"You cannot grant what you lack: you may not send as {address} yourself. Ask a superuser."
            )
        return address


class SenderPermissionInline(admin.StackedInline):  # type: ignore[type-arg]  # not generic at run time
    """The addresses a person may send as with the form."""

    model = SenderPermission
    form = SenderPermissionForm
    extra = 1
    verbose_name = "address this person may send as"
    verbose_name_plural = "Sender permissions: addresses this person may send as (@example.com for a domain, * for any)"

    def get_formset(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        """The forms, which know who fills them in."""
        form = type("SenderPermissionForm", (SenderPermissionForm,), {"person": request.user})
        return super().get_formset(request, obj, form=form, **kwargs)


class GrantingAdmin(GuardedAdmin):
    """What pages of people and of groups share: rows of those who may do more than oneself are only read."""

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return False for who may do more than the person that asks: a new password would make them that one."""
        return super().has_change_permission(request, obj) and not _is_above(obj, request.user)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """The same."""
        return super().has_delete_permission(request, obj) and not _is_above(obj, request.user)

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Offer, and take, only what the person holds."""
        if not request.user.is_superuser:
            if db_field.related_model is Permission:
                kwargs["queryset"] = _held(request.user)
            elif db_field.related_model is Group:
                more = Permission.objects.exclude(pk__in=_held(request.user).values("pk"))
                kwargs["queryset"] = Group.objects.exclude(permissions__in=more)
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Look at the rights before they are changed, for the record."""
        setattr(request, _BEFORE, _rights(type(obj).objects.get(pk=obj.pk)) if change else {})
        super().save_model(request, obj, form, change)

    def audit_detail(self, request: HttpRequest, obj: Any) -> str:
        """Each right before and after."""
        before, after = getattr(request, _BEFORE, None), _rights(obj)
        if before is None:  # a new password
            return ""
        changed = [name for name in after if before.get(name, "none") != after[name]]
        return "; ".join(f"{name}: {before.get(name, 'none')} → {after[name]}" for name in changed)


class PersonAdmin(GrantingAdmin, UserAdmin):  # type: ignore[type-arg]  # not generic at run time
    """Django's user pages and the sender permissions.

    Plain selections and dates to read only: Django's richer widgets lack the labels that screen readers need.
    """

    audit_kind = "person"
    filter_horizontal = ()

    inlines = (SenderPermissionInline,)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """The dates; and only a superuser makes superusers."""
        dates = ("last_login", "date_joined")
        return dates if request.user.is_superuser else (*dates, "is_superuser")


class TeamAdmin(GrantingAdmin, GroupAdmin):  # type: ignore[misc]  # the stubs narrow one signature
    """Django's group pages, with a plain selection for the same reason."""

    filter_horizontal = ()


def _is_above(obj: Any, person: Any) -> bool:
    """Return True if the person or group `obj` holds something that `person` lacks."""
    if obj is None or person.is_superuser:
        return False
    if isinstance(obj, User):
        if obj.is_superuser or grants.find_uncovered_senders(person, grants.list_senders(obj)):
            return True
        held_by_obj = Permission.objects.filter(Q(user=obj) | Q(group__user=obj))
    else:
        held_by_obj = obj.permissions.all()
    return held_by_obj.exclude(pk__in=_held(person).values("pk")).exists()


def _held(person: Any) -> QuerySet[Permission]:
    return Permission.objects.filter(Q(user=person) | Q(group__user=person)).distinct()


def _rights(obj: Any) -> dict[str, str]:
    """What the person or group may do, in words."""
    if isinstance(obj, User):
        marks: dict[str, Callable[[], object]] = {
            "active": lambda: obj.is_active,
            "staff": lambda: obj.is_staff,
            "superuser": lambda: obj.is_superuser,
            "groups": lambda: _names(obj.groups.all(), "name"),
            "permissions": lambda: _names(obj.user_permissions.all(), "codename"),
            "senders": lambda: _names(obj.sender_permissions.all(), "address"),
        }
    else:
        marks = {"permissions": lambda: _names(obj.permissions.all(), "codename")}
    return {name: _word(read()) for name, read in marks.items()}


def _names(rows: QuerySet[Model], field: str) -> str:
    return ", ".join(sorted(rows.values_list(field, flat=True)))


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) or "none"


admin.site.unregister([User, Group])
admin.site.register(Group, TeamAdmin)
admin.site.register(User, PersonAdmin)
