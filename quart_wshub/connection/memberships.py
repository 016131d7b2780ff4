"""The `hub.subscription` blocks of one connection, and which subscriptions outlast them. Bookkeeping only."""

from __future__ import annotations

__all__ = ["Memberships"]


class Block:
    """The open blocks of one topic.

    Attributes:
        count: how many are open.
        outlasts: the subscription was there before the blocks, or was made by `subscribe` meanwhile.
    """

    __slots__ = ("count", "outlasts")

    def __init__(self, *, outlasts: bool) -> None:
        self.count: int = 0
        self.outlasts: bool = outlasts


class Memberships:
    """The open blocks of one connection, by topic."""

    __slots__ = ("_by_topic",)

    def __init__(self) -> None:
        self._by_topic: dict[str, Block] = {}

    def __len__(self) -> int:
        return len(self._by_topic)

    def enter(self, topic: str, *, was_subscribed: bool) -> Block:
        """Enter a block; give what this returns to `leave` at its end."""
        block = self._by_topic.setdefault(topic, Block(outlasts=was_subscribed))
        block.count += 1
        return block

    def leave(self, topic: str, block: Block) -> bool:
        """Leave a block. Returns whether the subscription ends with it."""
        block.count -= 1
        if block.count or self._by_topic.get(topic) is not block:
            return False
        del self._by_topic[topic]
        return not block.outlasts

    def subscribed(self, topic: str) -> None:
        """After `subscribe` the subscription outlasts the blocks."""
        if topic in self._by_topic:
            self._by_topic[topic].outlasts = True

    def unsubscribed(self, topic: str) -> None:
        """After `unsubscribe` the blocks have nothing left to end."""
        self._by_topic.pop(topic, None)
