"""What this node listens to: the channels of the topics and users it has, of everyone, and of itself.

Synchronous: a channel is wanted from a topic's or user's first local member to the last one's end, and a topic that has
none here costs this node nothing.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from quart_wshub.cluster.channels import ALL, channel_of, node_channel

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterator

    from quart_wshub.auth.identity import UserId
    from quart_wshub.broker.base import Broker
    from quart_wshub.delivery.audience import Audience

__all__ = ["Interests"]


class Interests:
    """Counts who wants a channel, tells the broker of the first and the last, and knows whom a channel is for.

    It is the registry's `Watcher`.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._wanted: dict[str, int] = {}
        self._audiences: dict[str, Audience] = {ALL: None}
        broker.subscribe(ALL)
        broker.subscribe(node_channel(broker.node_id))

    def user_came(self, user_id: Hashable) -> None:
        self._want((user_id,))  # type: ignore[arg-type]  # the registry takes any hashable

    def user_left(self, user_id: Hashable) -> None:
        self._want_no_more((user_id,))  # type: ignore[arg-type]

    def topic_came(self, topic: str) -> None:
        self._want(topic)

    def topic_left(self, topic: str) -> None:
        self._want_no_more(topic)

    @contextmanager
    def expecting(self, user_id: UserId) -> Iterator[str]:
        """Want a user's channel, which is returned, before the user is registered."""
        self._want((user_id,))
        try:
            yield channel_of((user_id,))
        finally:
            self._want_no_more((user_id,))

    def _want(self, audience: Audience) -> None:
        channel = channel_of(audience)
        count = self._wanted.get(channel, 0)
        self._wanted[channel] = count + 1
        if not count:
            self._audiences[channel] = audience
            self._broker.subscribe(channel)

    def _want_no_more(self, audience: Audience) -> None:
        channel = channel_of(audience)
        count = self._wanted[channel] - 1
        if count:
            self._wanted[channel] = count
            return
        del self._wanted[channel], self._audiences[channel]
        self._broker.unsubscribe(channel)

    def audience_of(self, channel: str) -> Audience:
        """Whom a channel is for.

        Raises:
            KeyError: this node does not listen to it (any more), or it is a node's.
        """
        return self._audiences[channel]

    def audiences_of(self, channels: Collection[str]) -> list[Audience]:
        """Whom these channels are for, without those that nobody here listens to (any more)."""
        return [self._audiences[channel] for channel in channels if channel in self._audiences]
