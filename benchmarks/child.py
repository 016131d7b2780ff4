"""A process that the benchmark starts on given cores, watches, and always ends."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.errors import PeerError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

LOGS = Path(__file__).resolve().parent / "logs"
ROOT = Path(__file__).resolve().parent.parent

_START_SECONDS = 30.0
_STOP_SECONDS = 3.0
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


def free_port() -> int:
    """A port of the loopback interface that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def on_cores(cores: set[int]) -> Callable[[], None]:
    """What a new process does first: stay on these cores, and end with the load generator even if that is killed."""
    return partial(_settle, cores)


def _settle(cores: set[int]) -> None:
    os.sched_setaffinity(0, cores)
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Child:
    """The process, started at once. Its output goes to `logs/<label>.log`."""

    def __init__(
        self, arguments: Sequence[str], label: str, *, cores: set[int], environment: Mapping[str, str] | None = None
    ) -> None:
        LOGS.mkdir(exist_ok=True)
        self._log = LOGS / f"{label}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                arguments,
                cwd=ROOT,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=on_cores(cores),
            )

    @property
    def pid(self) -> int:
        """The first process; it may have children."""
        return self._process.pid

    def wait_until_listening(self, address: tuple[str, int]) -> None:
        """Return once the address accepts connections."""
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise PeerError(f"server ended at once, see {self._log}: {self._log_tail()}")
            with contextlib.suppress(ConnectionError), socket.create_connection(address, timeout=1):
                return
            time.sleep(0.05)
        raise PeerError(f"server does not listen after {_START_SECONDS} s, see {self._log}")

    def stop(self) -> None:
        """End the whole process group: with SIGTERM, then with SIGKILL."""
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_SECONDS)
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _log_tail(self) -> str:
        return self._log.read_text(errors="replace")[-500:]
