"""Each alert by the status that causes it, and none if all is well."""

import datetime as dt
from dataclasses import replace

import pytest

from mails.dispatch.quarantine import POISON_CLAIMS
from mails.reporting import alerts
from mails.reporting.bound_email import BoundEmail
from mails.reporting.missed_email import MissedEmail
from mails.reporting.recent_failures import Cause, FailedEmails, RecentFailures, RepeatedFailure
from mails.reporting.sink_status import SinkStatus
from mails.reporting.statistics import AccountStatistics, Durations
from mails.reporting.stuck_rules import StuckRule
from mails.reporting.submission_stream_status import SubmissionStreamStatus
from mails.reporting.system_status import AccountStatus, HeldCounts, QueueStatus, SystemStatus, WorkerStatus
from mails.reporting.webhook_status import TroubledWebhook
from mails.states import HoldReason
from mails.timeline.action_text import HELD_WORDS
from providers.models import BreakerMode, BreakerState
from providers.routing.quota_status import QuotaStatus

NOON = dt.datetime(2026, 11, 24, 12, 0, tzinfo=dt.UTC)
NONE = Durations(count=0, mean=None, p50=None, p95=None, p99=None)


def account(name, **changes):
    well = AccountStatus(
        id=1,
        name=name,
        kind="sandbox",
        enabled=True,
        configured=True,
        weight=1,
        rate=None,
        state=BreakerState.CLOSED,
        mode=BreakerMode.AUTO,
        words="no recent errors",
        open_until=None,
        limited_until=None,
        last_failure="",
        last_failure_at=None,
        failure_mode="",
        failure_mode_until=None,
    )
    return replace(well, **changes)


def out_of_quota(**changes):
    used_up = QuotaStatus(
        unit="recipients",
        used_today=500,
        allowed_today=500,
        used_this_month=700,
        allowed_this_month=None,
        left=0,
        reason="daily quota 500 reached; next at 2026-11-25 00:00:00 UTC",
        next_at=NOON.replace(day=25, hour=0),
        out_since=None,
        out_reason="",
        warm_up="",
        warnings=(),
    )
    return replace(used_up, **changes)


def took(name, accepted, calls=None):
    return AccountStatistics(
        name=name,
        attempts=calls or accepted,
        accepted=accepted,
        refused={},
        unknown=0,
        failure_rate=0.0,
        sent=accepted,
        share=0.0,
        latency=NONE,
        fastest=False,
    )


def missed(name, emails, fair_share):
    """What an account missed that accepted nothing lately."""
    return {name: MissedEmail(emails=emails, fair_share=fair_share)}


def refused(name, calls, failure_class="account", accepted_since=0):
    """What went wrong lately: this account refused calls, and accepted some since."""
    at = NOON - dt.timedelta(minutes=3)
    trouble = RepeatedFailure(
        account=name, failure_class=failure_class, attempts=calls, since=at, last=at, accepted_since=accepted_since
    )
    return RecentFailures(repeated_failures=[trouble])


def ended_badly(emails, recent=0, reason="smtp-550"):
    return FailedEmails(
        emails=emails,
        recent=recent,
        since=NOON - dt.timedelta(hours=1),
        last=NOON,
        causes=[Cause(account="olympus", reason=reason, emails=emails)],
    )


WORKER = WorkerStatus(
    id="one",
    alive=True,
    queues=["text"],
    concurrency=256,
    in_flight=0,
    closed=0,
    done=0,
    started_at=NOON,
    seen_at=NOON,
    polled_at=NOON,
)
WELL = SystemStatus(
    at=NOON,
    queues=[QueueStatus(queue="text", due=0, oldest=None, deferred=0, next_at=None, last_at=None)],
    claimed=0,
    sending_paused_by=None,
    oldest_unsent=None,
    held=HeldCounts(unknown=0, poison=0, operator=0),
    expired=0,
    workers=[WORKER],
    accounts=[account("olympus"), account("hades")],
    recent=[took("olympus", 50), took("hades", 50)],
    redis="answers",
    disk_free=0.5,
    disk_free_bytes=10**11,
    counted_until=NOON - dt.timedelta(seconds=25),
)

