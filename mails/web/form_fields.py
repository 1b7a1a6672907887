"""Fields of the form that hold more than one text: words, and pairs of name and value. The rules for them are intake's."""

import re
from typing import Any

from django import forms

_SEPARATORS = re.compile(r"[,\s]+")


class WordsField(forms.Field):
    """Words, separated by commas or blanks."""

    def to_python(self, value: Any) -> list[str]:
        """Return the words."""
        return [word for word in _SEPARATORS.split(value or "") if word]

    def prepare_value(self, value: Any) -> Any:
        """Return the words as they are typed."""
        return value if isinstance(value, str) else ", ".join(value or ())


class PairsField(forms.Field):
    """Names with their values, one a line: `X-Order: 17`."""

    widget = forms.Textarea

    def to_python(self, value: Any) -> dict[str, str]:
        """Return the values by name. Raises ValidationError for a line without a colon, or a name that occurs twice."""
        pairs: dict[str, str] = {}
        for number, line in enumerate((value or "").splitlines(), 1):
            name, colon, text = (part.strip() for part in line.partition(":"))
            if not line.strip():
                continue
            if not colon:
                raise forms.ValidationError(f"Line {number} has no colon. Write one pair a line: X-Order: 17.")
            if name in pairs:
                raise forms.ValidationError(f"{name} is in it twice. Write each name once.")
            pairs[name] = text
        return pairs

    def prepare_value(self, value: Any) -> Any:
        """Return the pairs as they are typed."""
        return value if isinstance(value, str) else "\n".join(f"{name}: {text}" for name, text in (value or {}).items())
