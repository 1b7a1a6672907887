"""Counters and durations, summed up by minute, hour and day."""

from django.db import models

from mails.states import (
    Counted,
    Level,
)


class Rollup(models.Model):
    """Counts and durations of one interval. Rows of the same level, start and key add up; see `reporting.rollups`."""

    id = models.BigAutoField(primary_key=True)
    level = models.CharField(max_length=12, choices=Level.choices)
    start = models.DateTimeField(help_text="When the interval began.")
    kind = models.CharField(max_length=12, choices=Counted.choices)
    queue = models.CharField(max_length=16, blank=True)
    account = models.CharField(max_length=64, blank=True)
    application = models.BigIntegerField(default=0, help_text="The API key's number; 0 for users and the command line.")
    outcome = models.CharField(max_length=16, blank=True)
    failure_class = models.CharField(max_length=16, blank=True)
    count = models.BigIntegerField()
    total_us = models.BigIntegerField(default=0, help_text="Sum of the durations, in microseconds.")
    buckets = models.JSONField(default=dict, help_text="Durations by bucket; see `histogram`.")

    class Meta:
        indexes = [models.Index(fields=("level", "start"), name="rollup_by_start")]

    def __str__(self) -> str:
        return f"{self.count} × {self.kind} {self.outcome} ({self.level} {self.start:%Y-%m-%d %H:%M})"
