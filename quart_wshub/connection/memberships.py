"""The `hub.subscription` blocks of one connection, and which memberships outlast them.

Pure bookkeeping of one connection; it lives and dies with it, and is made with its first block.
"""

from __future__ import annotations

__all__ = ["Block", "Memberships"]


class Block:
    """One membership that blocks rely on.

    Attributes:
        blocks: how many are open.
        outlasts: the membership was there before the blocks, or was asked for by itself meanwhile.
    """

    __slots__ = ("blocks", "outlasts")

    def __init__(self, *, outlasts: bool) -> None:
        self.blocks: int = 0
        self.outlasts: bool = outlasts


class Memberships:
    """By topic."""

    __slots__ = ("_by_topic",)

    def __init__(self) -> None:
        self._by_topic: dict[str, Block] = {}

    def __len__(self) -> int:
        """Topics with open blocks."""
        return len(self._by_topic)

    def enter(self, topic: str, *, was_member: bool) -> Block:
        """A block begins; give what this returns to `leave` at its end."""
        block = self._by_topic.get(topic)
        if block is None:
            block = self._by_topic[topic] = Block(outlasts=was_member)
        block.blocks += 1
        return block

    def leave(self, topic: str, block: Block) -> bool:
        """A block ends. Says whether the membership ends with it."""
        block.blocks -= 1
        if block.blocks or self._by_topic.get(topic) is not block:
            return False
        del self._by_topic[topic]
        return not block.outlasts

    def subscribed(self, topic: str) -> None:
        """The membership was asked for by itself: it outlasts the blocks."""
        block = self._by_topic.get(topic)
        if block is not None:
            block.outlasts = True

    def unsubscribed(self, topic: str) -> None:
        """The membership was ended by itself: the blocks have nothing left to end."""
        self._by_topic.pop(topic, None)
