"""Idle connections: what one costs in memory, what many heartbeats cost, and how long a broadcast stalls the server.

Memory is the growth of the server's resident size from the first few connections, which pay for lazy imports and
caches, to the last. The stall is measured inside the server, by a 1 ms timer on the same event loop, over several
broadcasts.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from benchmarks.client import Client, PeerError
from benchmarks.control import Control
from benchmarks.fleet import Fleet
from benchmarks.measures.base import Measure, Metric, Numbers, Stopwatch, text_of
from benchmarks.measures.fanout import TOPIC
from benchmarks.tokens import user, users

if TYPE_CHECKING:
    from benchmarks.plan import Plan
    from benchmarks.server import Server

_FIRST = 20
_SETTLE_SECONDS = 1.0

_MEMORY = Metric("kib_per_connection", "KiB", higher_is_better=False)


def _open_idle(fleet: Fleet, server: Server, sockets: int) -> float:
    """Open subscribed sockets. Returns what each costs the server, in KiB."""
    everybody = users(sockets + _FIRST)
    fleet.open(server.address, everybody[:_FIRST])
    fleet.subscribe(TOPIC)
    fleet.idle(_SETTLE_SECONDS)
    before = server.resident_bytes()
    fleet.open(server.address, everybody[_FIRST:])
    fleet.subscribe(TOPIC)
    fleet.idle(_SETTLE_SECONDS)
    return (server.resident_bytes() - before) / sockets / 1024


def _run_memory(server: Server, plan: Plan) -> Numbers:
    with Fleet() as fleet:
        return {"kib_per_connection": _open_idle(fleet, server, plan.memory_sockets)}


def _heartbeat_cpu(fleet: Fleet, server: Server, seconds: float) -> float:
    """The server's CPU use, in percent of one core, while nothing but heartbeats happens."""
    ran, start = server.core_time().ran, time.perf_counter()
    fleet.idle(seconds)
    return (server.core_time().ran - ran) / (time.perf_counter() - start) * 100


def _messages(client: Client) -> int:
    return sum(envelope["type"] == "bench.message" for envelope in client.envelopes())


def _broadcast_once(fleet: Fleet, control: Control) -> None:
    """One message to everybody, heartbeats going on meanwhile; exactly one must arrive everywhere."""
    control.send("bench.fanout", topic=TOPIC, count=1, text=text_of(64))
    got = dict.fromkeys(fleet.clients, 0)
    missing = len(got)
    while missing:
        for client in fleet.pump(60):
            arrived = _messages(client)
            got[client.sock.fileno()] += arrived
            missing -= arrived
    if set(got.values()) != {1}:
        raise PeerError("some sockets got a broadcast twice, others not at all")
    control.expect("bench.done")


def _stall(fleet: Fleet, server: Server, plan: Plan) -> dict[str, Any]:
    """The longest time the event loop did nothing but broadcasting: `seconds` and `cpu_seconds`."""
    control = Control(server.address)
    probe = Control(server.address, user(plan.idle_sockets + 1000))
    probe.send("bench.stall", seconds=plan.stall_seconds)
    end = time.monotonic() + plan.stall_seconds
    for _ in range(plan.stall_broadcasts):
        _broadcast_once(fleet, control)
        fleet.idle(0.1)
    if time.monotonic() > end:
        raise PeerError("the broadcasts took longer than the stall was watched")
    fleet.idle(end - time.monotonic())
    stalled = probe.expect("bench.stalled")
    control.close()
    probe.close()
    return stalled


def _run_idle(server: Server, plan: Plan) -> Numbers:
    watch = Stopwatch(server)
    with Fleet() as fleet:
        kib = _open_idle(fleet, server, plan.idle_sockets)
        cpu = _heartbeat_cpu(fleet, server, plan.idle_seconds)
        with watch:
            stall = _stall(fleet, server, plan)
    return {
        "kib_per_connection": kib,
        "heartbeat_cpu_percent": cpu,
        "stall_milliseconds": stall["seconds"] * 1000,
        "stall_cpu_milliseconds": stall["cpu_seconds"] * 1000,
        **watch.notes(),
    }


MEMORY = Measure(
    name="memory",
    kind="memory",
    title="idle connections, heartbeats on",
    metrics=(_MEMORY,),
    run=_run_memory,
    heartbeat_seconds=lambda _plan: 30,
)

IDLE = Measure(
    name="idle",
    kind="idle",
    title="many idle connections, heartbeats on",
    metrics=(
        _MEMORY,
        Metric("heartbeat_cpu_percent", "% CPU", higher_is_better=False),
        Metric("stall_milliseconds", "ms stall", higher_is_better=False),
        Metric("stall_cpu_milliseconds", "ms CPU in a stall", higher_is_better=False),
    ),
    run=_run_idle,
    heartbeat_seconds=lambda plan: plan.idle_heartbeat_seconds,
)
