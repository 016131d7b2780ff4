"""The sizes of a run: a quick look, or the full numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes of one run, durations in seconds. Each rate is measured for at least `seconds`."""

    name: str
    rounds: int
    seconds: float
    few_sockets: int = 300
    many_sockets: int = 3000
    echo_sockets: int = 50
    sink_sockets: int = 10
    burst_sockets: int = 100
    burst_messages: int = 1000
    handshakes: int = 3000
    memory_sockets: int = 2000
    idle_sockets: int = 10000
    idle_heartbeat_seconds: int = 30
    idle_seconds: float = 30.0
    stall_seconds: float = 8.0
    stall_broadcasts: int = 5


FULL = Plan("full", rounds=5, seconds=3.0)
QUICK = Plan(
    "quick",
    rounds=3,
    seconds=0.7,
    handshakes=500,
    memory_sockets=500,
    idle_sockets=2000,
    idle_heartbeat_seconds=5,
    idle_seconds=5.0,
    stall_seconds=3.0,
    stall_broadcasts=3,
)
