"""What a server holds, and the check that a test left nothing of itself behind."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from tests.harness.http import get
from tests.harness.polling import poll
from tests.harness.raw import RawClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.server import Server

__all__ = ["Footprint", "footprint", "introspect", "leaves_nothing_behind"]


@dataclass(frozen=True)
class Footprint:
    """What must not be more after a test than before it. The counts of a server without hub are 0."""

    connections: int
    users: int
    topics: int
    tasks: int
    descriptors: int

    def covers(self, other: Footprint) -> bool:
        """Whether `other` holds no more than this one, of anything."""
        return all(getattr(other, field.name) <= getattr(self, field.name) for field in fields(self))


def introspect(server: Server) -> dict[str, Any]:
    """All that `/introspect` tells."""
    answer: dict[str, Any] = get(server, "/introspect").json()
    return answer


def footprint(server: Server) -> Footprint:
    facts = introspect(server)
    return Footprint(
        connections=facts.get("connections", 0),
        users=facts.get("users", 0),
        topics=facts.get("topics", 0),
        tasks=facts["tasks"],
        descriptors=facts["descriptors"],
    )


@contextmanager
def leaves_nothing_behind(server: Server, *, timeout: float = 10) -> Iterator[None]:
    """Check that after the block an empty hub, and no more tasks and descriptors than before, are left.

    Raises:
        AssertionError: there still is after `timeout` seconds.
    """
    if server not in _warm:
        _warm_up(server)
    before = _at_rest(server)
    yield
    poll(lambda: footprint(server), until=before.covers, timeout=timeout, what=f"back to {before}")


_warm: WeakSet[Server] = WeakSet()


def _warm_up(server: Server) -> None:
    """Connect once: the first connection of a process starts what all of them share."""
    client = RawClient(server)
    try:
        assert client.open("/echo", {"Sec-WebSocket-Protocol": "bearer, warm-up"}) == 101
    finally:
        client.close()
    _warm.add(server)


def _at_rest(server: Server) -> Footprint:
    """A footprint three times the same: the one request's end may be part of what the next one sees."""
    seen: list[Footprint] = []

    def steady(now: Footprint) -> bool:
        seen.append(now)
        return now.connections == 0 and seen[-3:] == [now] * 3

    return poll(lambda: footprint(server), until=steady, what="a steady footprint of an empty hub")