SINK = SinkStatus(
    name="kafka",
    state="publishing",
    backlog=1200,
    oldest=301.0,
    published=7,
    rate=0.5,
    published_at=NOON,
    error="",
    failing_since=None,
    paused_by="",
    paused_at=None,
    leader="one",
    rejected=0,
)
WEBHOOK = TroubledWebhook(
    id="16",
    url="https://olimpus.com/in",
    application="zeus",
    disabled_at=None,
    reason="It answered 500.",
    failing_since=NOON,
)
INTAKE = SubmissionStreamStatus(
    name="shop",
    state="reading",
    target="topic submissions",
    key_prefix="abc",
    lag=700,
    lag_seconds=None,
    rate=2.0,
    consumed=7,
    accepted=6,
    rejected=1,
    last_rejection="It is not JSON.",
    last_at=NOON,
    error="",
    failing_since=None,
    paused_by="",
    paused_at=None,
    seen_at=NOON,
)
FAILING = replace(INTAKE, state="failing", error="no broker", failing_since=NOON - dt.timedelta(seconds=61))
CASES = [
    ({"webhook_lag": 301.0}, "webhooks_behind", ""),
    ({"webhooks": [WEBHOOK]}, "webhook_failing", "16"),
    ({"webhooks": [replace(WEBHOOK, disabled_at=NOON)]}, "webhook_disabled", "16"),
    ({"submission_streams": [replace(FAILING, state="no key", error="It is revoked.")]}, "intake_no_key", "shop"),
    ({"submission_streams": [replace(INTAKE, state="stopped")]}, "intake_stopped", "shop"),
    ({"submission_streams": [FAILING]}, "intake_failing", "shop"),
    (
        {"submission_streams": [replace(INTAKE, state="paused", paused_by="user:hermes", paused_at=NOON)]},
        "intake_paused",
        "shop",
    ),
    ({"submission_streams": [replace(INTAKE, lag=1001)]}, "intake_behind", "shop"),
    ({"submission_streams": [replace(INTAKE, lag=None, lag_seconds=301.0)]}, "intake_behind", "shop"),
    ({"sinks": [SINK]}, "sink_behind", "kafka"),
    ({"sinks": [replace(SINK, state="failing", error="no broker")]}, "sink_behind", "kafka"),
    ({"sinks": [replace(SINK, state="paused", paused_by="hermes", paused_at=NOON)]}, "sink_behind", "kafka"),
    ({"sinks": [replace(SINK, state="stopped")]}, "sink_behind", "kafka"),
    ({"sinks": [replace(SINK, oldest=1.0, rejected=1)]}, "sink_rejected", "kafka"),
    ({"sending_paused_by": "hermes"}, "sending_paused", ""),
    ({"workers": []}, "no_worker", ""),
    ({"workers": [replace(WORKER, alive=False, seen_at=NOON - dt.timedelta(minutes=3))]}, "no_worker", ""),
    ({"counted_until": NOON - dt.timedelta(minutes=4)}, "figures_late", ""),
    (
        {"queues": [QueueStatus(queue="bulk", due=7, oldest=61.0, deferred=0, next_at=None, last_at=None)]},
        "oldest_waiting",
        "bulk",
    ),
    (
        {
            "queues": [
                QueueStatus(
                    queue="bulk",
                    due=7,
                    oldest=61.0,
                    deferred=0,
                    next_at=None,
                    last_at=None,
                    paused_at=NOON,
                    paused_by="hermes",
                )
            ]
        },
        "queue_paused",
        "bulk",
    ),
    ({"oldest_unsent": 1000.0}, "oldest_unsent", ""),
    ({"accounts": [account("olympus", enabled=False)]}, "no_account", ""),
    ({"accounts": [account("olympus", configured=False)]}, "account_unusable", "olympus"),
    ({"accounts": [account("olympus", state=BreakerState.OPEN)]}, "breaker_open", "olympus"),
    ({"accounts": [account("olympus", state=BreakerState.HALF_OPEN)]}, "breaker_open", "olympus"),
    ({"accounts": [account("olympus", mode=BreakerMode.OPEN)]}, "breaker_open", "olympus"),
    ({"accounts": [account("olympus", quota=out_of_quota()), account("hades")]}, "out_of_quota", "olympus"),
    ({"missed_email": missed("olympus", 100, 50.0)}, "silent_failover", "olympus"),
    (
        {"stuck_rules": [StuckRule(name="gods", accounts=["charon (disabled)"], emails=0)]},
        "rule_without_account",
        "gods",
    ),
    ({"accounts": [account("olympus", weight=0)], "recent": []}, "no_account", ""),
    ({"accounts": [account("olympus", mode=BreakerMode.CLOSED), account("hades")]}, "breaker_forced_closed", "olympus"),
    ({"failures": refused("olympus", 3)}, "account_refuses", "olympus"),
    ({"failures": refused("olympus", 3, failure_class="local")}, "local_trouble", ""),
    ({"failures": RecentFailures(discarded=ended_badly(60))}, "discarded", ""),
    ({"failures": RecentFailures(discarded=ended_badly(6), sent=100)}, "discarded", ""),
    ({"failures": RecentFailures(rejected=ended_badly(6), arrived=100)}, "rejected", ""),
    (
        {
            "accounts": [
                account("olympus", failure_mode="refuse=503", failure_mode_until=NOON + dt.timedelta(minutes=5)),
                account("hades"),
            ]
        },
        "sandbox_fault",
        "olympus",
    ),
    (
        {
            "accounts": [account("olympus", failure_mode="refuse=503", failure_mode_until=NOON), account("hades")],
            "missed_email": missed("olympus", 100, 50.0),
        },
        "sandbox_fault",
        "olympus",
    ),
    ({"held": HeldCounts(unknown=1, poison=0, operator=0)}, "held_unknown", ""),
    ({"held": HeldCounts(unknown=0, poison=2, operator=0)}, "held_poison", ""),
    ({"held": HeldCounts(unknown=0, poison=0, file_missing=1, operator=0)}, "held_file_missing", ""),
    ({"held": HeldCounts(unknown=0, poison=0, operator=3)}, "held_operator", ""),
    ({"expired": 1}, "expired", ""),
    ({"redis": "away"}, "redis_away", ""),
    ({"disk_free": 0.04}, "disk_nearly_full", ""),
    ({"disk_free_bytes": 10**8}, "disk_nearly_full", ""),
]


