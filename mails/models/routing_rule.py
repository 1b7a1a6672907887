"""Routing rules: which accounts the emails that meet some conditions may use."""

from django.db import models

from mails.models.people import format_person


class RoutingRule(models.Model):
    """One routing rule. The first enabled rule whose conditions an email meets decides; without one, any account may."""

    name = models.CharField(max_length=64, unique=True, help_text="Lower case letters, digits, and dashes.")
    position = models.PositiveIntegerField(help_text="The lowest number is asked first.")
    enabled = models.BooleanField(default=True)
    conditions = models.JSONField(
        default=dict, blank=True, help_text="As `mails.conditions` has them; empty: all email."
    )
    accounts = models.JSONField(help_text="The accounts that are allowed, each with an optional priority and weight.")
    note = models.CharField(max_length=500, blank=True, help_text="What it is for.")
    changed_at = models.DateTimeField()
    changed_by = models.CharField(max_length=160)

    class Meta:
        verbose_name = "routing rule"
        ordering = ("position", "id")

    def __str__(self) -> str:
        return self.name

    @property
    def who(self) -> str:
        """Name who changed it last, for people."""
        return format_person(self.changed_by)
