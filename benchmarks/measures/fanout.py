"""Fan-out: one topic, many subscribers, one message to all of them again and again; with and without deflate offered.

A batch is so small that it fits the kernel's buffers even if nobody read, so that a hub which bounds its send queues
does not take the load generator for a slow consumer. The clock runs from the request to the last socket's last byte.

In a `single` measure each publication waits for the one before to have arrived everywhere, so nothing can be joined.
"""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import TYPE_CHECKING

from benchmarks.client import PeerError
from benchmarks.control import Control
from benchmarks.fleet import Fleet
from benchmarks.frames import server_frame
from benchmarks.measures.base import Measure, Metric, Numbers, Stopwatch, text_of
from benchmarks.tokens import users

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.plan import Plan
    from benchmarks.server import Server

TOPIC = "bench"
_BATCH_BYTES = 60_000_000
_SOCKET_BYTES = 64_000
_WARM_UP = 5

_METRICS = (Metric("deliveries_per_second", "deliveries/s"),)


def _largest_batch(sockets: int, size: int) -> int:
    frame = size + 80
    return max(_WARM_UP, min(_SOCKET_BYTES, _BATCH_BYTES // sockets) // frame)


def _batch(warm_up_seconds: float, seconds: float, largest: int) -> int:
    """So many broadcasts that a slow peer's batch does not take much longer than the whole measure should."""
    return max(_WARM_UP, min(largest, int(_WARM_UP * seconds / warm_up_seconds)))


def calibrate(fleet: Fleet, control: Control, text: str) -> int:
    """Broadcast once and look at what arrives. Returns the bytes of one uncompressed frame."""
    control.send("bench.fanout", topic=TOPIC, count=1, text=text)
    sizes: set[int] = set()
    missing = set(fleet.clients)
    while missing:
        for client in fleet.pump(60):
            before = len(client.inbox)
            for envelope in client.envelopes():
                if envelope["type"] != "bench.message" or envelope["data"]["text"] != text:
                    raise PeerError(f"expected a bench.message, got {envelope!r}")
                missing.remove(client.sock.fileno())
                sizes.add(before)
    control.expect("bench.done")
    for client in fleet.clients.values():
        client.forget_inflate()
    return _only(sizes) if not _compressed(fleet) else 0


def _only(sizes: set[int]) -> int:
    if len(sizes) != 1:
        raise PeerError(f"the same message has different sizes: {sizes}")
    return sizes.pop()


def _compressed(fleet: Fleet) -> bool:
    return any(client.deflate for client in fleet.clients.values())


def _receiver(fleet: Fleet, control: Control, text: str) -> Callable[[int], None]:
    """How `count` messages per socket are awaited: by bytes where all frames are alike, else by frames."""
    size = calibrate(fleet, control, text)
    if not size:
        return fleet.receive_messages
    if size < len(server_frame(text.encode())):
        raise PeerError(f"a frame of {size} bytes cannot hold the text")
    return lambda count: fleet.receive_bytes(count * size)


def _fan_out(control: Control, receive: Callable[[int], None], count: int, text: str, watch: Stopwatch) -> float:
    """One batch, from the request to the last byte. Returns the watch's seconds so far."""
    with watch:
        control.send("bench.fanout", topic=TOPIC, count=count, text=text)
        receive(count)
    control.expect("bench.done")
    return watch.seconds


def _run(server: Server, plan: Plan, *, many: bool, size: int, deflate: bool, single: bool = False) -> Numbers:
    text = text_of(size)
    sockets = plan.many_sockets if many else plan.few_sockets
    broadcasts = 0
    watch = Stopwatch(server)
    with Fleet() as fleet:
        fleet.open(server.address, users(sockets), deflate=deflate)
        fleet.subscribe(TOPIC)
        control = Control(server.address)
        receive = _receiver(fleet, control, text)
        warm_up = _fan_out(control, receive, _WARM_UP, text, Stopwatch(server))
        count = 1 if single else _batch(warm_up, plan.seconds, _largest_batch(sockets, size))
        while watch.seconds < plan.seconds:
            _fan_out(control, receive, count, text, watch)
            broadcasts += count
        fleet.stays_quiet()
        control.close()
    rate = broadcasts * sockets / watch.seconds
    return {"deliveries_per_second": rate, **watch.notes()}


def _measure(many: bool, size: int, deflate: bool) -> Measure:
    kind = "deflate" if deflate else "fanout"
    sockets, payload = ("3000" if many else "300"), ("1k" if size == 1024 else str(size))
    offered = ", compression offered" if deflate else ""
    return Measure(
        name=f"{kind}-{sockets}x{payload}",
        kind=kind,
        title=f"fan-out to {sockets} sockets, {size} B{offered}",
        metrics=_METRICS,
        run=partial(_run, many=many, size=size, deflate=deflate),
    )


_SHAPES = product((False, True), (False, True), (64, 1024))

FANOUTS = tuple(_measure(many, size, deflate) for deflate, many, size in _SHAPES)

SINGLES = tuple(
    Measure(
        name=f"single-{sockets}x64",
        kind="fanout",
        title=f"one publication at a time to {sockets} sockets, 64 B",
        metrics=_METRICS,
        run=partial(_run, many=many, size=64, deflate=False, single=True),
    )
    for many, sockets in ((False, "300"), (True, "3000"))
)
