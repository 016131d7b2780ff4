"""What stands in an exception group, at whatever depth."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["leaves"]


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The exceptions that are no groups; `error` itself where it is none."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error
