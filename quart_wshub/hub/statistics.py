"""`HubStatistics`: a snapshot of a hub's counters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from quart_wshub.broker.base import BrokerStatistics

__all__ = ["HubStatistics"]


@dataclass(frozen=True, slots=True)
class HubStatistics:
    """A snapshot of one node's counters.

    Attributes:
        connections, users, topics: now.
        accepted: connections registered so far.
        publications: calls of `send_to` and `broadcast`, and entries of `send_many`, so far.
        deliveries: sockets that accepted a publication, so far.
        closed: how many connections ended, by close code.
        broker: the broker's counters; `None` without a broker.
    """

    connections: int
    users: int
    topics: int
    accepted: int
    publications: int
    deliveries: int
    closed: Mapping[int, int]
    broker: BrokerStatistics | None = None
