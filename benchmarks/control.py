"""The connection that controls the server. It blocks, never compresses, and subscribes to nothing."""

from __future__ import annotations

import select
import time
from typing import TYPE_CHECKING, Any

from benchmarks.client import Address, Client, PeerError
from benchmarks.dialects import ENVELOPES
from benchmarks.tokens import User, user

if TYPE_CHECKING:
    from benchmarks.dialects import Dialect


class Control:
    """A client for requests and their answers."""

    def __init__(self, address: Address, who: User | None = None, dialect: Dialect = ENVELOPES) -> None:
        self._client = Client(address, who or user(0), deflate=False, dialect=dialect)
        self._dialect = dialect
        self._poll = select.poll()
        self._poll.register(self._client.sock, select.POLLIN)
        self._answers: list[dict[str, Any]] = []
        self._wait(lambda: self._client.upgraded, 10)

    def send(self, kind: str, **data: Any) -> None:
        """Send one envelope."""
        self._client.sock.send(self._dialect.frame(kind, data))

    def expect(self, kind: str, timeout: float = 60) -> dict[str, Any]:
        """The `data` of the next envelope of that type; others are skipped."""
        while True:
            self._wait(lambda: bool(self._answers), timeout)
            envelope = self._answers.pop(0)
            if envelope["type"] == kind:
                data: dict[str, Any] = envelope["data"]
                return data

    def worker(self) -> int:
        """The process id of the worker that has this connection."""
        self.send("bench.where")
        pid: int = self.expect("bench.here")["pid"]
        return pid

    def close(self) -> None:
        """Close the socket."""
        self._client.sock.close()

    def _wait(self, ready: Any, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not ready():
            if not self._poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise PeerError(f"no answer within {timeout} s")
            self._client.receive()
            if self._client.upgraded:
                self._answers.extend(self._client.envelopes())
