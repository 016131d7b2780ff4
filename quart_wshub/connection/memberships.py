"""Which topics a connection is in because of `hub.subscription` blocks, and which of them outlast the blocks.

Pure bookkeeping of one connection; it lives and dies with it, and is made with its first block.
"""

from __future__ import annotations

__all__ = ["Hold", "Holds"]


class Hold:
    """One membership that blocks rely on.

    Attributes:
        blocks: how many are open.
        outlasts: the membership was there before the blocks, or was asked for by itself meanwhile.
    """

    __slots__ = ("blocks", "outlasts")

    def __init__(self, *, outlasts: bool) -> None:
        self.blocks: int = 0
        self.outlasts: bool = outlasts


class Holds:
    """The holds of one connection, by topic."""

    __slots__ = ("_by_topic",)

    def __init__(self) -> None:
        self._by_topic: dict[str, Hold] = {}

    def __len__(self) -> int:
        """Topics with open blocks."""
        return len(self._by_topic)

    def enter(self, topic: str, *, was_member: bool) -> Hold:
        """A block begins; give what this returns to `leave` at its end."""
        hold = self._by_topic.get(topic)
        if hold is None:
            hold = self._by_topic[topic] = Hold(outlasts=was_member)
        hold.blocks += 1
        return hold

    def leave(self, topic: str, hold: Hold) -> bool:
        """A block ends. Says whether the membership ends with it."""
        hold.blocks -= 1
        if hold.blocks or self._by_topic.get(topic) is not hold:
            return False
        del self._by_topic[topic]
        return not hold.outlasts

    def subscribed(self, topic: str) -> None:
        """The membership was asked for by itself: it outlasts the blocks."""
        hold = self._by_topic.get(topic)
        if hold is not None:
            hold.outlasts = True

    def unsubscribed(self, topic: str) -> None:
        """The membership was ended by itself: the blocks have nothing left to end."""
        self._by_topic.pop(topic, None)
