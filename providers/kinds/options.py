"""Check the options of an account. Environment, API, admin and commands all use these rules."""

from collections.abc import Mapping
from typing import Any

from providers.kinds import cleaning
from providers.kinds.base import Option, OptionsInvalid
from providers.kinds.catalog import KINDS


def clean_options(kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return all options with defaults, as the transports need them.

    Raises OptionsInvalid, which names each invalid option, also one that the kind does not have. Does not check whether
    the host may be called: `outbound_hosts` does.
    """
    known = KINDS[kind]
    errors = {
        name: f"{known.label} has no such option. Known: {', '.join(o.name for o in known.options) or 'none'}."
        for name in options
        if known.find_option(name) is None
    }
    values: dict[str, Any] = {}
    for option in known.options:
        try:
            value = _clean_value(option, options.get(option.name))
        except ValueError as error:
            errors[option.name] = str(error)
            continue
        if value is not None or not option.is_extra:
            values[option.name] = value
    if errors:
        raise OptionsInvalid(errors)
    return {**values, **known.complete(values)} if known.complete else values


def _clean_value(option: Option, value: Any) -> Any:
    """Return the value as stored. Raises ValueError with a sentence that does not repeat the value."""
    if isinstance(value, str) and not option.keeps_blanks and not option.is_long:
        value = value.strip()
    if value is None or value == "":
        if option.required:
            raise ValueError("It is required.")
        return option.default
    if option.most is not None:
        return cleaning.clean_number(value, option.most)
    if not isinstance(value, str):
        raise ValueError("It must be a string.")
    if not option.is_long:
        cleaning.clean_line(value)
    if option.secret:
        cleaning.clean_login(value)
    if option.choices and value not in option.choices:
        raise ValueError(f"It must be one of {', '.join(option.choices)}.")
    return option.clean(value) if option.clean else value
