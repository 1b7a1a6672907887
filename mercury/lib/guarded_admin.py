"""Restrictions of Django's admin for every model: lookups in the address, long searches, acts without a record."""

from collections.abc import Iterable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import get_fields_from_path
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from mercury.lib.audit import log
from mercury.lib.audit.models import Act

MAX_SEARCH_WORDS = 10
_DATE_PARTS = ("year", "month", "day")


class GuardedAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not generic at run time
    """The base of every admin page of a model, Mercury's own and those of other apps.

    Django answers any lookup on the model's own fields, so `?secret_hash__regex=…` reads a column that no page shows, digit
    by digit. Here only what `list_filter` and `date_hierarchy` declare is answered; the rest is a 400.
    """

    audit_kind = ""  # what the audit log calls an object; empty: the model's name
    empty_sentence = ""  # what appears in the list and how it comes about, shown while there is nothing
    audits_itself = False  # True: the functions that the pages call record the act, with more detail

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        """Return True for the parameters of the filters that this page declares."""
        return request is not None and lookup in self._list_declared_lookups(request)

    def _list_declared_lookups(self, request: HttpRequest) -> set[str]:
        dates = {f"{self.date_hierarchy}__{part}" for part in _DATE_PARTS} if self.date_hierarchy else set()
        return dates.union(*(self._list_parameters(declared, request) for declared in self.get_list_filter(request)))

    def _list_parameters(self, declared: Any, request: HttpRequest) -> Iterable[str]:
        if isinstance(declared, type) and issubclass(declared, admin.SimpleListFilter):
            return [declared.parameter_name or ""]
        name, make = declared if isinstance(declared, list | tuple) else (declared, admin.FieldListFilter.create)
        field = get_fields_from_path(self.model, name)[-1]
        # The class that makes the filter is asked, so that a filter of another kind needs no line here.
        found = make(field, request, {}, self.model, self, field_path=name)
        return [parameter for parameter in found.expected_parameters() if parameter]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Model], search_term: str
    ) -> tuple[QuerySet[Model], bool]:
        """Search for ten words at most: each is one more pass over the table."""
        words = search_term.split()
        if len(words) > MAX_SEARCH_WORDS:
            messages.warning(request, f"Only the first {MAX_SEARCH_WORDS} words were searched for.")
        return super().get_search_results(request, queryset, " ".join(words[:MAX_SEARCH_WORDS]))

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Record who added it, also in the audit log."""
        self._record_audit(request, Act.REGISTER, obj, self.get_audit_detail(request, obj))
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Record who changed what of it, also in the audit log."""
        entry = super().log_change(request, obj, message)
        words = LogEntry(change_message=entry.change_message).get_change_message() if entry else str(message)
        self._record_audit(
            request, Act.CHANGE, obj, " ".join(filter(None, (words, self.get_audit_detail(request, obj))))
        )
        return entry

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        """Record who deleted them, also in the audit log."""
        for obj in queryset:
            self._record_audit(request, Act.DELETE, obj, "")
        return super().log_deletions(request, queryset)

    def get_audit_detail(self, request: HttpRequest, obj: Any) -> str:
        """Return what the audit log says of an addition or a change beyond the names of the fields."""
        return ""

    def _record_audit(self, request: HttpRequest, act: Act, obj: Any, detail: str) -> None:
        if not self.audits_itself:
            kind = self.audit_kind or str(self.opts.verbose_name)
            log.record(act, by=log.get_person(request), kind=kind, name=str(obj), object_id=obj.pk, detail=detail)


class ReadOnlyMixin:
    """A record: pages that show it, and none that changes it."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Mercury writes it."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return False: it is a record of what was done."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return False: it is a record of what was done."""
        return False
