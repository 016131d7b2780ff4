"""What a server holds, and the check that a test leaked none of it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from tests.harness.http import get
from tests.harness.polling import poll
from tests.harness.raw import raw_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.server import Server

__all__ = ["Footprint", "footprint", "introspect", "leaves_nothing_behind"]


@dataclass(frozen=True)
class Footprint:
    """What must not grow by a test. The hub's counts are 0 on a server without one."""

    connections: int
    users: int
    topics: int
    tasks: int
    descriptors: int

    def covers(self, other: Footprint) -> bool:
        """Whether `other` holds no more of anything than this one."""
        return all(getattr(other, field.name) <= getattr(self, field.name) for field in fields(self))


def introspect(server: Server) -> dict[str, Any]:
    """What `/introspect` answers."""
    answer: dict[str, Any] = get(server, "/introspect").json()
    return answer


def footprint(server: Server) -> Footprint:
    facts = {"connections": 0, "users": 0, "topics": 0, **introspect(server)}
    return Footprint(*(facts[field.name] for field in fields(Footprint)))


@contextmanager
def leaves_nothing_behind(server: Server, *, timeout: float = 10) -> Iterator[None]:
    """Check that after the block the hub is empty, and that there are no more tasks and descriptors than before.

    Raises:
        AssertionError: that is not so within `timeout` seconds.
    """
    if server not in _warm:
        _warm_up(server)
    before = _at_rest(server)
    yield
    poll(lambda: footprint(server), until=before.covers, timeout=timeout, what=f"back to {before}")


_warm: WeakSet[Server] = WeakSet()


def _warm_up(server: Server) -> None:
    """Connect once: the first connection of a process starts what all of them share."""
    with raw_client(server) as client:
        assert client.open("/echo", {"Sec-WebSocket-Protocol": "bearer, warm-up"}) == 101
    _warm.add(server)


def _at_rest(server: Server) -> Footprint:
    """A footprint seen three times in a row, because a request may still see the end of the one before."""
    seen: list[Footprint] = []

    def steady(now: Footprint) -> bool:
        seen.append(now)
        return now.connections == 0 and seen[-3:] == [now] * 3

    return poll(lambda: footprint(server), until=steady, what="a steady footprint of an empty hub")
