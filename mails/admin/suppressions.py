"""The suppression list: add, remove, import with a preview, export."""

import datetime as dt
import tempfile
import uuid
from typing import Any, BinaryIO, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from mails.files import storage, uploads
from mails.files.uploads import Owner, UploadRefused
from mails.models import StoredFile, Suppression
from mails.states import SuppressionReason
from mails.suppression import csv_export, csv_import, entries, rules
from mails.suppression.csv_columns import COLUMNS, EXPORTED_ONLY, MEDIA_TYPE
from mails.suppression.csv_import import ImportReport
from mails.suppression.rules import InvalidEntry, NewEntry
from mercury.lib.audit import log as audit
from mercury.lib.database import database_clock
from mercury.lib.guarded_admin import GuardedAdmin
from mercury.lib.mail.printable import replace_unprintable
from mercury.lib.storages.errors import FileMissing

REMOVED_AT_ONCE = 1000
_FORM_FIELDS = {"expires": "expires_at"}  # of the rules -> of the form


class SuppressionForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    """An entry to be added."""

    scope = forms.CharField(
        required=False, max_length=255, help_text="A sender domain, such as olimpus.com. Empty: email from anybody."
    )
    reason = forms.ChoiceField(choices=SuppressionReason.choices, initial=SuppressionReason.MANUAL)
    detail = forms.CharField(required=False, max_length=rules.MAX_DETAIL, help_text="Why, in words.")
    expires_at = forms.DateTimeField(
        required=False,
        label="Expires",
        widget=forms.DateTimeInput(format="%Y-%m-%dT%H:%M", attrs={"type": "datetime-local"}),
        help_text="UTC. Empty: never.",
    )
    entry: NewEntry

    class Meta:
        model = Suppression
        fields = ("address", "scope", "reason", "detail", "expires_at")
        help_texts = {"address": "One email address."}

    def clean(self) -> dict[str, Any]:
        """Check the entry by the rules of all doors. One that is on the list already is replaced, so it is no error."""
        data = self.cleaned_data
        expires: dt.datetime | None = data.get("expires_at")
        texts = {name: data.get(name) or "" for name in ("address", "scope", "reason", "detail")}
        try:
            self.entry = rules.parse_for_adding(
                texts | {"expires": expires.isoformat() if expires else ""}, database_clock.now()
            )
        except InvalidEntry as invalid:
            for name, text in invalid.errors.items():
                if _FORM_FIELDS.get(name, name) not in self.errors:
                    self.add_error(_FORM_FIELDS.get(name, name), text)
        return data


