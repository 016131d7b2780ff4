"""Several nodes of one hub over Redis: deliveries as workers grow, and what the broker costs a single node.

Four clients publish at once, as many on each worker, and every subscriber must get everything that each of them
published. A batch fits the kernel's buffers, as in the fan-out.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.fleet import Fleet
from benchmarks.measures.base import Measure, Metric, Nodes, Numbers, text_of
from benchmarks.measures.fanout import TOPIC, calibrate
from benchmarks.measures.shared import SharedStopwatch
from benchmarks.spread import controls_spread, open_spread
from benchmarks.tokens import users

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.control import Control
    from benchmarks.plan import Plan
    from benchmarks.server import Server

SETTLE_SECONDS = 0.5
"""Until a subscription has reached Redis, whether or not the server waits for that."""

_PUBLISHERS = 4
_TEXT = text_of(64)
_WARM_UP = 3
_LARGEST_BATCH = 100


def _publish(controls: list[Control], count: int) -> None:
    for control in controls:
        control.send("bench.fanout", topic=TOPIC, count=count, text=_TEXT)


def _flood(fleet: Fleet, controls: list[Control], size: int, count: int) -> None:
    """Every publisher `count` times, until the last byte is there."""
    _publish(controls, count)
    fleet.receive_bytes(count * len(controls) * size)


def _finish(controls: list[Control]) -> None:
    for control in controls:
        control.expect("bench.done")


def _batches(fleet: Fleet, controls: list[Control], size: int, plan: Plan, watch: SharedStopwatch) -> int:
    """Floods for as long as the plan says. Returns how many publications there were."""
    start = time.perf_counter()
    _flood(fleet, controls, size, _WARM_UP)
    _finish(controls)
    count = int(_WARM_UP * plan.seconds / (time.perf_counter() - start))
    count = max(_WARM_UP, min(_LARGEST_BATCH, count))
    published = 0
    while watch.seconds < plan.seconds:
        with watch:
            _flood(fleet, controls, size, count)
        _finish(controls)
        published += count * len(controls)
    fleet.stays_quiet()
    return published


def _run(server: Server, plan: Plan, *, workers: int, sockets: Callable[[Plan], int], key: str) -> Numbers:
    watch = SharedStopwatch(server)
    everybody = users(sockets(plan) + _PUBLISHERS)
    with Fleet(server.dialect) as fleet:
        open_spread(fleet, server, everybody[_PUBLISHERS:], workers)
        fleet.subscribe(TOPIC)
        controls = controls_spread(server, everybody[:_PUBLISHERS], workers)
        time.sleep(SETTLE_SECONDS)
        size = max(calibrate(fleet, control, _TEXT) for control in controls)
        published = _batches(fleet, controls, size, plan, watch)
        for control in controls:
            control.close()
    counted = published * (sockets(plan) if key == "deliveries_per_second" else 1)
    return {key: counted / watch.seconds, **watch.notes()}


def _workers(workers: int) -> Measure:
    key = "deliveries_per_second"
    return Measure(
        name=f"workers-{workers}",
        kind="workers",
        title=f"fan-out to 300 sockets on {workers} workers",
        metrics=(Metric(key, "deliveries/s"),),
        run=partial(_run, workers=workers, sockets=lambda plan: plan.few_sockets, key=key),
        nodes=Nodes(workers),
    )


WORKERS = tuple(_workers(workers) for workers in (1, 2, 4))

THROUGHPUT = Measure(
    name="nodes-throughput",
    kind="throughput",
    title="publications through one node to 10 sockets",
    metrics=(Metric("messages_per_second", "messages/s"),),
    run=partial(_run, workers=1, sockets=lambda plan: plan.sink_sockets, key="messages_per_second"),
    nodes=Nodes(1, pinned=True),
)
