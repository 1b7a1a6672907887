"""How far the events of all emails have been published to each sink."""

from django.db import models


class EventSink(models.Model):
    """The state of one sink; its address is in the environment (`EVENT_SINK_<NAME>`). Its relay alone moves it."""

    name = models.CharField(primary_key=True, max_length=64)
    position = models.BigIntegerField(help_text="Id of the last event that it has.")
    published = models.PositiveBigIntegerField(default=0, help_text="Events published since it was first used.")
    published_at = models.DateTimeField(null=True, help_text="When it accepted the last one.")
    rate = models.FloatField(default=0.0, help_text="Events a second, over about the last minute.")
    rate_since = models.DateTimeField(null=True, help_text="When the next rate is measured from …")
    rate_published = models.PositiveBigIntegerField(default=0, help_text="… and how many were published then.")
    last_error = models.CharField(max_length=500, blank=True, help_text="Why it accepts none now; empty if it does.")
    failing_since = models.DateTimeField(null=True)
    paused_by = models.CharField(max_length=150, blank=True, help_text="Who paused it; empty if it is not paused.")
    paused_at = models.DateTimeField(null=True)
    leader = models.CharField(max_length=96, blank=True, help_text="The process that publishes to it.")
    leased_until = models.DateTimeField(null=True, help_text="Until then no other process publishes to it.")
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


class RejectedRecord(models.Model):
    """An event that a sink refuses for good. The events after it are published."""

    id = models.BigAutoField(primary_key=True)
    sink = models.ForeignKey(EventSink, on_delete=models.CASCADE, related_name="rejected")
    event_id = models.BigIntegerField()
    reason = models.CharField(max_length=500)
    rejected_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=("sink", "event_id"), name="rejected_record_once")]

    def __str__(self) -> str:
        return f"event {self.event_id} at {self.sink_id}"
