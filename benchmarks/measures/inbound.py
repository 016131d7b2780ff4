"""Inbound: a few sockets send small envelopes as fast as the server acknowledges them, many in flight."""

from __future__ import annotations

import select
import time
from typing import TYPE_CHECKING

from benchmarks.client import Client, PeerError, envelope_frame
from benchmarks.fleet import Fleet
from benchmarks.measures.base import Measure, Metric, Numbers, Stopwatch
from benchmarks.protocol import ACK_EVERY
from benchmarks.tokens import users

if TYPE_CHECKING:
    from benchmarks.plan import Plan
    from benchmarks.server import Server

_BLOB = envelope_frame("bench.sink", {"text": "a typical short chat line", "n": 1234567}) * ACK_EVERY
_IN_FLIGHT = 4


class _Sender:
    """One socket's stream of blobs; a blob is as many messages as the server acknowledges at a time."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._rest = memoryview(b"")
        self.started = 0
        self.acknowledged = 0

    def wants_to_write(self, more: bool) -> bool:
        """Whether something is left to send now."""
        return bool(self._rest) or (more and self.started - self.acknowledged < _IN_FLIGHT)

    def write(self) -> None:
        """Send what the socket takes, starting the next blob when none is half sent."""
        if not self._rest:
            self._rest = memoryview(_BLOB)
            self.started += 1
        try:
            self._rest = self._rest[self._client.sock.send(self._rest) :]
        except BlockingIOError:
            return

    def read(self) -> None:
        """Take acknowledgements; each must tell the exact number of messages."""
        self._client.receive()
        for envelope in self._client.envelopes():
            if envelope["type"] == "bench.ack":
                self.acknowledged += 1
                if envelope["data"]["count"] != self.acknowledged * ACK_EVERY:
                    raise PeerError(f"wrong acknowledgement {envelope!r}")


def _exchange(senders: dict[int, _Sender], seconds: float) -> None:
    """Send for so long, then until everything is acknowledged."""
    poll = select.poll()
    end = time.perf_counter() + seconds
    while True:
        more = time.perf_counter() < end
        if not more and all(sender.acknowledged == sender.started for sender in senders.values()):
            return
        for fd, sender in senders.items():
            poll.register(fd, select.POLLIN | (select.POLLOUT if sender.wants_to_write(more) else 0))
        ready = poll.poll(60_000)
        if not ready:
            raise PeerError("no acknowledgement for 60 s")
        for fd, events in ready:
            if events & ~select.POLLOUT:
                senders[fd].read()
            if events & select.POLLOUT:
                senders[fd].write()


def _run(server: Server, plan: Plan) -> Numbers:
    watch = Stopwatch(server)
    with Fleet() as fleet:
        fleet.open(server.address, users(plan.sink_sockets))
        fleet.subscribe("sink")
        senders = {fd: _Sender(client) for fd, client in fleet.clients.items()}
        with watch:
            _exchange(senders, plan.seconds)
    messages = ACK_EVERY * sum(sender.acknowledged for sender in senders.values())
    return {"messages_per_second": messages / watch.seconds, **watch.notes()}


INBOUND = Measure(
    name="inbound",
    kind="inbound",
    title=f"inbound, pipelined {len(_BLOB) // ACK_EVERY}-byte frames, validated",
    metrics=(Metric("messages_per_second", "messages/s"),),
    run=_run,
)
