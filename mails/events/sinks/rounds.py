"""Records in rounds that hold one of each key at most: a broker may refuse any of a round, and none of a key goes first."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Entry = TypeVar("Entry")


def split_rounds(entries: Iterable[Entry], get_key: Callable[[Entry], object]) -> Iterator[list[Entry]]:
    """Yield the entries in rounds: of each key the first in the first round, the second in the second one, and so on."""
    rounds: list[list[Entry]] = []
    seen: dict[object, int] = {}
    for entry in entries:
        key = get_key(entry)
        number = seen[key] = seen.get(key, -1) + 1
        if number == len(rounds):
            rounds.append([])
        rounds[number].append(entry)
    yield from rounds
