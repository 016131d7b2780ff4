"""Handshakes: accepted connections per second, each with its own JWT checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.fleet import Fleet
from benchmarks.measures.base import Measure, Metric, Numbers, Stopwatch
from benchmarks.tokens import users

if TYPE_CHECKING:
    from benchmarks.plan import Plan
    from benchmarks.server import Server

_WARM_UP = 50


def _run(server: Server, plan: Plan) -> Numbers:
    everybody = users(plan.handshakes + _WARM_UP)
    watch = Stopwatch(server)
    with Fleet() as fleet:
        fleet.open(server.address, everybody[:_WARM_UP])
        with watch:
            fleet.open(server.address, everybody[_WARM_UP:])
        fleet.subscribe("handshakes")
    return {"handshakes_per_second": plan.handshakes / watch.seconds, **watch.notes()}


HANDSHAKES = Measure(
    name="handshakes",
    kind="handshakes",
    title="handshakes with JWT, 50 at a time",
    metrics=(Metric("handshakes_per_second", "handshakes/s"),),
    run=_run,
)
