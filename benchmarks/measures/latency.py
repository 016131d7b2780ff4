"""Latency between two nodes: a client of one publishes, a client of the other gets it; one publication at a time.

Beside it, in turns, the same bytes go from one process to another through the same Redis, with nothing but coredis.
"""

from __future__ import annotations

import time
from statistics import median, quantiles
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.hop import Hop
from benchmarks.measures.base import Measure, Metric, Nodes, Numbers, text_of
from benchmarks.measures.fanout import TOPIC
from benchmarks.measures.nodes import SETTLE_SECONDS
from benchmarks.measures.shared import SharedStopwatch
from benchmarks.spread import controls_spread
from benchmarks.tokens import users

if TYPE_CHECKING:
    from benchmarks.control import Control
    from benchmarks.plan import Plan
    from benchmarks.server import Server

_TEXT = text_of(64)
_TURN = 20
_WARM_UP_TURNS = 3


class _Latencies(NamedTuple):
    """In nanoseconds: from the publishing client's send, from the server's call to publish, and of a bare hop."""

    asked: list[int]
    published: list[int]
    hop: list[int]


def _deliver(publisher: Control, subscriber: Control, latencies: _Latencies) -> None:
    asked = time.perf_counter_ns()
    publisher.send("bench.stamp", topic=TOPIC, text=_TEXT)
    published: int = subscriber.expect("bench.stamped")["at"]
    now = time.perf_counter_ns()
    publisher.expect("bench.done")
    latencies.asked.append(now - asked)
    latencies.published.append(now - published)


def _turn(publisher: Control, subscriber: Control, hop: Hop, latencies: _Latencies) -> None:
    """Some of the one, some of the other, so that a noisy moment hits both."""
    for _ in range(_TURN):
        _deliver(publisher, subscriber, latencies)
    latencies.hop.extend(hop.once() for _ in range(_TURN))


def _numbers(latencies: _Latencies) -> Numbers:
    p50s = [median(values) / 1e6 for values in latencies]
    p99s = [quantiles(values, n=100)[98] / 1e6 for values in latencies]
    numbers: Numbers = {}
    for name, p50, p99 in zip(latencies._fields, p50s, p99s, strict=True):
        numbers |= {f"{name}_p50_milliseconds": p50, f"{name}_p99_milliseconds": p99}
    return {**numbers, "p50_times_hop": p50s[1] / p50s[2], "p99_times_hop": p99s[1] / p99s[2]}


def _run(server: Server, plan: Plan) -> Numbers:
    watch = SharedStopwatch(server)
    latencies = _Latencies([], [], [])
    subscriber, publisher = controls_spread(server, users(2), workers=2)
    subscriber.send("subscribe", topic=TOPIC)
    subscriber.expect("bench.subscribed")
    time.sleep(SETTLE_SECONDS)
    with Hop(server.redis_url, _TEXT) as hop:
        for _ in range(_WARM_UP_TURNS):
            _turn(publisher, subscriber, hop, _Latencies([], [], []))
        while watch.seconds < 2 * plan.seconds:
            with watch:
                _turn(publisher, subscriber, hop, latencies)
    subscriber.close()
    publisher.close()
    return {**_numbers(latencies), **watch.notes()}


LATENCY = Measure(
    name="nodes-latency",
    kind="latency",
    title="publication to delivery on another node",
    metrics=(
        Metric("published_p50_milliseconds", "ms", higher_is_better=False),
        Metric("published_p99_milliseconds", "ms, p99", higher_is_better=False),
        Metric("p50_times_hop", "× a bare hop", higher_is_better=False),
        Metric("p99_times_hop", "× a bare hop, p99", higher_is_better=False),
        Metric("asked_p50_milliseconds", "ms, client to client", higher_is_better=False),
        Metric("asked_p99_milliseconds", "ms, client to client, p99", higher_is_better=False),
    ),
    run=_run,
    nodes=Nodes(2),
)
