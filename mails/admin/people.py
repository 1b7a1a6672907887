"""Users and groups, with the addresses that each user may send as. Users cannot grant what they lack."""

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
    """Validate one allowed sender address."""

    person: Any = None  # who grants it; set on a subclass for each request

    class Meta:
        model = SenderPermission
        fields = ("address",)

    def clean_address(self) -> str:
        """Return the address; refuse an invalid one, and one that the granting user may not send as."""
        address = str(self.cleaned_data["address"])
        if "address" not in self.changed_data:
            return address
        try:
            api_keys.normalize_sender(address)
        except ValueError as error:
            raise forms.ValidationError(str(error)) from error
        if grants.find_uncovered_senders(self.person, [address]):
            raise forms.ValidationError(
                f"You cannot grant {address}: you may not send as it yourself. Ask a superuser."
            )
        return address


class SenderPermissionInline(admin.StackedInline):  # type: ignore[type-arg]  # not generic at run time
    """Sender addresses of a user, edited with the user."""

    model = SenderPermission
    form = SenderPermissionForm
    extra = 1
    verbose_name = "address this person may send as"
    verbose_name_plural = "Sender permissions: addresses this person may send as (@example.com for a domain, * for any)"

    def get_formset(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        """Return the formset with the signed-in user."""
        form = type("SenderPermissionForm", (SenderPermissionForm,), {"person": request.user})
        return super().get_formset(request, obj, form=form, **kwargs)


class PermissionGuardedAdmin(GuardedAdmin):
    """Base of the pages of users and groups: those with more permissions than the viewer are read-only."""

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return False for a user with more permissions: setting a password would allow to sign in as that user."""
        return super().has_change_permission(request, obj) and not _is_above(obj, request.user)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return False for a user or group with more permissions than the viewer."""
        return super().has_delete_permission(request, obj) and not _is_above(obj, request.user)

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Offer and accept only permissions that the signed-in user has."""
        if not request.user.is_superuser:
            if db_field.related_model is Permission:
                kwargs["queryset"] = _list_held_permissions(request.user)
            elif db_field.related_model is Group:
                more = Permission.objects.exclude(pk__in=_list_held_permissions(request.user).values("pk"))
                kwargs["queryset"] = Group.objects.exclude(permissions__in=more)
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Remember the permissions before the change, for the audit log."""
        setattr(request, _BEFORE, _list_rights(type(obj).objects.get(pk=obj.pk)) if change else {})
        super().save_model(request, obj, form, change)

    def get_audit_detail(self, request: HttpRequest, obj: Any) -> str:
        """Return each changed permission, before and after."""
        before, after = getattr(request, _BEFORE, None), _list_rights(obj)
        if before is None:  # a new password
            return ""
        changed = [name for name in after if before.get(name, "none") != after[name]]
        return "; ".join(f"{name}: {before.get(name, 'none')} → {after[name]}" for name in changed)


class MercuryUserAdmin(PermissionGuardedAdmin, UserAdmin):  # type: ignore[type-arg]  # not generic at run time
    """Django's user pages and the sender permissions.

    Plain selections and dates to read only: Django's richer widgets lack the labels that screen readers need.
    """

    audit_kind = "person"
    filter_horizontal = ()

    inlines = (SenderPermissionInline,)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Return the dates; only a superuser can make superusers."""
        dates = ("last_login", "date_joined")
        return dates if request.user.is_superuser else (*dates, "is_superuser")


class MercuryGroupAdmin(PermissionGuardedAdmin, GroupAdmin):  # type: ignore[misc]  # the stubs narrow one signature
    """Django's group pages, with a plain selection for the same reason."""

    empty_sentence = (
        "A group gives all its users the same permissions: add one, then select it on the page of each of its users."
    )
    filter_horizontal = ()


def _is_above(obj: Any, person: Any) -> bool:
    """Return True if the user or group `obj` has a permission that `person` lacks."""
    if obj is None or person.is_superuser:
        return False
    if isinstance(obj, User):
        if obj.is_superuser or grants.find_uncovered_senders(person, grants.list_senders(obj)):
            return True
        held_by_obj = Permission.objects.filter(Q(user=obj) | Q(group__user=obj))
    else:
        held_by_obj = obj.permissions.all()
    return held_by_obj.exclude(pk__in=_list_held_permissions(person).values("pk")).exists()


def _list_held_permissions(person: Any) -> QuerySet[Permission]:
    return Permission.objects.filter(Q(user=person) | Q(group__user=person)).distinct()


def _list_rights(obj: Any) -> dict[str, str]:
    """Return what the user or group may do, in words."""
    if isinstance(obj, User):
        marks: dict[str, Callable[[], object]] = {
            "active": lambda: obj.is_active,
            "staff": lambda: obj.is_staff,
            "superuser": lambda: obj.is_superuser,
            "groups": lambda: _join_names(obj.groups.all(), "name"),
            "permissions": lambda: _join_names(obj.user_permissions.all(), "codename"),
            "senders": lambda: _join_names(obj.sender_permissions.all(), "address"),
        }
    else:
        marks = {"permissions": lambda: _join_names(obj.permissions.all(), "codename")}
    return {name: _format_value(read()) for name, read in marks.items()}


def _join_names(rows: QuerySet[Model], field: str) -> str:
    return ", ".join(sorted(rows.values_list(field, flat=True)))


def _format_value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) or "none"


admin.site.unregister([User, Group])
admin.site.register(Group, MercuryGroupAdmin)
admin.site.register(User, MercuryUserAdmin)
