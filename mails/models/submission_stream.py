"""The streams that emails are accepted from, and how far each is."""

from django.db import models


class SubmissionStream(models.Model):
    """The state of one stream; its address is in the environment (`SUBMISSION_STREAM_<NAME>`). Its readers write it."""

    name = models.CharField(primary_key=True, max_length=64)
    target = models.CharField(max_length=300, help_text="Where its records come from, without secrets.")
    key_prefix = models.CharField(max_length=16, help_text="The API key as which its emails are accepted.")
    consumed = models.PositiveBigIntegerField(default=0, help_text="Records finished since it was first used.")
    accepted = models.PositiveBigIntegerField(default=0, help_text="Emails that they led to; repeated ones count once.")
    rejected = models.PositiveBigIntegerField(default=0, help_text="Records that went to its dead letters.")
    last_rejection = models.CharField(max_length=500, blank=True, help_text="Why the last of them did.")
    rate = models.FloatField(default=0.0, help_text="Records a second, over about the last minute.")
    rate_since = models.DateTimeField(help_text="When the next rate is measured from …")
    rate_consumed = models.PositiveBigIntegerField(default=0, help_text="… and what was consumed then.")
    lag = models.PositiveBigIntegerField(null=True, help_text="Records that wait in it; null where it does not say.")
    lag_seconds = models.FloatField(null=True, help_text="Age of the next record; null where it does not say.")
    last_at = models.DateTimeField(null=True, help_text="When a record was last finished.")
    last_error = models.CharField(max_length=500, blank=True, help_text="Why nothing is accepted; empty if it is.")
    failing_since = models.DateTimeField(null=True)
    is_key_unusable = models.BooleanField(default=False, help_text="True if the error is about the API key.")
    paused_by = models.CharField(max_length=150, blank=True, help_text="Who paused it; empty if it is not paused.")
    paused_at = models.DateTimeField(null=True)
    seen_at = models.DateTimeField(null=True, help_text="When a process last looked at it.")
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


class StreamShard(models.Model):
    """How far one shard of a Kinesis stream is; Redis and Kafka remember that themselves."""

    id = models.BigAutoField(primary_key=True)
    stream = models.ForeignKey(SubmissionStream, on_delete=models.CASCADE, related_name="shards")
    shard = models.CharField(max_length=128)
    position = models.CharField(
        max_length=128, blank=True, help_text="Sequence number of the last record that is finished."
    )
    is_finished = models.BooleanField(default=False, help_text="True if the shard was closed, and all of it was read.")
    leader = models.CharField(max_length=96, blank=True, help_text="The process that reads it.")
    leased_until = models.DateTimeField(null=True, help_text="Until then no other process reads it.")
    lag_seconds = models.FloatField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=("stream", "shard"), name="one_row_per_shard")]

    def __str__(self) -> str:
        return f"{self.stream_id}/{self.shard}"
