"""People: Django's users, with the addresses that each may send as."""

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User

from mails.models import SenderPermission


class SenderPermissionInline(admin.StackedInline):  # type: ignore[type-arg]  # not generic at run time
    """The addresses a person may send as with the form."""

    model = SenderPermission
    extra = 1
    verbose_name = "address this person may send as"
    verbose_name_plural = "Sender permissions: addresses this person may send as (@example.com for a domain, * for any)"


class PersonAdmin(UserAdmin):  # type: ignore[type-arg]  # not generic at run time
    """Django's user pages and the sender permissions.

    Plain selections and dates to read only: Django's richer widgets lack the labels that screen readers need.
    """

    filter_horizontal = ()
    readonly_fields = ("last_login", "date_joined")

    inlines = (SenderPermissionInline,)


class TeamAdmin(GroupAdmin):
    """Django's group pages, with a plain selection for the same reason."""

    filter_horizontal = ()


admin.site.unregister([User, Group])
admin.site.register(Group, TeamAdmin)
admin.site.register(User, PersonAdmin)
