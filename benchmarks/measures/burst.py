"""Burst: many messages to one socket at once, on many sockets: published to a topic that all of them are in, by each
socket's own send, and by the hub's `send_to`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

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

Ask = Callable[[int], None]
"""Ask for so many messages on every socket."""


def _run(server: Server, plan: Plan, asking: Callable[[Server, Plan, Fleet], AbstractContextManager[Ask]]) -> Numbers:
    """One burst after the other; a first, single message tells the frame's size."""
    bursts = 0
    watch = Stopwatch(server)
    with Fleet() as fleet:
        fleet.open(server.address, users(plan.burst_sockets))
        fleet.subscribe("burst")
        with asking(server, plan, fleet) as ask:
            ask(1)
            size = fleet.next_size()
            while watch.seconds < plan.seconds:
                with watch:
                    ask(plan.burst_messages)
                    fleet.receive_bytes(plan.burst_messages * size)
                bursts += 1
            fleet.stays_quiet()
    messages = bursts * plan.burst_sockets * plan.burst_messages
    return {"messages_per_second": messages / watch.seconds, **watch.notes()}


@contextmanager
def _by_every_socket(server: Server, plan: Plan, fleet: Fleet) -> Iterator[Ask]:
    """Every socket asks for its own, all at once; they warm up first."""

    def ask(count: int) -> None:
        request = envelope_frame("bench.burst", {"count": count, "text": _TEXT})
        for client in fleet.clients.values():
            client.sock.send(request)

    ask(plan.burst_messages)
    fleet.receive_messages(plan.burst_messages)
    yield ask


@contextmanager
def _by_the_hub(server: Server, plan: Plan, fleet: Fleet) -> Iterator[Ask]:
    """The controlling connection makes the hub send to one user after the other."""
    names = [user.user_id for user in users(plan.burst_sockets)]
    with _by_the_control(server, "bench.each", users=names, text=_TEXT) as ask:
        yield ask


@contextmanager
def _by_topic(server: Server, plan: Plan, fleet: Fleet) -> Iterator[Ask]:
    """The controlling connection publishes the whole burst to a topic, one broadcast per message."""
    with _by_the_control(server, "bench.fanout", topic="burst", text=_TEXT) as ask:
        yield ask


@contextmanager
def _by_the_control(server: Server, kind: str, **data: Any) -> Iterator[Ask]:
    control = Control(server.address)
    asked = 0

    def ask(count: int) -> None:
        nonlocal asked
        if asked:  # what was asked for before has arrived, so this is on its way
            control.expect("bench.done")
        asked += 1
        control.send(kind, count=count, **data)

    yield ask
    control.expect("bench.done")
    control.close()


BURST_TOPIC = Measure(
    name="burst-topic",
    kind="burst",
    title="burst of 1,000 broadcasts to a topic of 100 sockets",
    metrics=_METRICS,
    run=partial(_run, asking=_by_topic),
)

BURST = Measure(
    name="burst",
    kind="burst",
    title="burst of 1,000 ready messages to each of 100 sockets",
    metrics=_METRICS,
    run=partial(_run, asking=_by_every_socket),
)

BURST_HUB = Measure(
    name="burst-hub",
    kind="burst",
    title="the same through the hub, one call per message and user",
    metrics=_METRICS,
    run=partial(_run, asking=_by_the_hub),
)
