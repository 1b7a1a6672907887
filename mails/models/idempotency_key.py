"""Idempotency keys of clients."""

from django.db import models

from mails.models.mail import Mail


class IdempotencyKey(models.Model):
    """A key that a client sent with an email, and the email it led to. Written in the transaction that stores the email."""

    id = models.BigAutoField(primary_key=True)
    owner = models.CharField(max_length=64, help_text="key:<id> or user:<id>")
    key = models.CharField(max_length=255)
    body_hash = models.CharField(max_length=64)  # SHA-256, hex
    # No constraint: without an index each deleted email would have to search all keys, and those are deleted long before.
    mail = models.ForeignKey(Mail, on_delete=models.CASCADE, related_name="+", db_index=False, db_constraint=False)
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=("owner", "key"), name="one_row_per_idempotency_key")]

    def __str__(self) -> str:
        return self.key
