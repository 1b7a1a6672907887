"""The figures of this instance as answers show them."""

from typing import Any

from rest_framework import serializers

from mails.dispatch.heartbeat import HEARTBEAT
from mails.reporting import statistics
from mails.reporting.account_alerts import Alert
from mails.reporting.bound_email import BoundEmail
from mails.reporting.missed_email import MissedEmail
from mails.reporting.recent_failures import Cause, FailedEmails, RecentFailures, RepeatedFailure
from mails.reporting.sink_status import SinkStatus
from mails.reporting.statistics import AccountStatistics, Durations, MailStatistics, Point
from mails.reporting.stuck_rules import StuckRule
from mails.reporting.submission_stream_status import SubmissionStreamStatus
from mails.reporting.system_status import AccountStatus, HeldCounts, QueueStatus, SystemStatus, WorkerStatus
from mails.reporting.webhook_status import TroubledWebhook
from mails.states import WORKER_SILENCE
from mercury.lib.json_values import convert_to_plain
from mercury.lib.rest.serializers import DataclassSerializer


class DurationsSerializer(DataclassSerializer):
    """Durations in seconds."""

    class Meta:
        dataclass = Durations
        help_texts = {
            "count": "Number of durations.",
            "mean": "Seconds, exact.",
            "p50": "Seconds; percentiles are at most 9.1 % off.",
            "p95": "Seconds.",
            "p99": "Seconds.",
        }


class MailStatisticsSerializer(DataclassSerializer):
    """Emails of a queue, of an application, or of all."""

    class Meta:
        dataclass = MailStatistics
        help_texts = {
            "name": "The queue or the application.",
            "arrived": "Emails accepted in the period.",
            "rejected": "Emails that failed validation.",
            "arrived_per_minute": "Arrival rate over the period.",
            "sent": "Emails that a provider accepted, after a failover too.",
            "failover": "Emails that were sent after an earlier attempt had failed.",
            "discarded": "Emails that no account accepted.",
            "expired": "Emails that expired.",
            "cancelled": "Cancelled emails.",
            "held": "Emails that were held.",
            "suppressed": "Recipients on the suppression list, who got no email.",
            "queue_time": "From acceptance to the first attempt.",
            "processing": "From acceptance to the final status.",
            "acceptance": "From acceptance by Mercury to acceptance by a provider.",
        }


class AccountStatisticsSerializer(DataclassSerializer):
    """Attempts of one account."""

    class Meta:
        dataclass = AccountStatistics
        help_texts = {
            "name": "The account.",
            "attempts": "Attempts that ended.",
            "accepted": "Attempts that it accepted.",
            "refused": "Attempts that it refused, by failure class: message, account, recipient, rate, provider, local.",
            "unknown": "Attempts with an unknown outcome.",
            "failure_rate": "Share of the attempts that failed because of the account or the provider, or are unknown.",
            "sent": "Emails that it accepted.",
            "share": "Its share of all emails that were sent.",
            "latency": "Of the attempts that it accepted.",
            "fastest": "True: its median is the smallest.",
        }


class PointSerializer(DataclassSerializer):
    """One interval of the period."""

    class Meta:
        dataclass = Point
        help_texts = {
            "start": "When the interval began.",
            "arrived": "Emails accepted.",
            "done": "Emails that were sent at the first attempt.",
            "failover": "Emails that were sent after an earlier attempt had failed.",
            "discarded": "Emails that no account accepted.",
            "expired": "Emails that expired.",
            "held": "Emails that were held.",
            "unknown": "Attempts with an unknown outcome.",
            "suppressed": "Recipients on the suppression list, who got no email.",
            "queue_time": "From acceptance to the first attempt.",
            "acceptance": "From acceptance by Mercury to acceptance by a provider.",
            "latency": "Of accepted attempts, by account.",
        }


class AlertSerializer(DataclassSerializer):
    """Something that needs attention."""

    class Meta:
        dataclass = Alert
        help_texts = {
            "code": "Stable and short, for programs.",
            "tone": "`bad`: email is stopped or delayed. `waiting`: needs attention.",
            "about": "The queue or the account; empty for the instance.",
            "sentence": "What is wrong.",
            "remedy": "What to do; empty if an alert before it says so.",
            "since": "Since when; null if unknown.",
            "emails": "The query that lists the emails concerned, such as `state=discarded&age=24h`; empty if there is none.",
        }


