"""The tables of docs/api.md, made from the declarations of the API's fields."""

from rest_framework import serializers

from mercury.lib.rest.filters import ValueType

TYPES = (
    (serializers.UUIDField, "UUID"),
    (serializers.URLField, "URL"),
    (serializers.DateTimeField, "time"),
    (serializers.BooleanField, "true or false"),
    (serializers.IntegerField, "integer"),
    (serializers.FloatField, "number"),
    (serializers.CharField, "text"),
    (serializers.ChoiceField, "text"),
    (serializers.ListSerializer, "list"),
    (serializers.ListField, "list"),
    (serializers.Field, "object"),
)


def request_table(serializer):
    """Return the fields that a request may have, those of its own class alone."""
    rows = [
        (" or ".join(_list_names(serializer, name)), _need(field), field.help_text)
        for name, field in serializer().fields.items()
    ]
    return _table(("field", "", "meaning"), rows)


def _list_names(serializer, name):
    return [f"`{name}`", *(f"`{alias}`" for alias, of in serializer.aliases.items() if of == name)]


def answer_table(serializer):
    """Return the fields that an answer has."""
    rows = [(f"`{name}`", _type(field), field.help_text or "") for name, field in serializer().fields.items()]
    return _table(("field", "type", "meaning"), rows)


def filter_row(name, fields):
    """Return the row of a list in the table of fields to filter and sort by."""
    words = (f"`{field}`" + _kind(sieve) for field, sieve in fields.items())
    return f"| {name} | {', '.join(words)} |"


def _kind(sieve):
    return "" if sieve.kind is ValueType.TEXT else f" ({sieve.kind.value})"


def _need(field):
    need = field.style.get("need") or ("required" if field.required else "optional")
    return need + (", may be null" if field.allow_null else "")


def _type(field):
    words = next(words for kind, words in TYPES if isinstance(field, kind))
    return words + (" or null" if field.allow_null else "")


def _table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]).replace("|  |", "| |")
