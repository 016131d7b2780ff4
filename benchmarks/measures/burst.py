"""Burst: many messages to one socket at once, on many sockets: published to a topic that all of them are in, by each
socket's own send, and by the hub's `send_to`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.client import envelope_frame
from benchmarks.control import Control
from benchmarks.fleet import Fleet
from benchmarks.measures.base import Measure, Metric, Numbers, Stopwatch, text_of
from benchmarks.tokens import users

if TYPE_CHECKING:
    from benchmarks.plan import Plan
    from benchmarks.server import Server

_TEXT = text_of(64)
_METRICS = (Metric("messages_per_second", "messages/s"),)


def _result(bursts: int, plan: Plan, watch: Stopwatch) -> Numbers:
    messages = bursts * plan.burst_sockets * plan.burst_messages
    return {"messages_per_second": messages / watch.seconds, **watch.notes()}


def _ask_all(fleet: Fleet, count: int) -> None:
    request = envelope_frame("bench.burst", {"count": count, "text": _TEXT})
    for client in fleet.clients.values():
        client.sock.send(request)


def _run_burst(server: Server, plan: Plan) -> Numbers:
    """Every socket asks for its burst, all at once; a first, small one warms up and tells the frame's size."""
    bursts = 0
    watch = Stopwatch(server)
    with Fleet() as fleet:
        fleet.open(server.address, users(plan.burst_sockets))
        fleet.subscribe("burst")
        _ask_all(fleet, plan.burst_messages)
        fleet.receive_messages(plan.burst_messages)
        _ask_all(fleet, 1)
        size = fleet.next_size()
        while watch.seconds < plan.seconds:
            with watch:
                _ask_all(fleet, plan.burst_messages)
                fleet.receive_bytes(plan.burst_messages * size)
            bursts += 1
        fleet.stays_quiet()
    return _result(bursts, plan, watch)


def _run_hub(server: Server, plan: Plan) -> Numbers:
    """The controlling connection makes the hub send to one user after the other."""
    bursts = 0
    watch = Stopwatch(server)
    names = [user.user_id for user in users(plan.burst_sockets)]
    with Fleet() as fleet:
        fleet.open(server.address, users(plan.burst_sockets))
        fleet.subscribe("burst")
        control = Control(server.address)
        control.send("bench.each", users=names, count=1, text=_TEXT)
        size = fleet.next_size()
        control.expect("bench.done")
        while watch.seconds < plan.seconds:
            with watch:
                control.send("bench.each", users=names, count=plan.burst_messages, text=_TEXT)
                fleet.receive_bytes(plan.burst_messages * size)
            control.expect("bench.done")
            bursts += 1
        fleet.stays_quiet()
        control.close()
    return _result(bursts, plan, watch)


def _run_topic(server: Server, plan: Plan) -> Numbers:
    """The controlling connection publishes the whole burst to a topic, one broadcast per message."""
    bursts = 0
    watch = Stopwatch(server)
    with Fleet() as fleet:
        fleet.open(server.address, users(plan.burst_sockets))
        fleet.subscribe("burst")
        control = Control(server.address)
        control.send("bench.fanout", topic="burst", count=1, text=_TEXT)
        size = fleet.next_size()
        control.expect("bench.done")
        while watch.seconds < plan.seconds:
            with watch:
                control.send("bench.fanout", topic="burst", count=plan.burst_messages, text=_TEXT)
                fleet.receive_bytes(plan.burst_messages * size)
            control.expect("bench.done")
            bursts += 1
        fleet.stays_quiet()
        control.close()
    return _result(bursts, plan, watch)


BURST_TOPIC = Measure(
    name="burst-topic",
    kind="burst",
    title="burst of 1,000 broadcasts to a topic of 100 sockets",
    metrics=_METRICS,
    run=_run_topic,
)

BURST = Measure(
    name="burst",
    kind="burst",
    title="burst of 1,000 ready messages to each of 100 sockets",
    metrics=_METRICS,
    run=_run_burst,
)

BURST_HUB = Measure(
    name="burst-hub",
    kind="burst",
    title="the same through the hub, one call per message and user",
    metrics=_METRICS,
    run=_run_hub,
)