class QueueStatusSerializer(DataclassSerializer):
    """What waits in a queue."""

    class Meta:
        dataclass = QueueStatus
        help_texts = {
            "queue": "The queue.",
            "due": "Emails that could be sent now; at most 100,000 are counted.",
            "oldest": "Seconds that the oldest of them has been due.",
            "deferred": "Emails in back-off.",
            "next_at": "When the first of these is due.",
            "last_at": "When the last of these is due.",
            "scheduled": "Emails that wait for their `send_at`; at most 100,000 are counted.",
            "next_scheduled_at": "When the first of these is sent.",
            "paused_at": "Since when the queue is paused; null while it is running.",
            "paused_by": "Who paused it; empty while it is running.",
            "paused_note": "Why; empty if no reason was given.",
            "in_progress": "Emails that workers have claimed.",
            "share": "Percent of a worker's slots that it may fill while other queues have due email.",
            "rate": "Emails a second that all workers together begin to send; null: no limit.",
        }


class HeldCountsSerializer(DataclassSerializer):
    """Held emails, by reason."""

    class Meta:
        dataclass = HeldCounts
        help_texts = {
            "unknown": "Their outcome is not known.",
            "poison": "Two workers died during their attempts, or their message could not be built.",
            "file_missing": "The storage has lost the content of an attachment.",
            "operator": "Held by a person.",
        }


class WorkerStatusSerializer(DataclassSerializer):
    """A process that sends."""

    class Meta:
        dataclass = WorkerStatus
        help_texts = {
            "id": "Host, process and a random part.",
            "alive": f"Its last heartbeat is at most {WORKER_SILENCE.total_seconds():g} s old.",
            "queues": "The queues it serves.",
            "concurrency": "Attempts it may make at once.",
            "in_flight": "Attempts in progress.",
            "closed": "Attempts that ended since it started.",
            "done": "Emails that it sent since it started.",
            "started_at": "When it started.",
            "seen_at": f"Its last heartbeat; one comes every {HEARTBEAT:g} s.",
            "polled_at": "When it last looked for due emails.",
        }


class AccountStatusSerializer(DataclassSerializer):
    """A provider account now."""

    class Meta:
        dataclass = AccountStatus
        help_texts = {
            "id": "Its number, as in `/dispatcher/providers/{id}`.",
            "name": "The account.",
            "kind": "The provider.",
            "enabled": "False: it is never selected.",
            "configured": "False: this process lacks its options.",
            "weight": "Its share of the weighted selection.",
            "rate": "Requests per second at most; null for no limit.",
            "state": "What its breaker lets through.",
            "mode": "Who decides about the breaker.",
            "words": "The same in words; or what the account refuses, if it refuses every request.",
            "open_until": "When the next probe comes.",
            "limited_until": "The provider asked to wait until then.",
            "last_failure": "Its last failure, in words.",
            "last_failure_at": "When it happened.",
            "failure_mode": "The failure mode of a sandbox, such as `refuse=503`; empty if there is none.",
            "failure_mode_until": "When the failure mode ends.",
            "since": "When its breaker opened or was forced, or it was disabled; null if neither is so.",
            "by": "Who forced or disabled it.",
            "changed_at": "When its breaker or settings last changed.",
            "refuses_requests": "True: in the last five minutes it refused requests because of the account, and accepted none.",
            "refuses": "True: it refuses every email, so that its refusals count as failures of the account.",
            "refused_since": "When that began, now or the last time; null if it is not recent.",
            "refusal_reason": "The provider's words.",
            "quota": "What it has sent of its quotas, and what it may send.",
            "refused_emails": "Emails that were discarded before Mercury noticed, and that nobody has sent again; at most 10,000.",
        }


class CauseSerializer(DataclassSerializer):
    """A cause of failures."""

    class Meta:
        dataclass = Cause
        help_texts = {
            "account": "The account of the last attempt; empty if there was none.",
            "reason": "The reason code.",
            "emails": "How many emails, of the newest thousand.",
        }


class FailedEmailsSerializer(DataclassSerializer):
    """Emails that ended without being sent."""

    class Meta:
        dataclass = FailedEmails
        help_texts = {
            "emails": "How many; at most 100,000.",
            "recent": "Number of them that ended in the last 15 minutes; at most 1,000.",
            "since": "When the first of the newest thousand ended.",
            "last": "When the last one ended.",
            "causes": "Why, the most frequent first.",
        }


class RepeatedFailureSerializer(DataclassSerializer):
    """Refusals of one account that somebody has to act on."""

    class Meta:
        dataclass = RepeatedFailure
        help_texts = {
            "account": "The account.",
            "failure_class": "`account`, or `local` for this machine.",
            "attempts": "Attempts that failed so in the last 15 minutes.",
            "since": "The minute of the first.",
            "last": "The minute of the last.",
            "accepted_since": "Attempts that the account accepted in later minutes.",
        }


