"""Serializers for a strict contract: no unknown field, no value of another JSON type, errors as problem+json."""

import dataclasses
import datetime as dt
import difflib
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import cached_property
from types import UnionType
from typing import Any, ClassVar, get_args, get_origin, get_type_hints

from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.fields import SkipField, empty

from mercury.lib.json_values import convert_to_plain
from mercury.lib.mail import printable
from mercury.lib.rest.problems import Problem, flatten_errors

_SHOWN = 80  # characters of a client's text that an error repeats
_MAX_UNKNOWN = 20  # unknown fields that an answer names


class StrictSerializer(serializers.Serializer[Any]):
    """A serializer that refuses unknown fields.

    `aliases` are further names of its fields, `ignored` are names that a client may send back as it read them. With
    `is_valid(raise_exception=True)` it raises Problem (400) of `problem`: a stable code and a sentence.
    """

    aliases: ClassVar[Mapping[str, str]] = {}
    ignored: ClassVar[Sequence[str]] = ()
    problem: ClassVar[tuple[str, str]] = ("invalid", "The request is not valid; see errors.")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Return all names that a client may use, each alias behind its field."""
        fields: list[Any] = list(self.fields)
        return tuple(
            name for field in fields for name in (field, *(alias for alias, of in self.aliases.items() if of == field))
        )

    def to_internal_value(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the valid values. Raises ValidationError with all errors: unknown fields first, then field by field.

        An error has the name that the client used.
        """
        errors: dict[str, Any] = {} if self._known.issuperset(data) else self._find_unknown(data)
        used: dict[str, str] = {}
        if not self.aliases.keys().isdisjoint(data):
            data = self._resolve_aliases(data, used, errors)
        values = self.absent_values.copy()
        given = [name for name in data if name in values and data[name] is not None]
        for name in (*self._always_checked, *given):
            try:
                values[name] = self._declared[name].run_validation(data.get(name, empty))
            except ValidationError as invalid:
                values.pop(name, None)
                if name not in errors:
                    errors[used.get(name, name)] = invalid.detail
            except SkipField:
                pass
        self.check_together(values, errors)
        if errors:
            order = {name: index for index, name in enumerate(self.names)}
            raise ValidationError({name: errors[name] for name in sorted(errors, key=lambda name: order.get(name, -1))})
        return values

    def _resolve_aliases(
        self, data: Mapping[str, Any], used: dict[str, str], errors: dict[str, Any]
    ) -> Mapping[str, Any]:
        """Return the data by the fields' own names. Adds to `used` which alias a field was given by, and errors."""
        for alias, name in self.aliases.items():
            if data.get(alias) is not None:
                if data.get(name) is not None:
                    detail = f"Give '{used.get(name, name)}' or '{alias}', not both: they are two names of one field."
                    errors[name] = [ErrorDetail(detail, "ambiguous")]
                else:
                    used[name] = alias
                    data = {**data, name: data[alias]}
        return data

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset((*self.names, *self.ignored))

    @cached_property
    def _declared(self) -> dict[str, Any]:
        """The fields by name: DRF's own mapping takes longer to read than most fields to check."""
        return {str(name): field for name, field in self.fields.items()}

    @cached_property
    def _always_checked(self) -> tuple[str, ...]:
        return tuple(name for name in self._declared if name not in self.absent_values)

    @cached_property
    def absent_values(self) -> dict[str, Any]:
        """Return the values of fields that are absent or null, for those that need no look at each request."""
        return {}

    def check_together(self, values: dict[str, Any], errors: dict[str, Any]) -> None:
        """Add errors that several fields have together. `values`: those of the valid fields."""

    def is_valid(self, *, raise_exception: bool = False) -> bool:
        """Return True if the data is valid; else False, or raise Problem with each error."""
        valid = super().is_valid()
        if not valid and raise_exception:
            raise self.build_problem(self.errors)
        return valid

    def build_problem(self, errors: Any) -> Problem:
        """Return the answer to a request with these errors."""
        code, detail = self.problem
        return Problem(400, code, detail, errors=flatten_errors(errors))

    def _find_unknown(self, data: Mapping[str, Any]) -> dict[str, list[ErrorDetail]]:
        errors: dict[str, list[ErrorDetail]] = {}
        for name in data:
            if name in self._known:
                continue
            shown = printable.replace_unprintable(name[:_SHOWN], allowed="")
            close = difflib.get_close_matches(shown, self.names, n=1)
            hint = f"Did you mean '{close[0]}'?" if close else f"Known fields: {', '.join(self.names)}."
            errors[shown] = [ErrorDetail(f"There is no field '{shown}'. {hint}", "unknown_field")]
            if len(errors) == _MAX_UNKNOWN:
                break
        return errors


