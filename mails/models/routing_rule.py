"""Routing rules: which accounts the emails that meet some conditions may use."""

from django.db import models

from mails.models.rule import Rule


class RoutingRule(Rule):
    """One routing rule. The first enabled rule whose conditions an email meets decides; without one, any account may."""

    accounts = models.JSONField(help_text="The accounts that are allowed, each with an optional priority and weight.")
    note = models.CharField(max_length=500, blank=True, help_text="What it is for.")

    class Meta(Rule.Meta):
        verbose_name = "routing rule"
