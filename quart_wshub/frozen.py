"""A mapping that nobody can change, for snapshots: unlike `MappingProxyType` it can be copied and pickled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

__all__ = ["FrozenMapping"]

K = TypeVar("K")
V = TypeVar("V")


class FrozenMapping(Mapping[K, V], Generic[K, V]):
    """A copy of a mapping. Its own copies, also those `dataclasses.asdict` makes, are plain dicts, ready for JSON."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[K, V]) -> None:
        self._items = dict(items)

    def __getitem__(self, key: K) -> V:
        return self._items[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (self._items.copy(),)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._items!r})"