@admin.register(Suppression)
class SuppressionAdmin(GuardedAdmin):
    """Entries of the list, newest first. One is added and removed, never edited: adding it again replaces it."""

    empty_sentence = "An address that you add or import here gets no email: from anybody, or from one sender domain."
    form = SuppressionForm
    audits_itself = True
    list_display = ("address", "email_from", "reason", "words", "added_by", "since", "expires", "email", "remove")
    list_display_links = None
    list_filter = ("reason",)
    search_fields = ("address", "scope")
    ordering = ("-id",)
    actions = ("remove_selected",)
    show_full_result_count = False
    change_list_template = "admin/mails/suppression/change_list.html"

    def has_change_permission(self, request: HttpRequest, obj: Suppression | None = None) -> bool:
        """Return False: add it again to replace it."""
        return False

    @admin.display(description="for email from", ordering="scope")
    def email_from(self, entry: Suppression) -> str:
        """Return the sender domain that it is for."""
        return entry.scope or "anybody"

    @admin.display(description="detail")
    def words(self, entry: Suppression) -> str:
        """Return its detail."""
        return replace_unprintable(entry.detail) or "–"

    @admin.display(description="source", ordering="source")
    def added_by(self, entry: Suppression) -> str:
        """Return who added it."""
        return replace_unprintable(entry.who)

    @admin.display(description="since", ordering="created_at")
    def since(self, entry: Suppression) -> str:
        """Return since when it holds."""
        return f"{entry.created_at:%Y-%m-%d %H:%M} UTC"

    @admin.display(description="expires", ordering="expires_at")
    def expires(self, entry: Suppression) -> str:
        """Return until when it holds."""
        return f"{entry.expires_at:%Y-%m-%d %H:%M} UTC" if entry.expires_at else "never"

    @admin.display(description="caused by")
    def email(self, entry: Suppression) -> SafeString | str:
        """Return a link to the email that caused it."""
        if entry.mail_id is None:
            return "–"
        return format_html('<a href="{}">Email</a>', reverse("admin:mails_mail_change", args=[entry.mail_id]))

    @admin.display(description="action")
    def remove(self, entry: Suppression) -> SafeString:
        """Return the button that leads to the page that removes it."""
        page = reverse("admin:mails_suppression_delete", args=[entry.pk])
        return format_html('<a class="button small" href="{}">Remove</a>', page)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search in small letters, as addresses are stored."""
        return super().get_search_results(request, queryset, search_term.lower())

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show Django's list under Mercury's title."""
        return super().changelist_view(request, {"title": "Suppressions", **(extra_context or {})})

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show Django's form under Mercury's title."""
        return super().add_view(request, form_url, {"title": "Suppress an address", **(extra_context or {})})

    def save_model(self, request: HttpRequest, obj: Suppression, form: Any, change: bool) -> None:
        """Add the entry, or replace the one of the same address and scope."""
        entry: NewEntry = form.entry
        entries.put([entry], source=audit.get_person(request))
        stored = Suppression.objects.get(address=entry.address, scope=entry.scope)
        obj.pk, obj.address = stored.pk, stored.address

    def delete_model(self, request: HttpRequest, obj: Suppression) -> None:
        """Remove an entry."""
        entries.remove([obj], by=audit.get_person(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Suppression]) -> None:
        """Remove some entries."""
        entries.remove(list(queryset), by=audit.get_person(request))

    @admin.action(description="Remove selected suppressions", permissions=["delete"])
    def remove_selected(self, request: HttpRequest, queryset: QuerySet[Suppression]) -> HttpResponse | None:
        """Remove the selected entries after confirmation."""
        if queryset.count() > REMOVED_AT_ONCE:
            messages.error(request, f"At most {REMOVED_AT_ONCE:,} entries are removed at once. Narrow the list.")
            return None
        return delete_selected(self, request, queryset)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Return the action above in place of Django's, which would load a million entries."""
        found: dict[str, Any] = super().get_actions(request)
        if request.POST.get("action") != "delete_selected" or "post" not in request.POST:
            found.pop("delete_selected", None)  # its confirmation page posts this name
        return found

    def get_urls(self) -> list[URLPattern]:
        """Return Django's pages, import and export."""
        wrap = self.admin_site.admin_view
        return [
            path("import/", wrap(self.import_view), name="mails_suppression_import"),
            path("export/", wrap(self.export_view), name="mails_suppression_export"),
            *super().get_urls(),
        ]

    def export_view(self, request: HttpRequest) -> HttpResponseBase:
        """Stream the entries that the list shows, or all, as CSV."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        rows, _ = self.get_search_results(request, Suppression.objects.all(), request.GET.get("q", ""))
        if reason := request.GET.get("reason__exact"):
            rows = rows.filter(reason=reason)
        name = f"suppressions-{database_clock.now():%Y-%m-%d-%H%M}.csv"
        return StreamingHttpResponse(
            csv_export.export(rows),
            content_type=f"{MEDIA_TYPE}; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"},
        )

    def import_view(self, request: HttpRequest) -> HttpResponse:
        """Upload a file, show what its import would do, and import it. The file waits among the person's uploads."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return self._show_import(request)
        if text := request.POST.get("upload"):
            return self._import(request, text)
        try:
            file = _receive(request)
        except UploadRefused as refused:
            return self._show_import(request, problem=str(refused))
        report = _run(file, request, dry_run=True)
        if report.invalid:
            uploads.delete(file)
            return self._show_import(request, report=report)
        return self._show_import(request, report=report, upload=file)

    def _import(self, request: HttpRequest, text: str) -> HttpResponse:
        try:
            file = uploads.list_own(_get_owner(request)).filter(pk=uuid.UUID(text), content__isnull=False).first()
        except ValueError:
            file = None
        if file is None:
            return self._show_import(request, problem="The file is gone. Choose it again.")
        report = _run(file, request)
        uploads.delete(file)
        if report.invalid:
            return self._show_import(request, report=report)
        messages.success(
            request, f"Imported: {report.added:,} added, {report.updated:,} updated, {report.skipped:,} skipped."
        )
        return redirect("admin:mails_suppression_changelist")

    def _show_import(
        self,
        request: HttpRequest,
        *,
        report: ImportReport | None = None,
        upload: StoredFile | None = None,
        problem: str = "",
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": "Import suppressions",
            "report": report,
            "upload": upload,
            "problem": problem,
            "columns": [name for name in COLUMNS if name not in EXPORTED_ONLY],
        }
        status = 400 if problem or (report and report.invalid) else 200
        return TemplateResponse(request, "admin/mails/suppression/import.html", context, status=status)


def _get_owner(request: HttpRequest) -> Owner:
    return Owner(user=request.user)


def _receive(request: HttpRequest) -> StoredFile:
    """Return the uploaded file. Raises UploadRefused."""
    given = request.FILES.get("file")
    if given is None:
        raise UploadRefused("no_file", "Choose a CSV file.")
    return uploads.receive(
        given.read, filename=given.name or "", declared=MEDIA_TYPE, size=given.size, owner=_get_owner(request)
    )


def _run(file: StoredFile, request: HttpRequest, *, dry_run: bool = False) -> ImportReport:
    """Import the file. It is copied to the disk first: a storage far away is read once, and by bytes alone."""
    assert file.content is not None  # noqa: S101 (it was received)
    with tempfile.TemporaryFile() as copy:
        try:
            for chunk in storage.iterate(file.content.location):
                copy.write(chunk)
        except FileMissing:
            return ImportReport(
                invalid=1, errors=[csv_import.LineError(line=1, column="", detail="The file is gone. Choose it again.")]
            )
        copy.seek(0)
        return csv_import.import_csv(cast(BinaryIO, copy), source=audit.get_person(request), dry_run=dry_run)
