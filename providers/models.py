"""Provider accounts and the circuit breaker's row of each."""

from django.db import models
from django.db.models import Q


class AccountSource(models.TextChoices):
    """Where an account's options come from."""

    ENVIRONMENT = (
        "environment",
        "Environment",
    )  # options stay in the environment; weight and priority may be changed in the admin
    DATABASE = "database", "Admin or API"  # options are stored here, encrypted
    DEFAULT = "default", "Sandbox by default"  # created because no other account exists


class Account(models.Model):
    """An account with a provider."""

    name = models.CharField(max_length=64, unique=True, help_text="Lower case letters, digits, and dashes.")
    kind = models.CharField(max_length=32)
    source = models.CharField(max_length=16, choices=AccountSource.choices, default=AccountSource.DATABASE)
    secret_options = models.TextField(
        blank=True, editable=False
    )  # JSON, encrypted by mercury.lib.encryption, see accounts.secrets
    weight = models.PositiveSmallIntegerField(default=1, help_text="Relative share of traffic (0 = none).")
    priority = models.PositiveSmallIntegerField(
        default=1,
        db_default=1,
        help_text="1 goes first; accounts of the next number take email when none before them can.",
    )
    rate = models.FloatField(null=True, blank=True, help_text="Requests per second; empty = no limit.")
    trust_500 = models.BooleanField(
        default=False, help_text="On HTTP 500: treat the email as not sent.", verbose_name="treat HTTP 500 as not sent"
    )
    daily_quota = models.PositiveIntegerField(null=True, blank=True, help_text="A day at most; empty = no limit.")
    monthly_quota = models.PositiveIntegerField(null=True, blank=True, help_text="A month at most; empty = no limit.")
    quota_spread = models.BooleanField(
        null=True, blank=True, help_text="Each day gets an equal share of what is left of the month."
    )
    quota_zone = models.CharField(max_length=64, default="UTC", help_text="Time zone in which a day begins.")
    quota_month_day = models.PositiveSmallIntegerField(default=1, help_text="Day on which a month begins, 1 to 28.")
    warm_up = models.CharField(max_length=1000, blank=True, help_text="First day and ramp; see providers.quotas.")
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name = "provider account"
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class BreakerMode(models.TextChoices):
    """Who controls a breaker."""

    AUTO = "auto", "Automatic"
    OPEN = "open", "Forced open"
    CLOSED = "closed", "Forced closed"


class BreakerState(models.TextChoices):
    """The calls that a breaker allows."""

    CLOSED = "closed", "Closed"  # everything
    OPEN = "open", "Open"  # nothing
    HALF_OPEN = "half-open", "Half-open"  # one probe, under a lease


class Breaker(models.Model):
    """Health of an account, shared by all machines. Changed by conditional UPDATE on `version` only."""

    account = models.OneToOneField(Account, primary_key=True, on_delete=models.CASCADE, related_name="breaker")
    version = models.BigIntegerField(default=0)
    mode = models.CharField(max_length=8, choices=BreakerMode.choices, default=BreakerMode.AUTO)
    state = models.CharField(max_length=16, choices=BreakerState.choices, default=BreakerState.CLOSED)
    epoch = models.PositiveIntegerField(default=0, help_text="Grows with each change of state; older results are void.")
    window_started_at = models.DateTimeField(null=True)
    window_calls = models.PositiveIntegerField(default=0)
    window_failures = models.PositiveIntegerField(default=0)
    trips = models.PositiveSmallIntegerField(default=0, help_text="Openings in a row; each doubles the wait.")
    opened_at = models.DateTimeField(null=True)
    open_until = models.DateTimeField(null=True)
    probe_until = models.DateTimeField(null=True, help_text="Lease of the one probe in progress.")
    slots = models.PositiveIntegerField(null=True, help_text="Concurrent requests while recovering; null = no limit.")
    limited_until = models.DateTimeField(null=True, help_text="The provider asked to wait until then.")
    call_limit = models.PositiveIntegerField(
        null=True, help_text="Concurrent requests of one process, learned from refusals; null = no refusal yet."
    )
    call_limit_until = models.DateTimeField(null=True, help_text="The learned limit is not raised before this time.")
    next_call_at = models.DateTimeField(null=True, help_text="Rate limit: when the next request is free (GCRA).")
    quota_day = models.DateField(null=True, help_text="The provider's day that is counted.")
    quota_day_used = models.PositiveIntegerField(default=0)
    quota_month = models.DateField(null=True, help_text="First day of the provider's month that is counted.")
    quota_month_used = models.PositiveIntegerField(default=0)
    out_of_quota_since = models.DateTimeField(null=True, help_text="When the provider said that a quota is used up.")
    out_of_quota_until = models.DateTimeField(null=True, help_text="null: until an operator opens the account.")
    out_of_quota_reason = models.CharField(max_length=200, blank=True, help_text="The provider's words.")
    last_failure = models.CharField(max_length=200, blank=True)
    last_failure_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(state__in=BreakerState.values), name="breaker_state_known"),
            models.CheckConstraint(condition=Q(mode__in=BreakerMode.values), name="breaker_mode_known"),
        ]

    def __str__(self) -> str:
        return f"{self.account_id}: {self.state}"


class BreakerChange(models.Model):
    """One line of an account's history: a change of its breaker or by a person."""

    id = models.BigAutoField(primary_key=True)
    account = models.ForeignKey(Account, null=True, on_delete=models.SET_NULL, related_name="changes")
    account_name = models.CharField(
        max_length=64,
        db_default="",  # a process of the version before writes no name, while two versions run
        help_text="The account's name, also after it was deleted.",
    )
    created_at = models.DateTimeField()
    by = models.CharField(max_length=128)
    what = models.CharField(max_length=200, help_text="In words, without a secret.")
    state = models.CharField(max_length=16, choices=BreakerState.choices, blank=True)

    class Meta:
        verbose_name = "line of an account's history"
        verbose_name_plural = "history of accounts"
        ordering = ("-id",)
        indexes = [models.Index(fields=("account_name", "-id"), name="history_by_name")]

    def __str__(self) -> str:
        return self.what

    @property
    def who(self) -> str:
        """Return who did it, for people: a person by the name alone."""
        return self.by.removeprefix("user:")


class RefusalRun(models.Model):
    """Refusals of an account in a row; see `health.refusal_runs`. Changed by conditional UPDATE on `version` only."""

    account = models.OneToOneField(Account, primary_key=True, on_delete=models.CASCADE, related_name="refusal_run")
    version = models.BigIntegerField(default=0)
    marks = models.CharField(max_length=255, blank=True, help_text="Of the emails refused since the last acceptance.")
    first_at = models.DateTimeField(null=True, help_text="When the first of them was refused.")
    began_at = models.DateTimeField(null=True, help_text="When it last began to refuse everything.")
    noticed_at = models.DateTimeField(null=True, help_text="From then on its refusals counted as account failures …")
    ended_at = models.DateTimeField(null=True, help_text="… until it accepted something again.")
    reason = models.CharField(max_length=200, blank=True)

    def __str__(self) -> str:
        return f"refusals of {self.account_id}"


class FailureMode(models.Model):
    """The failure that a sandbox account simulates, and until when."""

    account = models.OneToOneField(Account, primary_key=True, on_delete=models.CASCADE, related_name="failure_mode")
    kind = models.CharField(max_length=16, help_text="slow, refuse, hang, lose or flap")
    value = models.FloatField(default=0, help_text="slow: seconds; refuse: status code; flap: seconds of each phase.")
    until = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.account_id}: {self.kind} until {self.until:%H:%M:%S}"