def test_every_page_says_the_same_of_how_many_workers_an_email_may_take_with_it():
    [alert] = alerts.find_alerts(replace(WELL, held=HeldCounts(unknown=0, poison=1, operator=0)))

    assert POISON_CLAIMS == 2
    assert "two workers crashed while they processed it" in alert.sentence
    assert HELD_WORDS[HoldReason.POISON][1].startswith("Two workers crashed while they processed it")


@pytest.mark.parametrize(("changes", "code", "about"), CASES)
def test_a_status_causes_its_alert_and_no_other(changes, code, about):
    [alert] = alerts.find_alerts(replace(WELL, **changes))

    assert (alert.code, alert.about) == (code, about)
    assert alert.sentence.endswith((".", ")"))
    assert alert.remedy


def test_a_paused_queue_tells_since_when_by_whom_why_and_how_many_wait():
    queue = QueueStatus(
        queue="bulk",
        due=7,
        oldest=1.0,
        deferred=1200,
        next_at=None,
        last_at=None,
        paused_at=NOON,
        paused_by="hermes",
        paused_note="wrong template",
    )

    [alert] = alerts.find_alerts(replace(WELL, queues=[queue]))

    assert alert.sentence == "Queue bulk is paused by hermes (“wrong template”): 1,207 emails are waiting."
    assert alert.since == NOON
    assert alert.emails == "state=queued&queue=bulk"
    assert alert.remedy.endswith("manage.py resume --queue bulk")


def test_a_well_instance_has_no_alert_and_says_so():
    assert alerts.find_alerts(WELL) == []
    assert alerts.summarize(WELL, []) == "All systems normal. No email queued, 1 worker running."


def test_a_few_discarded_emails_are_no_alert_but_in_the_summary():
    some = replace(WELL, failures=RecentFailures(discarded=ended_badly(2), sent=1000))

    assert alerts.find_alerts(some) == []
    assert alerts.summarize(some, []).endswith("1 worker running. 2 emails were discarded in 24 hours.")


