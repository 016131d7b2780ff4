"""Waiting for a condition, with a deadline: the only way these tests wait."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["poll"]

T = TypeVar("T")

INTERVAL_SECONDS = 0.01


def poll(probe: Callable[[], T], *, until: Callable[[T], object] = bool, timeout: float = 10, what: str = "") -> T:
    """Call `probe` until `until` holds for what it returns, and return that.

    Raises:
        AssertionError: it does not within `timeout` seconds; shows the last result.
    """
    deadline = time.monotonic() + timeout
    while True:
        result = probe()
        if until(result):
            return result
        if time.monotonic() > deadline:
            msg = f"not within {timeout:g} s: {what or 'the condition'}; last seen: {result!r}"
            raise AssertionError(msg)
        time.sleep(INTERVAL_SECONDS)
