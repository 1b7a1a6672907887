"""What all rules about emails have: conditions, a place in their order, and who changed them."""

from django.db import models

from mails.models.people import format_person


class Rule(models.Model):
    """A rule for the emails that meet its conditions. The first enabled rule that an email meets decides."""

    name = models.CharField(max_length=64, unique=True)
    position = models.PositiveIntegerField(default=100, help_text="Rules are tried in this order, the smallest first.")
    enabled = models.BooleanField(default=True)
    conditions = models.JSONField(
        default=dict,
        blank=True,
        help_text='All of them must be met, such as {"tag": ["newsletter"], "recipients": {"from": 20}}. '
        "{}: every email.",
    )
    changed_at = models.DateTimeField(editable=False)
    changed_by = models.CharField(max_length=160, editable=False)

    class Meta:
        abstract = True
        ordering = ("position", "id")

    def __str__(self) -> str:
        return self.name

    @property
    def who(self) -> str:
        """Name who changed it last, for people."""
        return format_person(self.changed_by)