def test_sixty_of_sixty_discarded_is_bad_and_tells_how_many_why_since_when_and_where():
    [alert] = alerts.find_alerts(replace(WELL, failures=RecentFailures(discarded=ended_badly(60, recent=60))))

    assert alert.tone == "bad"
    assert alert.sentence == (
        "60 emails were discarded in the last 24 hours, 100 % of all finished: smtp-550 at olympus (60)."
    )
    assert (alert.since, alert.emails) == (NOON - dt.timedelta(hours=1), "state=discarded&age=24h")


@pytest.mark.parametrize(
    ("found", "sent", "tone"),
    [
        (ended_badly(60, recent=0), 10_000, ""),
        (ended_badly(60, recent=60), 10_000, "waiting"),  # 100 were sent in the same 15 minutes
        (ended_badly(600, recent=600), 100_000, "bad"),
        (ended_badly(1), 0, "waiting"),
    ],
)
def test_discarded_emails_are_judged_by_their_share(found, sent, tone):
    listed = alerts.find_alerts(replace(WELL, failures=RecentFailures(discarded=found, sent=sent)))

    assert [alert.tone for alert in listed] == ([tone] if tone else [])


@pytest.mark.parametrize(("emails", "fair_share"), [(19, 19.0), (1000, 4.9)])  # too few to say
def test_an_account_is_not_suspected_without_reason(emails, fair_share):
    assert alerts.find_alerts(replace(WELL, missed_email=missed("olympus", emails, fair_share))) == []


def test_a_disabled_account_with_an_open_breaker_is_no_alert():
    accounts = [account("olympus", enabled=False, state=BreakerState.OPEN), account("hades")]

    assert alerts.find_alerts(replace(WELL, accounts=accounts, recent=[])) == []


@pytest.mark.parametrize("calls", [3, 800])
def test_an_alert_ends_once_attempts_are_accepted(calls):
    recovered = refused("olympus", calls, accepted_since=min(calls, 20))

    assert alerts.find_alerts(replace(WELL, failures=recovered)) == []
    assert alerts.find_alerts(replace(WELL, failures=refused("olympus", calls, accepted_since=1)))


def test_two_refusals_are_no_alert():
    assert alerts.find_alerts(replace(WELL, failures=refused("olympus", 2))) == []


def test_an_account_that_changed_just_now_is_not_said_to_take_nothing():
    accounts = [account("olympus", changed_at=NOON - dt.timedelta(minutes=5)), account("hades")]

    assert alerts.find_alerts(replace(WELL, accounts=accounts, missed_email=missed("olympus", 1000, 500.0))) == []


@pytest.mark.parametrize(("emails", "tone", "words"), [(0, "waiting", "0 emails wait"), (1, "bad", "1 email waits")])
def test_a_rule_without_a_usable_account_says_how_many_wait(emails, tone, words):
    rule = StuckRule(name="gods", accounts=["hades (disabled)", "charon (no such account)"], emails=emails)

    [alert] = alerts.find_alerts(replace(WELL, stuck_rules=[rule]))

    assert (alert.tone, alert.about) == (tone, "gods")
    assert (
        "Routing rule gods allows only accounts that cannot be used: hades (disabled), charon (no such account)."
        in (alert.sentence)
    )
    assert words in alert.sentence
    assert "/admin/routing/" in alert.remedy


def test_the_cause_comes_before_its_symptoms_and_is_the_summary():
    status = replace(
        WELL,
        accounts=[account("olympus", enabled=False, since=NOON)],
        queues=[QueueStatus(queue="text", due=7, oldest=600.0, deferred=0, next_at=None, last_at=None)],
        oldest_unsent=3600.0,
        expired=3,
        redis="away",
    )

    listed = alerts.find_alerts(status)

    assert [alert.code for alert in listed] == [
        "no_account",
        "oldest_waiting",
        "expired",
        "redis_away",
        "oldest_unsent",
    ]
    assert alerts.summarize(status, listed) == "No provider account is enabled: nothing can be sent. 4 more alerts."
    remedies = {alert.code: alert.remedy for alert in listed}
    assert remedies["oldest_waiting"] == "More workers would not help: no account can accept email."


