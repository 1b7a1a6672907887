"""All root URLs, on one screen."""

from django.contrib import admin
from django.contrib.auth import views as auth_views
from django.urls import include, path, re_path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularSwaggerSplitView

from mails.admin import actions, intake_streams, routing, stream_replay, streams
from mails.admin.webhooks import actions as webhook_actions
from mails.admin.webhooks import pages as webhook_pages
from mails.api.viewsets.deliveries import DeliveryViewSet
from mails.api.viewsets.event_feed import EventFeedViewSet
from mails.api.viewsets.events import EventViewSet
from mails.api.viewsets.files import FileViewSet
from mails.api.viewsets.links import LinkViewSet
from mails.api.viewsets.mails import MailViewSet
from mails.api.viewsets.queue_rules import QueueRuleViewSet
from mails.api.viewsets.rules import RoutePreviewViewSet, RoutingRuleViewSet
from mails.api.viewsets.stats import StatsViewSet
from mails.api.viewsets.suppressions import SuppressionViewSet
from mails.api.viewsets.webhooks import WebhookViewSet
from mails.web import downloads, part_views, submit_views
from mails.web import views as mail_views
from mercury import error_pages
from mercury.api_root import ApiRoot
from mercury.lib.rest.routers import Router
from mercury.login import LogIn
from mercury.observability import health, metrics
from mercury.openapi import OpenApiSchema
from providers.admin import sandbox
from providers.api.viewsets import AccountViewSet

router = Router()
router.register("mails", MailViewSet, basename="api-mail")
router.register("mails/(?P<mail_id>[^/]+)/events", EventViewSet, basename="api-event")
router.register("events", EventFeedViewSet, basename="api-feed")
router.register("files", FileViewSet, basename="api-file")
router.register("links", LinkViewSet, basename="api-link")
router.register("suppressions", SuppressionViewSet, basename="api-suppression")
router.register("webhooks", WebhookViewSet, basename="api-webhook")
router.register("webhooks/(?P<webhook_id>[^/]+)/deliveries", DeliveryViewSet, basename="api-delivery")
router.register("dispatcher/providers", AccountViewSet, basename="api-provider")
router.register("dispatcher/rules", RoutingRuleViewSet, basename="api-rule")
router.register("dispatcher/queue-rules", QueueRuleViewSet, basename="api-queue-rule")
router.register("dispatcher", RoutePreviewViewSet, basename="api-dispatcher")
router.register("stats", StatsViewSet, basename="api-stats")

root = ApiRoot.as_view(router=router)
api = [path("", root, name="api-root"), *router.urls, path("schema", OpenApiSchema.as_view(), name="schema")]

