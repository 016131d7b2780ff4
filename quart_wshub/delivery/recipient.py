"""What delivery needs of a connection."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from quart_wshub.protocol.frame import Frame

__all__ = ["Recipient"]


class Recipient(Hashable, Protocol):
    """Something that frames can be offered to; compared by identity."""

    def offer(self, frame: Frame) -> bool:
        """Queue a frame without waiting. Returns whether it was accepted."""
        ...
