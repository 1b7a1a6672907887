"""Which version of each small configuration table is current."""

from django.db import models


class ConfigurationVersion(models.Model):
    """The version of one kind of configuration, such as the routing rules. Each change makes a new one.

    It is a random id and no number: what a process read in a transaction that was rolled back is never taken for current.
    """

    name = models.CharField(primary_key=True, max_length=32)
    version = models.UUIDField()
    changed_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.name} of {self.changed_at:%Y-%m-%d %H:%M:%S}"
