"""The channels this node is subscribed to: those of its topics and users, of everyone, and its own.

Synchronous: a channel is subscribed to from the first local member of its topic or user until the last one leaves, so a
topic without local members costs this node nothing.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from quart_wshub.cluster.channels import ALL, channel_of, node_channel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quart_wshub.auth.identity import UserId
    from quart_wshub.broker.base import Broker
    from quart_wshub.delivery.audience import Audience

__all__ = ["ChannelSubscriptions"]


class ChannelSubscriptions:
    """Reference-counted channel subscriptions. It is the registry's `AudienceWatcher`.

    Attributes:
        audiences: the audience of each subscribed channel, except the node's own; not to be changed from outside.
    """

    def __init__(self, broker: Broker) -> None:
        self.audiences: dict[str, Audience] = {ALL: None}
        self._broker = broker
        self._counts: dict[str, int] = {}
        broker.subscribe(ALL)
        broker.subscribe(node_channel(broker.node_id))

    def audience_added(self, audience: Audience) -> None:
        """Count one more reference to an audience's channel, and subscribe if it is the first."""
        channel = channel_of(audience)
        count = self._counts.get(channel, 0)
        self._counts[channel] = count + 1
        if not count:
            self.audiences[channel] = audience
            self._broker.subscribe(channel)

    def audience_removed(self, audience: Audience) -> None:
        """Count one reference less, and unsubscribe if it was the last."""
        channel = channel_of(audience)
        self._counts[channel] -= 1
        if not self._counts[channel]:
            del self._counts[channel], self.audiences[channel]
            self._broker.unsubscribe(channel)

    @contextmanager
    def expecting(self, user_id: UserId) -> Iterator[str]:
        """Hold a subscription to a user's channel, which is returned, before the user is registered."""
        self.audience_added((user_id,))
        try:
            yield channel_of((user_id,))
        finally:
            self.audience_removed((user_id,))
