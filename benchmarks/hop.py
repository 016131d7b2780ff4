"""The least time a message between two nodes can take: one PUBLISH of coredis in one process, received in another.

The load generator triggers each, so that they alternate with what they are compared with; the two processes measure.
"""

from __future__ import annotations

import select
import subprocess
import sys
from typing import IO, TYPE_CHECKING

from benchmarks.child import ROOT, on_cores
from benchmarks.errors import PeerError
from benchmarks.server import ALL_CORES

if TYPE_CHECKING:
    from types import TracebackType

_PATIENCE_SECONDS = 30.0


def _start(role: str, url: str, text: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.peers.coredis_hop", role, url, text],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=on_cores(ALL_CORES),
    )


def _line(pipe: IO[bytes] | None) -> bytes:
    assert pipe is not None
    if not select.select([pipe], [], [], _PATIENCE_SECONDS)[0]:
        raise PeerError("the bare hop does not answer")
    line = pipe.readline()
    if not line:
        raise PeerError("the bare hop ended")
    return line


class Hop:
    """The two processes. A context manager; leaving it ends them."""

    def __init__(self, url: str, text: str) -> None:
        self._receiver = _start("receive", url, text)
        self._publisher = _start("publish", url, text)

    def __enter__(self) -> Hop:
        try:
            _line(self._receiver.stdout)
            _line(self._publisher.stdout)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def once(self) -> int:
        """Publish once. Returns the nanoseconds from the call in one process to the message in the other."""
        assert self._publisher.stdin is not None
        self._publisher.stdin.write(b"\n")
        self._publisher.stdin.flush()
        latency = int(_line(self._receiver.stdout))
        _line(self._publisher.stdout)
        return latency

    def _stop(self) -> None:
        for process in (self._publisher, self._receiver):
            process.kill()
            process.communicate()