@pytest.mark.parametrize("refusing", [{"refuses": True}, {"refuses_requests": True}])
def test_more_workers_do_not_help_where_every_account_refuses_every_request(refusing):
    waits = [QueueStatus(queue="text", due=7, oldest=600.0, deferred=0, next_at=None, last_at=None)]
    status = replace(WELL, queues=waits, accounts=[account("olympus", **refusing), account("hades", enabled=False)])

    found = {alert.code: alert for alert in alerts.find_alerts(status)}

    assert found["oldest_waiting"].remedy == "More workers would not help: no account can accept email."


def test_an_account_forced_open_is_bad_where_no_other_is_ready():
    alone = [account("olympus", mode=BreakerMode.OPEN, by="hermes")]
    waits = [QueueStatus(queue="text", due=7, oldest=600.0, deferred=0, next_at=None, last_at=None)]

    listed = alerts.find_alerts(replace(WELL, accounts=alone, queues=waits, recent=[]))

    assert [(alert.code, alert.tone) for alert in listed] == [("breaker_open", "bad"), ("oldest_waiting", "bad")]
    assert listed[0].sentence == "The breaker of olympus is forced open by hermes: it gets no email."


@pytest.mark.parametrize("changes", [{"workers": []}, {"sending_paused_by": "hermes"}])
def test_more_workers_are_no_remedy_where_another_cause_is_known(changes):
    listed = alerts.find_alerts(
        replace(
            WELL,
            queues=[QueueStatus(queue="text", due=7, oldest=600.0, deferred=0, next_at=None, last_at=None)],
            **changes,
        )
    )

    [waiting] = [alert for alert in listed if alert.code == "oldest_waiting"]
    assert "manage.py worker text" not in waiting.remedy


def test_disabling_is_no_remedy_where_no_other_account_is_ready():
    alone = replace(WELL, accounts=[account("olympus")], recent=[], failures=refused("olympus", 30))
    [with_none] = alerts.find_alerts(alone)
    [with_another] = alerts.find_alerts(replace(WELL, failures=refused("olympus", 30)))

    assert "disable" not in with_none.remedy
    assert "Leave it enabled" in with_none.remedy
    assert "manage.py providers disable olympus" in with_another.remedy


def test_a_breaker_that_is_forced_closed_while_its_attempts_fail_is_critical():
    accounts = [account("olympus", mode=BreakerMode.CLOSED, by="hermes", since=NOON), account("hades")]
    failing = replace(took("olympus", 0, calls=30), failure_rate=1.0)

    [well] = alerts.find_alerts(replace(WELL, accounts=accounts))
    [bad] = alerts.find_alerts(replace(WELL, accounts=accounts, recent=[failing, took("hades", 10)]))

    assert (well.tone, bad.tone, bad.since) == ("waiting", "bad", NOON)
    assert "forced closed by hermes, and 100% of its requests fail" in bad.sentence


def test_every_alert_has_its_place_in_the_order():
    assert {code for _, code, _ in CASES} | {"systemic_refusals"} == set(alerts.ORDER)


def test_an_account_out_of_quota_says_until_when_and_where_its_email_goes():
    [alert] = alerts.find_alerts(replace(WELL, accounts=[account("olympus", quota=out_of_quota()), account("hades")]))

    assert alert.sentence == "olympus is out of quota until 2026-11-25 00:00:00 UTC. Its daily quota 500 is used up."
    assert alert.remedy.startswith("Its email goes to hades; nothing is lost.")
    assert alert.tone == "waiting"


ONLY_OLYMPUS = BoundEmail(rule="gods", accounts=["olympus"])


@pytest.mark.parametrize(
    ("change", "until"),
    [
        ({"quota": out_of_quota()}, "until 2026-11-25 00:00:00 UTC"),
        ({"quota": out_of_quota(next_at=None, out_since=NOON)}, "until someone opens it"),
        ({"mode": BreakerMode.OPEN}, "until it is automatic again"),
        (
            {"state": BreakerState.OPEN, "open_until": NOON + dt.timedelta(seconds=30)},
            "until a probe is accepted, the next at 12:00:30 UTC",
        ),
        ({"state": BreakerState.HALF_OPEN, "open_until": NOON}, "until a probe is accepted"),
    ],
)
def test_email_that_its_rule_binds_to_an_account_waits_for_it_and_the_alert_says_until_when(change, until):
    accounts = [account("olympus", **change), account("hades")]

    [alert] = alerts.find_alerts(replace(WELL, accounts=accounts, bound_email=[ONLY_OLYMPUS]))

    assert alert.remedy.startswith(
        f"Its email goes to hades, but email of the routing rule gods waits {until}: no other account that it may use is "
        "available."
    )
    assert alert.tone == "bad"


