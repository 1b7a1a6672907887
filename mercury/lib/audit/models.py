"""The table of the audit log."""

from django.db import models


class Act(models.TextChoices):
    """Kind of an audited act."""

    REGISTER = "register", "Registered"
    CHANGE = "change", "Changed"
    ROTATE = "rotate", "Rotated"
    REVOKE = "revoke", "Revoked"
    DELETE = "delete", "Deleted"
    TEST = "test", "Tested"
    ENCRYPT = "encrypt", "Encrypted again"


class AuditEntry(models.Model):
    """One act. Names are kept as text, so that the entry outlives the person and the object it is about."""

    id = models.BigAutoField(primary_key=True)
    created_at = models.DateTimeField()
    by = models.CharField(max_length=160, help_text="user:<name>, key:<name> or command line.")
    act = models.CharField(max_length=16, choices=Act.choices)
    kind = models.CharField(max_length=64, help_text="What it was done to, such as API key.")
    object_id = models.CharField(max_length=64, blank=True)
    name = models.CharField(max_length=200, help_text="Its name at that time.")
    detail = models.TextField(blank=True, help_text="In words, without a secret.")

    class Meta:
        verbose_name = "audit entry"
        verbose_name_plural = "audit entries"
        ordering = ("-id",)
        indexes = [models.Index(fields=("kind", "name", "-id"), name="audit_by_object")]

    def __str__(self) -> str:
        return f"{self.get_act_display()} {self.kind} {self.name}"

    @property
    def who(self) -> str:
        """Return the name of who did it, for people: a person by the name alone."""
        return self.by.removeprefix("user:")
