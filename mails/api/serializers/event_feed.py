"""Pages of the feed of events, and what asks for them."""

from typing import Any

from rest_framework import serializers

DEFAULT_LIMIT, MOST = 100, 1000  # events of a page


class FeedQuerySerializer(serializers.Serializer[Any]):
    """The query parameters of a page of the feed."""

    cursor = serializers.CharField(
        required=False,
        allow_blank=True,
        help_text="The `cursor` of the last answer: the events after it. Empty: the first page.",
    )
    limit = serializers.IntegerField(
        required=False,
        min_value=1,
        help_text=f"Events of a page, {DEFAULT_LIMIT} by default; a number above {MOST:,} means {MOST:,}.",
    )
    event = serializers.CharField(required=False, help_text="Only events of this name, or of these: `DONE,BOUNCED`.")
    mail = serializers.UUIDField(required=False, help_text="Only events of this email.")
    since = serializers.CharField(
        required=False,
        help_text="Where the first page begins: an age (`15m`, `7d`) or a time in ISO 8601; `1h` by default. Events of the "
        "minute before may be among them. Not together with `cursor`.",
    )


PARAMETERS = tuple(FeedQuerySerializer._declared_fields)


class FeedMetaSerializer(serializers.Serializer[Any]):
    """Where the feed goes on."""

    limit = serializers.IntegerField(min_value=1, max_value=MOST, help_text="Events of a full page.")
    cursor = serializers.CharField(help_text="Keep it: the next request needs it, also if this page is empty.")
    more = serializers.BooleanField(
        help_text="True: ask for the next page at once, also if this one is empty. False: that was all for now."
    )
    next_url = serializers.URLField(help_text="The next page; always there.")