class StrictField(serializers.Field[Any, Any, Any, Any]):
    """A field that accepts only values of its own JSON type, and checks them by its own rule alone.

    The limits in its declaration are for the OpenAPI schema; the rule enforces them, so that one text states each.
    """

    def run_validation(self, data: Any = empty) -> Any:
        """Return the valid value; null passes where the declaration allows it."""
        if data is empty:
            return self.validate_empty_values(data)[1]
        if data is None and self.allow_null:
            return None
        return self.to_internal_value(data)


class StrictCharField(StrictField, serializers.CharField):
    """Text, as it was sent."""

    default_error_messages = {"invalid": "It must be text.", "required": "It is required."}

    def to_internal_value(self, data: Any) -> str:
        """Return the text."""
        if not isinstance(data, str):
            self.fail("invalid")
        return data


class StrictChoiceField(StrictField, serializers.ChoiceField):
    """One of a few words."""

    default_error_messages = {"invalid": "Write one of: {choices}."}

    def to_internal_value(self, data: Any) -> str:
        """Return the word."""
        if not isinstance(data, str) or data not in self.choices:
            self.fail("required" if data is None else "invalid", choices=", ".join(map(str, self.choices)))
        return data


class StrictIntegerField(StrictField, serializers.IntegerField):
    """A whole number."""

    default_error_messages = {"invalid": "It must be a whole number."}

    def to_internal_value(self, data: Any) -> int:
        """Return the number."""
        if not isinstance(data, int) or isinstance(data, bool):
            self.fail("invalid")
        return data


class StrictNumberField(StrictField, serializers.FloatField):
    """A number."""

    default_error_messages = {"invalid": "It must be a number, or null for no limit."}

    def to_internal_value(self, data: Any) -> float:
        """Return the number, as it was sent."""
        if not isinstance(data, int | float) or isinstance(data, bool):
            self.fail("invalid")
        return data


class StrictBooleanField(StrictField, serializers.BooleanField):
    """True or false."""

    default_error_messages = {"invalid": "It must be true or false."}

    def to_internal_value(self, data: Any) -> bool:
        """Return the value."""
        if not isinstance(data, bool):
            self.fail("invalid")
        return data


class StrictDictField(StrictField, serializers.DictField):
    """An object."""

    default_error_messages = {"invalid": "It must be an object."}

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """Return the object."""
        if not isinstance(data, dict):
            self.fail("invalid")
        return data


class DataclassSerializer(serializers.Serializer[Any]):
    """Show a dataclass as `convert_to_plain` does. Types come from its annotations, descriptions from `Meta.help_texts`.

    Declare the serializers of nested dataclasses before it.
    """

    _of: ClassVar[dict[type, type["DataclassSerializer"]]] = {}

    class Meta:
        dataclass: type
        help_texts: Mapping[str, str]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls._of[cls.Meta.dataclass] = cls

    def get_fields(self) -> dict[str, Any]:
        """Return the declared fields, then one for each field of the dataclass."""
        meta = self.Meta
        names = [field.name for field in dataclasses.fields(meta.dataclass)]
        if odd := meta.help_texts.keys() ^ set(names):
            raise TypeError(f"{type(self).__name__}.Meta.help_texts and its dataclass differ in {sorted(odd)}.")
        hints = get_type_hints(meta.dataclass)
        made = {name: _make_field(hints[name], help_text=meta.help_texts[name]) for name in names}
        return {**super().get_fields(), **made}

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """Return the dataclass as JSON values."""
        found: dict[str, Any] = convert_to_plain(instance)
        return found


_OF_TYPE: dict[object, type[serializers.Field[Any, Any, Any, Any]]] = {
    int: serializers.IntegerField,
    float: serializers.FloatField,
    str: serializers.CharField,
    bool: serializers.BooleanField,
    dt.datetime: serializers.DateTimeField,
}


def _make_field(hint: Any, **options: Any) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is UnionType:  # only "… | None" occurs
        return _make_field(arguments[0], allow_null=True, **options)
    if origin is Sequence:
        if dataclasses.is_dataclass(arguments[0]):
            return _make_field(arguments[0], many=True, **options)
        return serializers.ListField(child=_make_field(arguments[0]), **options)
    if origin is Mapping:
        return serializers.DictField(child=_make_field(arguments[1]), **options)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return serializers.ChoiceField(choices=[member.value for member in hint], **options)
    return (_OF_TYPE.get(hint) or DataclassSerializer._of[hint])(**options)
