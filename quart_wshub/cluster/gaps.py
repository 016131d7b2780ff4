"""Telling sockets that they may have missed something: one `gap` envelope for each set of topics."""

from __future__ import annotations

import logging
from collections import defaultdict
from typing import TYPE_CHECKING

import trio

from quart_wshub.cluster.channels import has_utf8_form
from quart_wshub.protocol.envelope import WSEnvelope
from quart_wshub.protocol.frame import Frame

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from quart_wshub.connection.session import Session
    from quart_wshub.delivery.audience import Audience
    from quart_wshub.delivery.fan_out import FanOut
    from quart_wshub.delivery.registry import Registry

__all__ = ["GapNotices", "affected"]

log: logging.Logger = logging.getLogger("quart_wshub")

Topics = frozenset[str] | None
"""What a socket may have missed: these topics, or, `None`, anything."""


def affected(registry: Registry[Session], audiences: Iterable[Audience]) -> dict[Topics, Collection[Session]]:
    """Which sockets have to be told, by what they have to be told."""
    audiences = set(audiences)
    if None in audiences:
        return {None: registry.everyone()}
    of_anything: dict[Session, None] = {}
    topics: defaultdict[Session, set[str]] = defaultdict(set)
    for audience in audiences:
        if isinstance(audience, tuple):
            of_anything.update(dict.fromkeys(registry.of_user(audience[0])))
        elif audience is not None:
            for connection in registry.of_topic(audience):
                topics[connection].add(audience)
    groups: defaultdict[Topics, dict[Session, None]] = defaultdict(dict)
    if of_anything:
        groups[None] = of_anything
    for connection, missed in topics.items():
        if connection not in of_anything:
            groups[frozenset(missed)][connection] = None
    return {missed: connections.keys() for missed, connections in groups.items()}


class GapNotices:
    """Takes note of gaps at once, and tells the sockets in the order of all other deliveries."""

    def __init__(self, registry: Registry[Session], fan_out: FanOut) -> None:
        self._registry = registry
        self._fan_out = fan_out
        self._pending: set[Audience] = set()
        self._news = trio.Event()
        self._telling = trio.Lock()

    def add(self, audiences: Collection[Audience]) -> None:
        """Those who listen have to be told."""
        log.warning("messages from other nodes may have been missed, in %d channels", len(audiences))
        self._pending.update(audiences)
        self._news.set()

    async def run(self) -> None:
        """Tell them."""
        while True:
            await self._news.wait()
            await self.tell()

    async def tell(self) -> None:
        """Tell them now, if there is anything to tell: before what comes after the gap."""
        if not self._news.is_set() and not self._telling.locked():
            return
        async with self._telling:
            pending, self._pending = self._pending, set()
            self._news = trio.Event()
            for topics, connections in affected(self._registry, pending).items():
                frame = gap_frame(topics)
                await self._fan_out.deliver_to(("gap", topics), lambda group=connections: group, frame)  # type: ignore[misc]


def gap_frame(topics: Topics) -> Frame:
    """The message that tells of a gap."""
    missed = sorted(topics) if topics is not None and all(map(has_utf8_form, topics)) else None
    return Frame(WSEnvelope(type="gap", data={"topics": missed}).encode())
