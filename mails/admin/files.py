"""Uploaded files: the list of them, one with the emails that use it, and the page that removes one."""

import uuid
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from mails.files import usage
from mails.files.usage import FileInUse
from mails.models import StoredFile
from mails.models.querysets import StoredFileQuerySet
from mercury.lib.audit import log as audit
from mercury.lib.audit.models import Act
from mercury.lib.durations import format_size
from mercury.lib.guarded_admin import GuardedAdmin, ReadOnlyMixin
from mercury.lib.mail.printable import replace_unprintable


class UsageFilter(admin.SimpleListFilter):
    """Files that emails use, those that none uses, and those that have not arrived as a whole."""

    title = "use"
    parameter_name = "used"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the choices."""
        return [("yes", "Used"), ("no", "Not used"), ("incomplete", "Not complete")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[StoredFile]) -> QuerySet[StoredFile]:
        """Return the files of the choice."""
        conditions = {
            "yes": {"is_used": True},
            "no": {"is_used": False, "content__isnull": False},
            "incomplete": {"content__isnull": True},
        }
        return queryset.filter(**conditions.get(self.value() or "", {}))


@admin.register(StoredFile)
class StoredFileAdmin(ReadOnlyMixin, GuardedAdmin):
    """Uploaded files, newest first. One is removed only while no email uses it."""

    empty_sentence = (
        "A file appears here when an application or a person uploads it, before the email that uses it is sent."
    )
    audits_itself = True
    list_display = ("file", "size_in_words", "content_type", "who", "used", "uploaded", "expires", "removal")
    list_filter = (UsageFilter,)
    search_fields = ("filename", "content__sha256", "api_key__name", "user__username")
    ordering = ("-id",)
    list_select_related = ("api_key", "user")
    show_full_result_count = False
    fields = ("file", "size_in_words", "content_type", "who", "sha256", "uploaded", "expires", "emails", "removal")
    readonly_fields = fields

    def has_view_permission(self, request: HttpRequest, obj: StoredFile | None = None) -> bool:
        """Return True for people who may see emails."""
        return bool(request.user.has_perm("mails.view_mail"))

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Return True for people who may see emails."""
        return self.has_view_permission(request)

    def get_queryset(self, request: HttpRequest) -> StoredFileQuerySet:
        """Return the files, each with whether an email uses it."""
        return usage.annotate(StoredFile.objects.order_by("-id"))

    @admin.display(description="file", ordering="filename")
    def file(self, file: StoredFile) -> str:
        """Return its name."""
        return replace_unprintable(file.filename)

    @admin.display(description="size", ordering="size")
    def size_in_words(self, file: StoredFile) -> str:
        """Return its size, and what of it has arrived."""
        size = format_size(file.size)
        return size if file.received == file.size else f"{format_size(file.received)} of {size}"

    @admin.display(description="uploaded by")
    def who(self, file: StoredFile) -> str:
        """Return the name of its client."""
        return replace_unprintable(file.owner)

    @admin.display(description="used", boolean=False)
    def used(self, file: StoredFile) -> str:
        """Return whether an email uses it."""
        return "Yes" if file.is_used else "No"  # type: ignore[attr-defined]  # annotated

    @admin.display(description="uploaded", ordering="created_at")
    def uploaded(self, file: StoredFile) -> str:
        """Return when its upload began, with the time zone."""
        return f"{file.created_at:%Y-%m-%d %H:%M} UTC"

    @admin.display(description="expires", ordering="expires_at")
    def expires(self, file: StoredFile) -> str:
        """Return when it expires, with the time zone."""
        return f"{file.expires_at:%Y-%m-%d %H:%M} UTC"

    @admin.display(description="SHA-256")
    def sha256(self, file: StoredFile) -> str:
        """Return the hash of its content."""
        return file.content_id or "not complete"

    @admin.display(description="emails that use it")
    def emails(self, file: StoredFile) -> SafeString | str:
        """Return links to the newest of them."""
        found = usage.list_emails(file)
        rows = ((reverse("admin:mails_mail_change", args=[mail_id]), mail_id) for mail_id in found)
        return format_html_join("\n", '<p><a href="{}">{}</a></p>', rows) or "None"

    @admin.display(description="action")
    def removal(self, file: StoredFile) -> SafeString | str:
        """Return the button that leads to the page that removes it."""
        if file.is_used:  # type: ignore[attr-defined]  # annotated
            return "–"
        page = reverse("admin:mails_storedfile_remove", args=[file.pk])
        return format_html('<a class="button small" href="{}">Remove</a>', page)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show Django's list under Mercury's title."""
        return super().changelist_view(request, {"title": "Uploaded files", **(extra_context or {})})

    def get_urls(self) -> list[URLPattern]:
        """Return Django's pages, and the page that removes."""
        remove = self.admin_site.admin_view(self.remove_view)
        return [path("<uuid:file_id>/remove/", remove, name="mails_storedfile_remove"), *super().get_urls()]

    def remove_view(self, request: HttpRequest, file_id: uuid.UUID) -> HttpResponse:
        """Remove a file after confirmation, unless an email uses it."""
        if not request.user.has_perms(["mails.view_mail", "mails.change_mail"]):
            raise PermissionDenied
        file = self.get_queryset(request).select_related("api_key", "user").filter(pk=file_id).first()
        if file is None:
            raise Http404("No such uploaded file.")
        name, back = replace_unprintable(file.filename), reverse("admin:mails_storedfile_changelist")
        if request.method == "POST" or file.is_used:  # type: ignore[attr-defined]  # annotated
            self._remove(request, file, name)
            return redirect(back)
        context = {
            **self.admin_site.each_context(request),
            "title": f"Remove {name}?",
            "trail": [("Uploaded files", back)],
            "sentences": [
                f"{name} ({self.size_in_words(file)}) was uploaded by {self.who(file)}, who can no longer refer to it.",
                "No email uses it. Its content is deleted, unless another upload has the same.",
            ],
            "button": "Remove the file",
            "back": back,
        }
        return TemplateResponse(request, "admin/confirm.html", context)

    def _remove(self, request: HttpRequest, file: StoredFile, name: str) -> None:
        try:
            removed = usage.remove([file.pk])
        except FileInUse as error:
            messages.warning(request, replace_unprintable(str(error)))
            return
        if removed:
            audit.record(Act.DELETE, by=audit.get_person(request), kind="uploaded file", name=name, object_id=file.pk)
        messages.success(request, f"{name} was removed.")
