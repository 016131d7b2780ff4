"""Who is connected: connections by id, by user and by topic.

Pure and synchronous. In Trio nothing else runs between two checkpoints, so no lock is needed and cancellation cannot
leave half an index. It knows nothing of sockets: a member is anything with the attributes of `Member`.
"""

from __future__ import annotations

from collections.abc import Hashable
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from quart_wshub.delivery.recipient import Recipient

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from uuid import UUID

    from quart_wshub.auth.identity import UserId
    from quart_wshub.delivery.audience import Audience

__all__ = ["AudienceWatcher", "Member", "Registry"]


class Member(Recipient, Protocol):
    """What the registry needs of a connection."""

    @property
    def connection_id(self) -> UUID: ...

    @property
    def user_id(self) -> UserId: ...


class AudienceWatcher(Protocol):
    """Told when a user or topic gets its first member and when it loses its last, during the change. Never raises."""

    def audience_added(self, audience: Audience) -> None: ...

    def audience_removed(self, audience: Audience) -> None: ...


M = TypeVar("M", bound=Member)
K = TypeVar("K", bound=Hashable)

_NO_TOPICS: frozenset[str] = frozenset()
"""Shared by every member without topics."""


class Registry(Generic[M]):
    """Three indexes that always agree. Empty entries are removed at once: a topic without members does not exist.

    Members are kept in insertion order (a `dict` serves as an ordered set), so a user's first is the oldest.

    Attributes:
        watcher: set it before the first member is added.
    """

    def __init__(self) -> None:
        self.watcher: AudienceWatcher | None = None
        self._by_id: dict[UUID, M] = {}
        self._by_user: dict[UserId, dict[M, None]] = {}
        self._by_topic: dict[str, dict[M, None]] = {}
        self._topics_of: dict[M, AbstractSet[str]] = {}

    def add(self, member: M) -> None:
        """Add a member.

        Raises:
            ValueError: a member with this `connection_id` is already registered.
        """
        if member.connection_id in self._by_id:
            msg = f"connection {member.connection_id} is already registered"
            raise ValueError(msg)
        self._by_id[member.connection_id] = member
        self._topics_of[member] = _NO_TOPICS
        if _add(self._by_user, member.user_id, member) and self.watcher is not None:
            self.watcher.audience_added((member.user_id,))

    def remove(self, member: M) -> None:
        """Remove a member from every index. Idempotent."""
        topics = self._topics_of.pop(member, None)
        if topics is None:
            return
        del self._by_id[member.connection_id]
        if _remove(self._by_user, member.user_id, member) and self.watcher is not None:
            self.watcher.audience_removed((member.user_id,))
        for topic in topics:
            self._leave_topic(member, topic)

    def subscribe(self, member: M, topic: str) -> None:
        """Add a member to a topic. Idempotent; does nothing if the member is not registered."""
        topics = self._topics_of.get(member)
        if topics is None:
            return
        if isinstance(topics, set):
            topics.add(topic)
        else:
            self._topics_of[member] = {topic}
        if _add(self._by_topic, topic, member) and self.watcher is not None:
            self.watcher.audience_added(topic)

    def unsubscribe(self, member: M, topic: str) -> None:
        """Remove a member from a topic. Idempotent; does nothing if the member is not registered."""
        topics = self._topics_of.get(member, _NO_TOPICS)
        if topic in topics:
            self._topics_of[member] = topics - {topic}
            self._leave_topic(member, topic)

    def _leave_topic(self, member: M, topic: str) -> None:
        if _remove(self._by_topic, topic, member) and self.watcher is not None:
            self.watcher.audience_removed(topic)

    def get(self, connection_id: UUID) -> M | None:
        """The member with this id, if it is registered."""
        return self._by_id.get(connection_id)

    def __len__(self) -> int:
        return len(self._by_id)

    def everyone(self) -> Collection[M]:
        """A live view of all members, oldest first. Copy it before anything may change it."""
        return self._topics_of.keys()

    def of_user(self, user_id: UserId) -> Collection[M]:
        """A live view of a user's members, oldest first. Copy it before anything may change it."""
        return self._by_user.get(user_id, {}).keys()

    def of_topic(self, topic: str) -> Collection[M]:
        """A live view of a topic's members, in subscription order. Copy it before anything may change it."""
        return self._by_topic.get(topic, {}).keys()

    def members_of(self, audience: Audience) -> Callable[[], Collection[M]]:
        """A function that returns a live view of an audience's members."""
        if audience is None:
            return self.everyone
        if isinstance(audience, str):
            return lambda: self.of_topic(audience)
        return lambda: self.of_user(audience[0])

    def topics_of(self, member: M) -> frozenset[str]:
        """The topics a member is subscribed to."""
        return frozenset(self._topics_of.get(member, _NO_TOPICS))

    def users(self) -> frozenset[UserId]:
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


def _add(index: dict[K, dict[M, None]], key: K, member: M) -> bool:
    """Add a member to an entry; returns whether the entry is new."""
    members = index.get(key)
    if members is None:
        index[key] = {member: None}
        return True
    members[member] = None
    return False


def _remove(index: dict[K, dict[M, None]], key: K, member: M) -> bool:
    """Remove a member from an entry; returns whether it was the last one."""
    members = index[key]
    del members[member]
    if not members:
        del index[key]
    return not members
