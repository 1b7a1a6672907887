"""The browsable API: Django REST framework's pages, with a path that names each page once and code shown as code."""

import re
from typing import Any

from django.utils.safestring import mark_safe
from rest_framework.renderers import BrowsableAPIRenderer

_CODE = re.compile(r"`([^`<>]+)`")


class ApiPageRenderer(BrowsableAPIRenderer):
    """Renders the pages of the API."""

    def get_breadcrumbs(self, request: Any) -> list[tuple[str, str]]:
        """Return names and URLs of the pages above. A collection answers with and without a slash, and is one page."""
        pages: dict[str, tuple[str, str]] = {}
        for name, url in super().get_breadcrumbs(request):
            pages[url.rstrip("/")] = (name, url)  # the later one, with the slash, is the canonical one
        return list(pages.values())

    def get_description(self, view: Any, status_code: int) -> str:
        """Return the description of a page as HTML, of which Django REST framework has escaped the text."""
        return mark_safe(_CODE.sub(r"<code>\1</code>", super().get_description(view, status_code)))  # noqa: S308
