"""What is counted, over all servers and connections."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Counters"]


@dataclass(slots=True)
class Counters:
    """Messages so far; see `BrokerStatistics`."""

    published: int = 0
    received: int = 0
    lost: int = 0