class RecentFailuresSerializer(DataclassSerializer):
    """Recent failures."""

    class Meta:
        dataclass = RecentFailures
        help_texts = {
            "discarded": "Emails accepted in the last 24 hours that are discarded now.",
            "rejected": "Emails of the last 24 hours that failed validation.",
            "sent": "Emails sent in the last 24 hours.",
            "arrived": "Emails accepted in the last 24 hours.",
            "repeated_failures": "Refusals of the last 15 minutes that need an operator.",
        }


class SinkStatusSerializer(DataclassSerializer):
    """A sink of events."""

    class Meta:
        dataclass = SinkStatus
        help_texts = {
            "name": "Its name, from `EVENT_SINK_<NAME>`.",
            "state": "`publishing`, `paused`, `failing` or `stopped` (no worker publishes to it).",
            "backlog": "About how many events it lacks.",
            "oldest": "Age in seconds of the first event that it lacks; null if it lacks none.",
            "published": "Events published since it was first used.",
            "rate": "Events published a second, over about the last minute.",
            "published_at": "When it accepted the last one.",
            "error": "Why it accepts none now; empty if it does.",
            "failing_since": "Since when it accepts none.",
            "paused_by": "Who paused it; empty if it is not paused.",
            "paused_at": "Since when it is paused.",
            "leader": "The process that publishes to it.",
            "rejected": "Events that it refused for good.",
        }


class TroubledWebhookSerializer(DataclassSerializer):
    """A webhook that needs a person."""

    class Meta:
        dataclass = TroubledWebhook
        help_texts = {
            "id": "Its id.",
            "url": "Its URL, without the query.",
            "application": "The name of its API key.",
            "disabled_at": "When Mercury disabled it; null if it is only failing.",
            "reason": "Why it is disabled, or why the last attempt failed.",
            "failing_since": "Since when it accepts no events.",
        }


class SubmissionStreamStatusSerializer(DataclassSerializer):
    """A stream that emails are accepted from."""

    class Meta:
        dataclass = SubmissionStreamStatus
        help_texts = {
            "name": "The stream.",
            "state": "`reading`, `paused`, `failing`, `no key` or `stopped`: no process reads it.",
            "target": "What it reads.",
            "key_prefix": "The API key as which its emails are accepted.",
            "lag": "Records that wait; null where the stream does not say, and while it is paused.",
            "lag_seconds": "Age of the next record; null where the stream does not say, and while it is paused.",
            "rate": "Records a second, over about the last minute.",
            "consumed": "Records finished since it was first used.",
            "accepted": "Emails that they led to.",
            "rejected": "Records that went to its dead letters.",
            "last_rejection": "Why the last of them did.",
            "last_at": "When a record was last finished.",
            "error": "Why nothing is accepted now; empty if it is.",
            "failing_since": "Since when nothing is accepted.",
            "paused_by": "Who paused it; empty if it is not paused.",
            "paused_at": "Since when it is paused.",
            "seen_at": "When a process last looked at it.",
        }


class BoundEmailSerializer(DataclassSerializer):
    """Email that may use these accounts alone."""

    class Meta:
        dataclass = BoundEmail
        help_texts = {
            "accounts": "The accounts.",
            "rule": "The routing rule that says so; empty where a person chose when the emails were reprocessed.",
            "emails": "Emails that wait, where a person chose; counted up to 100,000.",
        }


class MissedEmailSerializer(DataclassSerializer):
    """Emails that other accounts accepted, and that this one could have got."""

    class Meta:
        dataclass = MissedEmail
        help_texts = {
            "emails": "How many, among the last 5,000 attempts.",
            "fair_share": "How many of them its weight would have given it.",
        }


class StuckRuleSerializer(DataclassSerializer):
    """A routing rule none of whose accounts can be used."""

    class Meta:
        dataclass = StuckRule
        help_texts = {
            "name": "Its name.",
            "accounts": "The accounts that it allows, each with what is wrong.",
            "emails": "Emails that wait for it; counted up to 100,000.",
        }


