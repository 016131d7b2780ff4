"""The targets of this project, and whether a run met them."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.measures import MEASURES

if TYPE_CHECKING:
    from benchmarks.measures.base import Metric
    from benchmarks.rounds import Samples

PROJECT = "wshub"


@dataclass(frozen=True, slots=True)
class Target:
    """`PROJECT` must be `factor` times as good as `peer` in a metric; without a peer, `factor` is the bound itself."""

    measure: str
    key: str
    peer: str | None
    factor: float


def _fanout_targets() -> list[Target]:
    key = "deliveries_per_second"
    shapes = [name.partition("-")[2] for name in MEASURES if name.startswith("fanout-")]
    plain = [Target(f"fanout-{shape}", key, "tempest", 3.0) for shape in shapes]
    node = [Target(f"fanout-{shape}", key, "node", 1.3) for shape in shapes]
    return [*plain, *node, *(Target(f"deflate-{shape}", key, "tempest", 5.0) for shape in shapes)]


def _workers_targets() -> list[Target]:
    measures = [name for name in MEASURES if name.startswith("workers-")]
    return [Target(name, "deliveries_per_second", peer, 3.0) for name in measures for peer in ("socketio", "channels")]


TARGETS = (
    *_fanout_targets(),
    Target("inbound", "messages_per_second", "tempest", 1.8),
    Target("echo", "echoes_per_second", "tempest", 1.0),
    Target("echo", "p99_milliseconds", "tempest", 1.0),
    Target("memory", "kib_per_connection", "tempest", 1.0),
    Target("handshakes", "handshakes_per_second", "tempest", 1.0),
    Target("idle", "stall_milliseconds", None, 10.0),
    Target("burst-topic", "messages_per_second", None, 1_000_000),
    Target("nodes-latency", "p50_times_hop", None, 1.5),
    Target("nodes-latency", "p99_times_hop", None, 1.5),
    *_workers_targets(),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target, what was reached, and whether that is enough."""

    target: Target
    reached: float
    met: bool


def times_better(metric: Metric, ours: float, theirs: float) -> float:
    """How many times better `ours` is; above 1 is better, whichever way the metric points."""
    better, base = (ours, theirs) if metric.higher_is_better else (theirs, ours)
    return better / base if base else float("inf")


def _judge(target: Target, samples: Samples) -> Verdict | None:
    metric = next(metric for metric in MEASURES[target.measure].metrics if metric.key == target.key)
    ours = samples.values(target.measure, PROJECT, target.key)
    theirs = samples.values(target.measure, target.peer, target.key) if target.peer else [0.0]
    if not ours or not theirs:
        return None
    if target.peer is None:
        reached = median(ours)
        return Verdict(target, reached, (reached >= target.factor) is metric.higher_is_better)
    reached = times_better(metric, median(ours), median(theirs))
    return Verdict(target, reached, reached >= target.factor)


def verdicts(samples: Samples) -> list[Verdict]:
    """One per target for which both sides were measured."""
    return [verdict for target in TARGETS if (verdict := _judge(target, samples)) is not None]
