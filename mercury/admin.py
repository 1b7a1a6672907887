"""django-rq's pages, which it puts into the admin by itself, with Mercury's guard before them."""

from django.contrib import admin
from django.urls import URLPattern
from django_rq.admin import QueueAdmin
from django_rq.models import Dashboard

from mercury.views import guarded_queues


class QueuesAdmin(QueueAdmin):
    """The pages below `/admin/django_rq/dashboard/`."""

    def get_urls(self) -> list[URLPattern]:
        """django-rq's, for superusers."""
        return guarded_queues(super().get_urls())  # type: ignore[no-untyped-call]


admin.site.unregister([Dashboard])
admin.site.register(Dashboard, QueuesAdmin)