class SystemStatusSerializer(DataclassSerializer):
    """The system status."""

    class Meta:
        dataclass = SystemStatus
        help_texts = {
            "at": "The moment.",
            "queues": "What waits, by queue.",
            "claimed": "Emails that a worker has claimed.",
            "sending_paused_by": "Who paused all sending; null while it is not paused.",
            "oldest_unsent": "Age in seconds of the oldest email that is due or in back-off.",
            "held": "Held emails, by reason.",
            "expired": "Emails that expired in the last 24 hours and were not reprocessed; counted up to 100,000.",
            "workers": "Processes that send.",
            "accounts": "Provider accounts.",
            "recent": "Attempts of the last 15 minutes, by account.",
            "redis": "`answers`, `away` or `not used`.",
            "disk_free": "Share of the disk that holds the data folder.",
            "disk_free_bytes": "The same in bytes.",
            "counted_until": "Arrivals are counted until then.",
            "sending_paused_at": "Since when all sending is paused.",
            "expired_since": "When the first of the expired emails expired.",
            "failures": "Recent failures.",
            "sinks": "Sinks of events.",
            "webhooks": "Webhooks that need a person: disabled by Mercury, or failing for an hour. 20 at most.",
            "webhook_lag": "Seconds that the first event has waited for a webhook that works; null without any.",
            "submission_streams": "Streams that emails are accepted from.",
            "stuck_rules": "Routing rules none of whose accounts can be used.",
            "bound_email": "Email that may use some accounts only; given while an enabled account cannot accept email.",
            "missed_email": "By enabled account that accepted nothing in 15 minutes: what others accepted instead.",
        }


class CurrentStatusSerializer(SystemStatusSerializer):
    """The system status, in one sentence and in figures."""

    summary = serializers.CharField(help_text="The status in one sentence.")
    alerts = AlertSerializer(many=True, help_text="Causes before their symptoms.")

    class Meta(SystemStatusSerializer.Meta):
        pass

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """Return sentence, alerts and figures."""
        parts: dict[str, Any] = convert_to_plain({name: instance[name] for name in ("summary", "alerts")})
        return parts | super().to_representation(instance["status"])


class PlainSerializer(serializers.Serializer[Any]):
    """Show values of our own as JSON values."""

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """Return the values."""
        found: dict[str, Any] = convert_to_plain(instance)
        return found


class PeriodQuerySerializer(serializers.Serializer[Any]):
    """The query parameters of a period."""

    since = serializers.CharField(
        required=False, help_text="An age such as `15m`, `1h`, `7d`, or ISO 8601. Default: `1h`."
    )
    until = serializers.CharField(required=False, help_text="The same. Default: now.")


class IntervalsQuerySerializer(PeriodQuerySerializer):
    """The query parameters of a period in intervals."""

    per = serializers.ChoiceField(
        required=False,
        choices=list(statistics.LEVELS),
        help_text="The interval. Default: the finest that fits the period.",
    )


class PeriodSerializer(PlainSerializer):
    """A period."""

    since = serializers.DateTimeField(help_text="Begin of the first interval.")
    until = serializers.DateTimeField(help_text="End of the period.")


class IntervalsSerializer(PeriodSerializer):
    """A period in intervals."""

    per = serializers.ChoiceField(choices=list(statistics.LEVELS), help_text="The interval.")


class QueueStatsSerializer(IntervalsSerializer):
    """Figures of all emails and of each queue."""

    total = MailStatisticsSerializer(help_text="All emails.")
    queues = MailStatisticsSerializer(many=True)


class ApplicationStatsSerializer(IntervalsSerializer):
    """Figures of each application."""

    applications = MailStatisticsSerializer(many=True)


class ProviderStatsSerializer(IntervalsSerializer):
    """Figures of each account."""

    providers = AccountStatisticsSerializer(many=True)


class SeriesStatsSerializer(IntervalsSerializer):
    """The period interval by interval."""

    points = PointSerializer(many=True)


class ChangeSerializer(serializers.Serializer[Any]):
    """A change of an account's breaker or settings."""

    account = serializers.CharField(help_text="The account.")
    at = serializers.DateTimeField(help_text="When.")
    by = serializers.CharField(help_text="Who: `Dispatcher`, or a person.")
    what = serializers.CharField(help_text="In words.")
    state = serializers.CharField(help_text="What its breaker lets through from then on; empty if that did not change.")

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """Return the change."""
        return {
            "account": instance.account_name,
            "at": convert_to_plain(instance.created_at),
            "by": instance.by,
            "what": instance.what,
            "state": instance.state,
        }


class BreakerStatsSerializer(PeriodSerializer):
    """The history of breakers."""

    changes = ChangeSerializer(many=True)

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """Return the period and its changes."""
        changes = [ChangeSerializer().to_representation(change) for change in instance["changes"]]
        return super().to_representation({**instance, "changes": changes})
