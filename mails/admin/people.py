"""People: Django's users, with the addresses that each may send as."""

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import User

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


admin.site.unregister(User)
admin.site.register(User, PersonAdmin)