def test_an_account_that_refuses_is_not_to_be_disabled_where_a_rule_allows_no_other():
    refusing = replace(WELL, failures=refused("olympus", 20))

    [alert] = alerts.find_alerts(replace(refusing, bound_email=[ONLY_OLYMPUS]))

    assert "email of the routing rule gods waits until it works" in alert.remedy
    assert "Leave it enabled" in alert.remedy


@pytest.mark.parametrize(
    ("bound", "words"),
    [
        ([BoundEmail(rule="gods", accounts=["olympus", "hades"])], ""),
        ([BoundEmail(rule="gods", accounts=["hades"])], ""),
        ([BoundEmail(accounts=["olympus"], emails=0)], ""),
        ([BoundEmail(accounts=["olympus"], emails=1)], "1 email with a choice of accounts waits"),
        ([BoundEmail(accounts=["olympus"], emails=2)], "2 emails with a choice of accounts wait until"),
        (
            [ONLY_OLYMPUS, BoundEmail(rule="heroes", accounts=["olympus", "charon"])],
            "email of the routing rules gods, heroes waits",
        ),
        (
            [BoundEmail(rule=f"r{number}", accounts=["olympus"]) for number in range(7)],
            "email of the routing rules r0, r1, r2, r3, r4 and 2 more waits",
        ),
        (
            [ONLY_OLYMPUS, BoundEmail(accounts=["olympus"], emails=1200)],
            "email of the routing rule gods and 1,200 emails with a choice of accounts waits",
        ),
    ],
)
def test_an_alert_names_the_email_that_may_use_no_account_that_is_available(bound, words):
    accounts = [account("olympus", quota=out_of_quota()), account("hades")]

    [alert] = alerts.find_alerts(replace(WELL, accounts=accounts, bound_email=bound))

    if words:
        assert f"Its email goes to hades, but {words}" in alert.remedy
    else:
        assert alert.remedy.startswith("Its email goes to hades; nothing is lost.")


def test_email_is_not_said_to_go_to_an_account_that_refuses_everything():
    accounts = [
        account("olympus", state=BreakerState.OPEN),
        account("hades"),
        account("styx", refuses=True),
        account("lethe", refuses_requests=True),
    ]

    found = alerts.find_alerts(replace(WELL, accounts=accounts, failures=refused("hades", 50)))

    [breaker] = [alert for alert in found if alert.code == "breaker_open"]
    assert breaker.remedy.startswith("No other account is available: email waits.")


def test_a_quota_that_somebody_has_to_open_is_critical_and_has_the_words_of_the_provider():
    said = out_of_quota(next_at=None, out_since=NOON, out_reason="Not enough credits.")

    [alert] = alerts.find_alerts(replace(WELL, accounts=[account("olympus", quota=said), account("hades")]))

    assert alert.sentence == "olympus is out of quota until someone opens it. Its reply: Not enough credits."
    assert alert.remedy.endswith("manage.py providers open olympus")
    assert alert.tone == "bad"


def test_a_warm_up_that_waits_for_its_next_hour_is_no_alert():
    waits = out_of_quota(used_today=40, allowed_today=480)

    assert alerts.find_alerts(replace(WELL, accounts=[account("olympus", quota=waits), account("hades")])) == []


@pytest.mark.parametrize(
    "change", [{}, {"lag": 1001, "rate": 4.0}, {"state": "failing", "failing_since": NOON - dt.timedelta(seconds=59)}]
)
def test_a_stream_that_is_read_or_fails_for_a_moment_is_no_alert(change):
    assert alerts.find_alerts(replace(WELL, submission_streams=[replace(INTAKE, **change)])) == []
