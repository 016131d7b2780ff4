"""Many client sockets under one epoll: opening them, and receiving as cheaply as Python can.

In the hot loops the generator sleeps briefly between two polls, so that one system call reads several messages of a
socket. Measured against the bare `os.write` loop, that halves the generator's CPU time and does not change the server's
rate, so the generator is not the limit. Such a sleep is short compared with a batch.
"""

from __future__ import annotations

import select
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from benchmarks.client import Address, Client, PeerError
from benchmarks.dialects import ENVELOPES
from benchmarks.frames import count_messages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.dialects import Dialect
    from benchmarks.tokens import User

HANDSHAKES_IN_FLIGHT = 50
NAP_SECONDS = 0.002
PATIENCE_SECONDS = 60.0


class Fleet:
    """Client sockets by descriptor. A context manager; leaving it closes them all."""

    def __init__(self, dialect: Dialect = ENVELOPES) -> None:
        self.clients: dict[int, Client] = {}
        self._dialect = dialect
        self._epoll = select.epoll()
        self._buffer = bytearray(1 << 18)

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self.clients)

    def close(self) -> None:
        """Close all sockets without a closing handshake."""
        for client in self.clients.values():
            client.sock.close()
        self.clients.clear()
        self._epoll.close()

    def open(self, address: Address, users: list[User], *, deflate: bool = False) -> float:
        """Open one socket per user, `HANDSHAKES_IN_FLIGHT` at a time. Returns the seconds it took."""
        waiting = deque(users)
        pending: set[int] = set()
        start = time.perf_counter()
        while waiting or pending:
            while waiting and len(pending) < HANDSHAKES_IN_FLIGHT:
                pending.add(self._add(Client(address, waiting.popleft(), deflate=deflate, dialect=self._dialect)))
            for client in self.pump(PATIENCE_SECONDS):
                if client.upgraded:
                    pending.discard(client.sock.fileno())
        return time.perf_counter() - start

    def _add(self, client: Client) -> int:
        fd = client.sock.fileno()
        self.clients[fd] = client
        self._epoll.register(fd, select.EPOLLIN)
        return fd

    def drop(self, client: Client) -> None:
        """Close one socket without a closing handshake."""
        fd = client.sock.fileno()
        self._epoll.unregister(fd)
        del self.clients[fd]
        client.sock.close()

    def pump(self, timeout: float) -> Iterator[Client]:
        """Receive once on every readable socket, and yield those clients."""
        ready = self._epoll.poll(timeout, 4096)
        if not ready and timeout >= PATIENCE_SECONDS:
            raise PeerError(f"nothing arrived for {timeout} s")
        for fd, _events in ready:
            client = self.clients[fd]
            client.receive()
            yield client

    def subscribe(self, topic: str) -> None:
        """Subscribe every client and wait for all acknowledgements; afterwards nothing is on the wire."""
        frame = self._dialect.frame("subscribe", {"topic": topic})
        for client in self.clients.values():
            client.sock.send(frame)
        self.each_receives("bench.subscribed")

    def each_receives(self, kind: str) -> dict[str, Any]:
        """Wait until every client got exactly one envelope of that type, skipping others. Returns the last one."""
        missing = set(self.clients)
        last: dict[str, Any] = {}
        while missing:
            for client in self.pump(PATIENCE_SECONDS):
                for envelope in client.envelopes():
                    if envelope["type"] == kind:
                        missing.remove(client.sock.fileno())
                        last = envelope
        return last

    def workers_of(self, clients: list[Client]) -> list[tuple[Client, int]]:
        """The process id of the worker of each of these clients."""
        for client in clients:
            client.sock.send(self._dialect.frame("bench.where", {}))
        found: list[tuple[Client, int]] = []
        while len(found) < len(clients):
            for client in self.pump(PATIENCE_SECONDS):
                found += [(client, envelope["data"]["pid"]) for envelope in client.envelopes() if _is_here(envelope)]
        return found

    def next_size(self) -> int:
        """Wait for one message on every socket, all of the same length. Returns that length, in bytes on the wire."""
        sizes = set()
        missing = set(self.clients)
        while missing:
            for client in self.pump(PATIENCE_SECONDS):
                sizes.add(len(client.inbox))
                if count_messages(client.inbox) != 1 or client.inbox:
                    raise PeerError("expected exactly one message")
                missing.remove(client.sock.fileno())
        if len(sizes) != 1:
            raise PeerError(f"the same message has different sizes: {sizes}")
        return sizes.pop()

    def idle(self, seconds: float) -> None:
        """Only answer heartbeats for this many seconds."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            for client in self.pump(min(left, 0.05)):
                for _envelope in client.envelopes():
                    pass

    def receive_bytes(self, each: int) -> None:
        """Receive exactly `each` bytes on every socket, uncompressed. More or fewer on any one is an error."""
        got = dict.fromkeys(self.clients, 0)
        read = {fd: client.sock.recv_into for fd, client in self.clients.items()}
        missing = each * len(got)
        buffer = self._buffer
        while missing > 0:
            for fd in self._readable():
                size = read[fd](buffer)
                if not size:
                    raise PeerError(f"server closed a connection; {missing} bytes are missing")
                got[fd] += size
                missing -= size
            if missing > 0:
                time.sleep(NAP_SECONDS)
        _check_equal(got, each, "bytes")

    def receive_messages(self, each: int) -> None:
        """Receive exactly `each` messages on every socket, compressed or not."""
        got = dict.fromkeys(self.clients, 0)
        missing = each * len(got)
        while missing > 0:
            for fd in self._readable():
                client = self.clients[fd]
                client.receive()
                messages = count_messages(client.inbox)
                got[fd] += messages
                missing -= messages
            if missing > 0:
                time.sleep(NAP_SECONDS)
        _check_equal(got, each, "messages")

    def stays_quiet(self, seconds: float = 0.05) -> None:
        """Check that nothing more arrives; after the last batch, a surplus message would otherwise go unnoticed."""
        if self._epoll.poll(seconds, 1):
            raise PeerError("more arrived than was requested")

    def _readable(self) -> list[int]:
        ready = self._epoll.poll(PATIENCE_SECONDS, 4096)
        if not ready:
            raise PeerError(f"nothing arrived for {PATIENCE_SECONDS} s")
        return [fd for fd, _events in ready]


def _is_here(envelope: dict[str, Any]) -> bool:
    return bool(envelope["type"] == "bench.here")


def _check_equal(got: dict[int, int], each: int, what: str) -> None:
    wrong = {fd: count for fd, count in got.items() if count != each}
    if wrong:
        example = next(iter(wrong.values()))
        raise PeerError(f"{len(wrong)} of {len(got)} sockets got other than {each} {what}, e.g. {example}")
