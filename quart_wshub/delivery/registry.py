"""Who is connected: connections by id, by user and by topic.

Pure and synchronous. In Trio nothing else runs between two checkpoints, so no lock is needed and cancellation cannot
leave half an index. It knows nothing of sockets: a member is anything with the attributes of `Member`.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from quart_wshub.delivery.recipient import Recipient

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from quart_wshub.delivery.audience import Audience

__all__ = ["Member", "Registry", "Watcher"]


class Member(Recipient, Protocol):
    """What the registry needs of a connection."""

    @property
    def connection_id(self) -> UUID: ...

    @property
    def user_id(self) -> Hashable: ...


class Watcher(Protocol):
    """Is told of each user's and each topic's first and last member, in the middle of the change. Never raises."""

    def user_came(self, user_id: Hashable) -> None: ...

    def user_left(self, user_id: Hashable) -> None: ...

    def topic_came(self, topic: str) -> None: ...

    def topic_left(self, topic: str) -> None: ...


M = TypeVar("M", bound=Member)
K = TypeVar("K", bound=Hashable)

_NO_TOPICS: frozenset[str] = frozenset()
"""Shared by every member without topics."""


class Registry(Generic[M]):
    """Three indexes that always agree. Empty entries are removed at once: a topic without members does not exist.

    Members are kept in the order they came (a `dict` serves as an ordered set), so a user's first is the oldest.
    """

    def __init__(self) -> None:
        self._watcher: Watcher | None = None
        self._by_id: dict[UUID, M] = {}
        self._by_user: dict[Hashable, dict[M, None]] = {}
        self._by_topic: dict[str, dict[M, None]] = {}
        self._topics_of: dict[M, AbstractSet[str]] = {}

    def watch(self, watcher: Watcher) -> None:
        """Tell `watcher` of each user's and each topic's first and last member. Call it while nobody is registered."""
        self._watcher = watcher

    def add(self, member: M) -> None:
        """Enter a member.

        Raises:
            ValueError: a member with this `connection_id` is already in.
        """
        if member.connection_id in self._by_id:
            msg = f"connection {member.connection_id} is already registered"
            raise ValueError(msg)
        self._by_id[member.connection_id] = member
        self._topics_of[member] = _NO_TOPICS
        if _enter(self._by_user, member.user_id, member) and self._watcher is not None:
            self._watcher.user_came(member.user_id)

    def remove(self, member: M) -> bool:
        """Take a member out of every index. Idempotent; says whether it was in."""
        topics = self._topics_of.pop(member, None)
        if topics is None:
            return False
        del self._by_id[member.connection_id]
        if _discard(self._by_user, member.user_id, member) and self._watcher is not None:
            self._watcher.user_left(member.user_id)
        for topic in topics:
            self._leave_topic(member, topic)
        return True

    def subscribe(self, member: M, topic: str) -> bool:
        """Add a member to a topic; idempotent. Says whether it is registered, and so subscribed now."""
        if member not in self._topics_of:
            return False
        if _enter(self._by_topic, topic, member) and self._watcher is not None:
            self._watcher.topic_came(topic)
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
            self._leave_topic(member, topic)
        return True

    def _leave_topic(self, member: M, topic: str) -> None:
        if _discard(self._by_topic, topic, member) and self._watcher is not None:
            self._watcher.topic_left(topic)

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

    def members_of(self, audience: Audience) -> Callable[[], Collection[M]]:
        """What gives a live view of an audience's members."""
        if audience is None:
            return self.everyone
        if isinstance(audience, str):
            return lambda: self.of_topic(audience)
        return lambda: self.of_user(audience[0])

    def topics_of(self, member: M) -> frozenset[str]:
        """The topics a member is subscribed to."""
        return frozenset(self._topics_of.get(member, _NO_TOPICS))

    def users(self) -> frozenset[Hashable]:
        """Every user with at least one member."""
        return frozenset(self._by_user)

    @property
    def user_count(self) -> int:
        """Users with at least one member."""
        return len(self._by_user)

    @property
    def topic_count(self) -> int:
        """Topics with at least one member."""
        return len(self._by_topic)


def _enter(index: dict[K, dict[M, None]], key: K, member: M) -> bool:
    """Add to an entry; says whether it is a new one."""
    members = index.get(key)
    if members is None:
        index[key] = {member: None}
        return True
    members[member] = None
    return False


def _discard(index: dict[K, dict[M, None]], key: K, member: M) -> bool:
    """Take out of an entry; says whether that was its last member."""
    members = index[key]
    del members[member]
    if members:
        return False
    del index[key]
    return True
