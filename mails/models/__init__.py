"""The tables of emails. Constraints that must always hold are here, in the database."""

from mails.models.api_key import ApiKey, SenderPermission
from mails.models.attempt import Attempt
from mails.models.bulk_action import BulkAction
from mails.models.configuration_version import ConfigurationVersion
from mails.models.download_link import Download, DownloadLink
from mails.models.event import Event
from mails.models.event_sink import EventSink, RejectedRecord
from mails.models.idempotency_key import IdempotencyKey
from mails.models.ids import first_id, moment_of, uuid7
from mails.models.key_usage import KeyUsage
from mails.models.mail import Content, Mail, Recipient
from mails.models.mail_label import MailLabel
from mails.models.pause import Pause
from mails.models.queue_rule import QueueRule
from mails.models.queue_settings import QueueSettings
from mails.models.rollup import Rollup
from mails.models.routing_rule import RoutingRule
from mails.models.stored_file import FileContent, FilePiece, MailFile, StoredFile, UnusedFile
from mails.models.submission_stream import StreamShard, SubmissionStream
from mails.models.suppression import Suppression
from mails.models.webhook import DeliveryStatus, Webhook, WebhookDelivery, WebhookState
from mails.models.worker import PeriodicTask, Worker

__all__ = [
    "ApiKey",
    "Attempt",
    "BulkAction",
    "ConfigurationVersion",
    "Content",
    "DeliveryStatus",
    "Download",
    "DownloadLink",
    "Event",
    "EventSink",
    "FileContent",
    "FilePiece",
    "IdempotencyKey",
    "KeyUsage",
    "Mail",
    "MailFile",
    "MailLabel",
    "Pause",
    "PeriodicTask",
    "QueueRule",
    "QueueSettings",
    "Recipient",
    "RejectedRecord",
    "Rollup",
    "RoutingRule",
    "SenderPermission",
    "StoredFile",
    "StreamShard",
    "SubmissionStream",
    "Suppression",
    "UnusedFile",
    "Webhook",
    "WebhookDelivery",
    "WebhookState",
    "Worker",
    "first_id",
    "moment_of",
    "uuid7",
]
