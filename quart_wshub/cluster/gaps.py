"""Notifying sockets that they may have missed messages: one `gap` envelope for each set of topics."""

from __future__ import annotations

import logging
from collections import defaultdict
from typing import TYPE_CHECKING

import trio

from quart_wshub.cluster.channels import has_utf8_form
from quart_wshub.protocol.envelope import WSEnvelope
from quart_wshub.protocol.frame import Frame

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from quart_wshub.connection.session import Session
    from quart_wshub.delivery.audience import Audience
    from quart_wshub.delivery.fan_out import FanOut
    from quart_wshub.delivery.registry import Registry

    Members = Callable[[], Collection[Session]]

__all__ = ["GapNotices", "affected"]

log: logging.Logger = logging.getLogger("quart_wshub")

Topics = frozenset[str] | None
"""What a socket may have missed: messages in these topics, or, `None`, any message."""


def affected(registry: Registry[Session], audiences: Iterable[Audience]) -> dict[Topics, Members]:
    """The sockets to notify, grouped by what they may have missed."""
    audiences = set(audiences)
    if None in audiences:
        return {None: registry.everyone}
    missed_any: dict[Session, None] = {}
    missed_topics: defaultdict[Session, set[str]] = defaultdict(set)
    for audience in audiences:
        if isinstance(audience, tuple):
            missed_any.update(dict.fromkeys(registry.of_user(audience[0])))
        elif audience is not None:
            for connection in registry.of_topic(audience):
                missed_topics[connection].add(audience)
    groups: defaultdict[Topics, dict[Session, None]] = defaultdict(dict)
    groups[None] = missed_any
    for connection, topics in missed_topics.items():
        if connection not in missed_any:
            groups[frozenset(topics)][connection] = None
    return {topics: group.keys for topics, group in groups.items() if group}


class GapNotices:
    """Notifies sockets of gaps, in order with all other deliveries."""

    def __init__(self, registry: Registry[Session], fan_out: FanOut) -> None:
        self._registry = registry
        self._fan_out = fan_out
        self._pending: set[Audience] = set()
        self._added = trio.Event()
        self._sending = trio.Lock()

    def add(self, audiences: Collection[Audience]) -> None:
        """Notify these audiences soon. Does not wait."""
        log.warning("messages from other nodes may have been missed, in %d channels", len(audiences))
        self._pending.update(audiences)
        self._added.set()

    async def run(self) -> None:
        """Send the notices."""
        while True:
            await self._added.wait()
            await self.flush()

    async def flush(self) -> None:
        """Send the pending notices now, if there are any: before whatever comes after the gap."""
        if not self._added.is_set() and not self._sending.locked():
            return
        async with self._sending:
            pending, self._pending = self._pending, set()
            self._added = trio.Event()
            for topics, members in affected(self._registry, pending).items():
                await self._fan_out.deliver_to(("gap", topics), members, gap_frame(topics))


def gap_frame(topics: Topics) -> Frame:
    """The `gap` envelope. If a topic has no UTF-8 form, it names none."""
    missed = sorted(topics) if topics is not None and all(map(has_utf8_form, topics)) else None
    return Frame(WSEnvelope(type="gap", data={"topics": missed}).encode())
