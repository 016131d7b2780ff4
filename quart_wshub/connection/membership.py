"""What a session remembers of a topic while `membership` blocks are open."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Membership"]


@dataclass(slots=True)
class Membership:
    """A subscription that open `membership` blocks rely on.

    Attributes:
        outlasts_blocks: it was there before the blocks, or `subscribe` was called meanwhile.
        blocks: how many are open.
    """

    outlasts_blocks: bool
    blocks: int = 0
