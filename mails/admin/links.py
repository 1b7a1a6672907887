"""Download links: the list of them, and the page that ends one."""

import uuid
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from mails.actions import downloads
from mails.files import links
from mails.files.links import LinkState
from mails.models import DownloadLink
from mercury.lib.audit import log as audit
from mercury.lib.audit.models import Act
from mercury.lib.database import database_clock
from mercury.lib.durations import format_size
from mercury.lib.guarded_admin import GuardedAdmin, ReadOnlyMixin
from mercury.lib.mail.printable import replace_unprintable

_BADGES = {
    LinkState.VALID: ("Valid", "ok", "tick"),
    LinkState.EXPIRED: ("Expired", "neutral", "clock"),
    LinkState.REVOKED: ("Revoked", "neutral", "ban"),
    LinkState.USED_UP: ("Used up", "waiting", "cross"),
    LinkState.REMOVED: ("Removed", "bad", "cross"),
}


@admin.register(DownloadLink)
class DownloadLinkAdmin(ReadOnlyMixin, GuardedAdmin):
    """Download links, newest first. One is revoked, never deleted or edited: its email tells what became of it."""

    empty_sentence = "A download link appears here when an email has a file that is too large to attach: its recipients get the link."
    audits_itself = True
    list_display = ("file", "state", "size_in_words", "downloads", "max_downloads", "expires", "email", "end")
    list_display_links = None
    search_fields = ("filename", "sha256")
    ordering = ("-id",)
    list_select_related = ("mail",)
    show_full_result_count = False

    def has_view_permission(self, request: HttpRequest, obj: DownloadLink | None = None) -> bool:
        """Return True for people who may see emails."""
        return bool(request.user.has_perm("mails.view_mail"))

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Return True for people who may see emails."""
        return self.has_view_permission(request)

    @admin.display(description="file", ordering="filename")
    def file(self, link: DownloadLink) -> str:
        """Return the name of the file."""
        return replace_unprintable(link.filename)

    @admin.display(description="state")
    def state(self, link: DownloadLink) -> SafeString:
        """Return the badge of its state."""
        word, tone, icon = _BADGES[links.get_state(link, database_clock.now())]
        return SafeString(render_to_string("_tone_badge.html", {"word": word, "tone": tone, "icon": icon}))

    @admin.display(description="size", ordering="size")
    def size_in_words(self, link: DownloadLink) -> str:
        """Return its size."""
        return format_size(link.size)

    @admin.display(description="expires", ordering="expires_at")
    def expires(self, link: DownloadLink) -> str:
        """Return when it expires, with the time zone."""
        return f"{link.expires_at:%Y-%m-%d %H:%M} UTC"

    @admin.display(description="email")
    def email(self, link: DownloadLink) -> SafeString:
        """Return a link to its email."""
        page = reverse("admin:mails_mail_change", args=[link.mail_id])
        return format_html('<a href="{}">{}</a>', page, replace_unprintable(link.mail.subject or "(no subject)"))

    @admin.display(description="action")
    def end(self, link: DownloadLink) -> SafeString | str:
        """Return the button that leads to the page that revokes it."""
        if not links.get_state(link, database_clock.now()).allows_resuming:
            return "–"
        page = reverse("admin:mails_downloadlink_revoke", args=[link.pk])
        return format_html('<a class="button small" href="{}">Revoke</a>', page)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show Django's list under Mercury's title."""
        return super().changelist_view(request, {"title": "Download links", **(extra_context or {})})

    def get_urls(self) -> list[URLPattern]:
        """Return Django's pages, and the page that revokes."""
        revoke = self.admin_site.admin_view(self.revoke_view)
        return [path("<uuid:link_id>/revoke/", revoke, name="mails_downloadlink_revoke"), *super().get_urls()]

    def revoke_view(self, request: HttpRequest, link_id: uuid.UUID) -> HttpResponse:
        """Revoke a link after confirmation."""
        if not request.user.has_perms(["mails.view_mail", "mails.change_mail"]):
            raise PermissionDenied
        link = DownloadLink.objects.filter(pk=link_id).first()
        if link is None:
            raise Http404("No such download link.")
        name, back = replace_unprintable(link.filename), reverse("admin:mails_downloadlink_changelist")
        if request.method == "POST":
            done = downloads.revoke_link(link, by=f"user:{request.user.get_username()}")
            if done:
                person = audit.get_person(request)
                audit.record(Act.REVOKE, by=person, kind="download link", name=name, object_id=link.pk)
            messages.success(request, f"The link to {name} {'was revoked' if done else 'had already ended'}.")
            return redirect(back)
        context = {
            **self.admin_site.each_context(request),
            "title": f"Revoke the download link to {name}?",
            "trail": [("Download links", back)],
            "sentences": [
                f"Nobody can download {name} ({format_size(link.size)}) any more. This cannot be undone.",
                "Downloads in progress cannot go on.",
                f"Downloads so far: {link.downloads}.",
                "The file is deleted, unless another email or upload uses it.",
            ],
            "button": "Revoke the link",
            "back": back,
        }
        return TemplateResponse(request, "admin/confirm.html", context)
