"""Echo: one message in flight on each of a few sockets; how many per second, and how long the slow ones take."""

from __future__ import annotations

import time
from statistics import quantiles
from typing import TYPE_CHECKING

from benchmarks.client import PeerError, envelope_frame
from benchmarks.fleet import Fleet
from benchmarks.measures.base import Measure, Metric, Numbers, Stopwatch
from benchmarks.tokens import users

if TYPE_CHECKING:
    from benchmarks.plan import Plan
    from benchmarks.server import Server

_REQUEST = envelope_frame("bench.echo", {"text": "a typical short chat line"})


def _calibrate(fleet: Fleet) -> int:
    """Echo once per socket and look at it. Returns the reply's bytes."""
    sizes = set()
    for client in fleet.clients.values():
        client.sock.send(_REQUEST)
    missing = set(fleet.clients)
    while missing:
        for client in fleet.pump(60):
            sizes.add(len(client.inbox))
            (envelope,) = client.envelopes()
            if envelope["type"] != "bench.echo" or envelope["data"] != {"text": "a typical short chat line"}:
                raise PeerError(f"not an echo: {envelope!r}")
            missing.remove(client.sock.fileno())
    (size,) = sizes
    return size


def _exchange(fleet: Fleet, size: int, seconds: float) -> list[float]:
    """Keep one message in flight per socket for so long. Returns all latencies, in seconds."""
    latencies: list[float] = []
    sent = {}
    for fd, client in fleet.clients.items():
        sent[fd] = time.perf_counter()
        client.sock.send(_REQUEST)
    end = time.perf_counter() + seconds
    in_flight = len(sent)
    while in_flight:
        for client in fleet.pump(60):
            now = time.perf_counter()
            if len(client.inbox) != size:
                raise PeerError(f"an echo of {len(client.inbox)} bytes instead of {size}")
            client.inbox.clear()
            fd = client.sock.fileno()
            latencies.append(now - sent[fd])
            if now < end:
                sent[fd] = now
                client.sock.send(_REQUEST)
            else:
                in_flight -= 1
    return latencies


def _run(server: Server, plan: Plan) -> Numbers:
    watch = Stopwatch(server)
    with Fleet() as fleet:
        fleet.open(server.address, users(plan.echo_sockets))
        fleet.subscribe("echo")
        size = _calibrate(fleet)
        _exchange(fleet, size, plan.seconds / 5)
        with watch:
            latencies = _exchange(fleet, size, plan.seconds)
    return {
        "echoes_per_second": len(latencies) / watch.seconds,
        "p99_milliseconds": quantiles(latencies, n=100)[98] * 1000,
        **watch.notes(),
    }


ECHO = Measure(
    name="echo",
    kind="echo",
    title="echo, one in flight on 50 sockets",
    metrics=(Metric("echoes_per_second", "echoes/s"), Metric("p99_milliseconds", "ms", higher_is_better=False)),
    run=_run,
)