details = RedirectView.as_view(pattern_name="mail")  # where the prototype showed an email
urlpatterns = [
    path("api/v1.0/", include(api)),  # first, for Django tries one pattern after the other
    path("api/v1.0", root),
    path("", submit_views.submit, name="submit"),
    path("preview", submit_views.draft_preview, name="draft-preview"),
    path("preview/files/<uuid:file_id>/picture", submit_views.draft_picture, name="draft-picture"),
    path("mails/", mail_views.mail_list, name="mails"),
    path("mails/<uuid:mail_id>", mail_views.mail_page, name="mail"),
    path("mails/<uuid:mail_id>/cancel", mail_views.cancel, name="mail-cancel"),
    path("mails/<uuid:mail_id>/timeline", mail_views.mail_timeline, name="mail-timeline"),
    path("mails/<uuid:mail_id>/html", part_views.mail_html, name="mail-html"),
    path("mails/<uuid:mail_id>/message.eml", part_views.mail_source, name="mail-source"),
    path("mails/<uuid:mail_id>/files/<int:number>", part_views.mail_file, name="mail-file"),
    path("mails/<uuid:mail_id>/files/<int:number>/picture", part_views.mail_picture, name="mail-picture"),
    path("files/<str:token>", downloads.download_page, name="download"),
    path("files/<str:token>/<str:ticket>", downloads.download_file, name="download-file"),
    re_path(r"^details/mails/(?P<mail_id>[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})", details),
    path("login/", LogIn.as_view(), name="login"),
    path("logout/", auth_views.LogoutView.as_view(), name="logout"),
    path("api/docs/", SpectacularSwaggerSplitView.as_view(), name="api-docs"),
    path("health/live", health.check_live, name="health-live"),
    path("health/ready", health.check_ready, name="health-ready"),
    path("health/workers", health.check_workers, name="health-workers"),
    path("metrics", metrics.show_metrics, name="metrics"),
    path("admin/sandbox/", admin.site.admin_view(sandbox.inbox), name="sandbox"),
    path(
        "admin/sandbox/<slug:account>/failure-mode/",
        admin.site.admin_view(sandbox.set_failure_mode),
        name="sandbox-failure-mode",
    ),
    path("admin/sandbox/<slug:account>/clear/", admin.site.admin_view(sandbox.clear), name="sandbox-clear"),
    path("admin/sandbox/<slug:account>/<str:key>/", admin.site.admin_view(sandbox.message), name="sandbox-message"),
    path("admin/sandbox/<slug:account>/<str:key>/html", admin.site.admin_view(sandbox.message_html)),
    path("admin/sandbox/<slug:account>/<str:key>/message.eml", admin.site.admin_view(sandbox.message_source)),
    path("admin/sandbox/<slug:account>/<str:key>/files/<int:number>", admin.site.admin_view(sandbox.message_file)),
    path(
        "admin/sandbox/<slug:account>/<str:key>/files/<int:number>/picture",
        sandbox.message_picture,
        name="sandbox-picture",
    ),
    path("admin/routing/", admin.site.admin_view(routing.rules_page), name="routing"),
    path("admin/routing/add/", admin.site.admin_view(routing.add_page), name="routing-add"),
    path("admin/routing/<int:rule_id>/", admin.site.admin_view(routing.change_page), name="routing-change"),
    path("admin/routing/<int:rule_id>/remove/", admin.site.admin_view(routing.remove_page), name="routing-remove"),
    path("admin/routing/<int:rule_id>/<str:verb>/", admin.site.admin_view(routing.switch_view), name="routing-switch"),
    path("admin/streams/", admin.site.admin_view(streams.streams_page), name="streams"),
    path("admin/streams/figures/", admin.site.admin_view(streams.streams_figures), name="streams-figures"),
    path("admin/streams/events/<slug:name>/", admin.site.admin_view(streams.stream_page), name="stream"),
    path(
        "admin/streams/events/<slug:name>/replay/",
        admin.site.admin_view(stream_replay.replay_page),
        name="stream-replay",
    ),
    path(
        "admin/streams/submissions/<slug:name>/<str:verb>/",
        admin.site.admin_view(intake_streams.switch_page),
        name="intake-switch",
    ),
    path(
        "admin/streams/events/<slug:name>/<str:verb>/",
        admin.site.admin_view(streams.switch_page),
        name="stream-switch",
    ),
    path("admin/webhooks/", admin.site.admin_view(webhook_pages.list_page), name="webhooks"),
    path("admin/webhooks/add/", admin.site.admin_view(webhook_pages.add_page), name="webhooks-add"),
    path("admin/webhooks/<uuid:webhook_id>/", admin.site.admin_view(webhook_pages.webhook_page), name="webhook"),
    path(
        "admin/webhooks/<uuid:webhook_id>/change/",
        admin.site.admin_view(webhook_pages.change_page),
        name="webhook-change",
    ),
    path(
        "admin/webhooks/<uuid:webhook_id>/remove/",
        admin.site.admin_view(webhook_actions.remove_page),
        name="webhook-remove",
    ),
    path(
        "admin/webhooks/<uuid:webhook_id>/redeliver/",
        admin.site.admin_view(webhook_actions.period_page),
        name="webhook-period",
    ),
    path(
        "admin/webhooks/<uuid:webhook_id>/deliveries/<int:delivery_id>/",
        admin.site.admin_view(webhook_actions.delivery_page),
        name="webhook-delivery",
    ),
    path(
        "admin/webhooks/<uuid:webhook_id>/deliveries/<int:delivery_id>/redeliver/",
        admin.site.admin_view(webhook_actions.redeliver_page),
        name="webhook-redeliver",
    ),
    path(
        "admin/webhooks/<uuid:webhook_id>/<str:verb>/",
        admin.site.admin_view(webhook_actions.action_page),
        name="webhook-action",
    ),
    path("admin/sending/<str:verb>/", admin.site.admin_view(actions.sending_view), name="sending"),
    path("admin/queues/<str:name>/<str:verb>/", admin.site.admin_view(actions.queue_view), name="queue"),
    # Django's "view on site" fails on an invalid id; nothing uses it.
    path("admin/r/<path:rest>", error_pages.raise_not_found),
    path("admin/", admin.site.urls),
]

handler400 = "mercury.error_pages.show_bad_request"
handler403 = "mercury.error_pages.show_permission_denied"
handler404 = "mercury.error_pages.show_not_found"
handler500 = "mercury.error_pages.show_server_error"
