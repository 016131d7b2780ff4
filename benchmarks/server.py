"""One peer's server process: started on its own core, watched, and gone at the end whatever happens."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from benchmarks.client import Address, PeerError
from benchmarks.peers_table import ROOT, Peer
from benchmarks.processes import CoreTime, core_time, resident_bytes, tree
from benchmarks.protocol import HEARTBEAT_VARIABLE, SECRET_VARIABLE, TIMEOUT_VARIABLE
from benchmarks.tokens import SECRET

SERVER_CORE = 0
GENERATOR_CORE = 1
LOGS = Path(__file__).resolve().parent / "logs"

_START_SECONDS = 30.0
_STOP_SECONDS = 3.0
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _in_child() -> None:
    """Own core, and death together with the load generator even if that is killed outright."""
    os.sched_setaffinity(0, {SERVER_CORE})
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Server:
    """A context manager around the process. Its output goes to `logs/<label>.log`."""

    def __init__(self, peer: Peer, label: str, *, heartbeat_seconds: int) -> None:
        self.address: Address = ("127.0.0.1", _free_port())
        LOGS.mkdir(exist_ok=True)
        self._log = LOGS / f"{label}.log"
        environment = {
            **os.environ,
            SECRET_VARIABLE: SECRET,
            HEARTBEAT_VARIABLE: str(heartbeat_seconds),
            TIMEOUT_VARIABLE: str(heartbeat_seconds + 3600),
            "PYTHONPATH": str(ROOT),
            "NODE_ENV": "production",
        }
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                peer.arguments(self.address[1]),
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_in_child,
            )

    def __enter__(self) -> Server:
        try:
            self._wait_until_listening()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def resident_bytes(self) -> int:
        """Resident memory of the server's processes."""
        return resident_bytes(self._process.pid)

    def core_time(self) -> CoreTime:
        """What the server's processes got of their core so far."""
        return core_time(tree(self._process.pid))

    def stop(self) -> None:
        """End the whole process group: asked first, killed then."""
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_SECONDS)
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _wait_until_listening(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise PeerError(f"server ended at once, see {self._log}: {self._log_tail()}")
            with contextlib.suppress(ConnectionError), socket.create_connection(self.address, timeout=1):
                return
            time.sleep(0.05)
        raise PeerError(f"server does not listen after {_START_SECONDS} s, see {self._log}")

    def _log_tail(self) -> str:
        return self._log.read_text(errors="replace")[-500:]
