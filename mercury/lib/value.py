"""`@value`: a keyword-only value that the type checker keeps from being changed."""

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

Class = TypeVar("Class")


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def value(cls: type[Class]) -> type[Class]:
    """Make a dataclass of this class, frozen for the type checker alone.

    For what is built many times for each email: a dataclass that is frozen at runtime takes twice as long to build, since
    it sets each field by a call of `object.__setattr__`.
    """
    return dataclass(slots=True, kw_only=True, unsafe_hash=True)(cls)
