"""Who is connected: connections by id, by user and by topic.

Pure and synchronous. In Trio nothing else runs between two checkpoints, so no lock is needed and cancellation cannot
leave half an index. It knows nothing of sockets: a member is anything with the attributes of `Member`.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from uuid import UUID

__all__ = ["Member", "Registry"]


class Member(Hashable, Protocol):
    """What the registry needs of a connection."""

    @property
    def connection_id(self) -> UUID: ...

    @property
    def user_id(self) -> Hashable: ...


M = TypeVar("M", bound=Member)
K = TypeVar("K", bound=Hashable)

_NO_TOPICS: frozenset[str] = frozenset()
"""Shared by every member without topics."""


class Registry(Generic[M]):
    """Three indexes that always agree. Empty entries are removed at once: a topic without members does not exist.

    Members are kept in the order they came (a `dict` serves as an ordered set), so a user's first is the oldest.
    """

    def __init__(self) -> None:
        self._by_id: dict[UUID, M] = {}
        self._by_user: dict[Hashable, dict[M, None]] = {}
        self._by_topic: dict[str, dict[M, None]] = {}
        self._topics_of: dict[M, AbstractSet[str]] = {}

    def add(self, member: M) -> None:
        """Enter a member.

        Raises:
            ValueError: a member with this `connection_id` is already in.
        """
        if member.connection_id in self._by_id:
            msg = f"connection {member.connection_id} is already registered"
            raise ValueError(msg)
        self._by_id[member.connection_id] = member
        self._by_user.setdefault(member.user_id, {})[member] = None
        self._topics_of[member] = _NO_TOPICS

    def remove(self, member: M) -> bool:
        """Take a member out of every index. Idempotent; says whether it was in."""
        topics = self._topics_of.pop(member, None)
        if topics is None:
            return False
        del self._by_id[member.connection_id]
        _discard(self._by_user, member.user_id, member)
        for topic in topics:
            _discard(self._by_topic, topic, member)
        return True

    def subscribe(self, member: M, topic: str) -> bool:
        """Add a member to a topic; idempotent. Says whether it is registered, and so subscribed now."""
        if member not in self._topics_of:
            return False
        self._by_topic.setdefault(topic, {})[member] = None
        topics = self._topics_of[member]
        if isinstance(topics, set):
            topics.add(topic)
        else:
            self._topics_of[member] = {topic}
        return True

    def unsubscribe(self, member: M, topic: str) -> bool:
        """Take a member out of a topic; idempotent. Says whether it is registered."""
        topics = self._topics_of.get(member)
        if topics is None:
            return False
        if topic in topics:
            self._topics_of[member] = topics - {topic}
            _discard(self._by_topic, topic, member)
        return True

    def get(self, connection_id: UUID) -> M | None:
        """The member with this id, if it is registered."""
        return self._by_id.get(connection_id)

    def __len__(self) -> int:
        return len(self._by_id)

    def everyone(self) -> Collection[M]:
        """A live view of all members, in the order they came. Copy it before anything may change it."""
        return self._topics_of.keys()

    def of_user(self, user_id: Hashable) -> Collection[M]:
        """A live view of a user's members, oldest first. Copy it before anything may change it."""
        return self._by_user.get(user_id, {}).keys()

    def of_topic(self, topic: str) -> Collection[M]:
        """A live view of a topic's members, in the order they came. Copy it before anything may change it."""
        return self._by_topic.get(topic, {}).keys()

    def topics_of(self, member: M) -> frozenset[str]:
        """The topics a member is subscribed to."""
        return frozenset(self._topics_of.get(member, _NO_TOPICS))

    def users(self) -> frozenset[Hashable]:
        """Every user with at least one member."""
        return frozenset(self._by_user)

    def topics(self) -> frozenset[str]:
        """Every topic with at least one member."""
        return frozenset(self._by_topic)


def _discard(index: dict[K, dict[M, None]], key: K, member: M) -> None:
    members = index[key]
    del members[member]
    if not members:
        del index[key]
