"""A server as a subprocess on an ephemeral port, the way an operator starts one."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tests.harness.polling import poll

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["MAIN_APP", "ROOT", "Kind", "Server", "ServerExitedError", "run_server", "run_to_exit"]

ROOT = Path(__file__).resolve().parents[2]

MAIN_APP = "tests.server.apps.main:app"

Kind = Literal["trio", "asyncio", "uvicorn"]
"""`trio` and `asyncio` are hypercorn's workers."""

START_SECONDS = 30
STOP_SECONDS = 15

_LISTENING = re.compile(r"running on https?://127\.0\.0\.1:(\d+)", re.IGNORECASE)


class ServerExitedError(Exception):
    """The server ended before it listened; the text is its log."""


class Server:
    """A running server. Its output, standard and error, goes to one file."""

    def __init__(self, process: subprocess.Popen[bytes], log_path: Path, environment: Mapping[str, str]) -> None:
        self._process = process
        self._environment = environment
        self._log_path = log_path
        self.port = 0

    @property
    def pid(self) -> int:
        """The process that was started; hypercorn's worker is a child of it."""
        return self._process.pid

    @property
    def native(self) -> bool:
        """Whether the hub's own transport serves. Over plain ASGI the app does not see what hypercorn hides."""
        return self._environment.get("WS_TRANSPORT", "auto") == "auto"

    @property
    def returncode(self) -> int | None:
        """The exit status; `None` while it runs."""
        return self._process.poll()

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def ws(self, path: str = "/ws") -> str:
        return f"ws://127.0.0.1:{self.port}{path}"

    def log(self) -> str:
        """What it has printed so far."""
        return self._log_path.read_text(errors="replace")

    def wait_for_log(self, text: str, *, since: int = 0, timeout: float = 10) -> str:
        """Wait until `text` has been printed; returns the log, in both cases from the position `since` on."""
        what = f"{text!r} in the log"
        return poll(lambda: self.log()[since:], until=lambda log: text in log, timeout=timeout, what=what)

    def stop(self, signal: signal.Signals = signal.SIGTERM, *, timeout: float = STOP_SECONDS) -> int:
        """Signal it, as a supervisor does, and wait for its end; see `wait`."""
        if self._process.poll() is None:
            self._process.send_signal(signal)
        return self.wait(timeout)

    def wait(self, timeout: float = STOP_SECONDS) -> int:
        """Wait for its end, and up to 2 s for that of its children. Returns the exit status.

        Raises:
            subprocess.TimeoutExpired: it still runs after `timeout` seconds.
        """
        status = self._process.wait(timeout)
        with suppress(AssertionError):  # `kill` ends the children that are left
            poll(lambda: not _members_of(self._process.pid), timeout=2)
        return status

    def wait_until_listening(self, *, timeout: float) -> None:
        """Wait until it listens, and learn its port.

        Raises:
            ServerExitedError: it ended instead.
        """

        def listening_or_gone() -> re.Match[str] | bool:
            gone = self._process.poll() is not None
            return _LISTENING.search(self.log()) or gone

        found = poll(listening_or_gone, timeout=timeout, what="the server listens")
        if not isinstance(found, re.Match):
            raise ServerExitedError(self.log())
        self.port = int(found[1])

    def kill(self) -> None:
        """Kill it and its workers."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@contextmanager
def run_server(
    application: str = MAIN_APP,
    *,
    args: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    kind: Kind = "trio",
) -> Iterator[Server]:
    """Serve `application` until the block ends.

    Args:
        application: ``module:app``, importable from `cwd` or from the top of the repository.
        args: further arguments of the server's command line.
        env: added to this process's environment, which is passed on (subprocess coverage needs it).
        cwd: where to start it; the top of the repository if not given.
        kind: what serves.

    Raises:
        ServerExitedError: it ended without listening.
    """
    with _started(_command(application, args, kind), env, cwd) as server:
        server.wait_until_listening(timeout=START_SECONDS)
        yield server
        # In order, so that subprocess coverage is written; after a test that failed, it is killed instead.
        with suppress(subprocess.TimeoutExpired):
            server.stop()


def run_to_exit(
    application: str,
    *,
    args: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    kind: Kind = "trio",
    timeout: float = START_SECONDS,
) -> tuple[int, str]:
    """Start a server that is expected to end by itself; returns its exit status and its log.

    Raises:
        subprocess.TimeoutExpired: it still runs after `timeout` seconds.
    """
    with _started(_command(application, args, kind), env, cwd) as server:
        return server.wait(timeout), server.log()


def _members_of(process_group: int) -> list[int]:
    """The live processes of a group."""
    members = []
    for entry in Path("/proc").iterdir():
        with suppress(ValueError, OSError):
            state, _, group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(group) == process_group and state != "Z":
                members.append(int(entry.name))
    return members


def _command(application: str, args: Sequence[str], kind: Kind) -> list[str]:
    if kind == "uvicorn":
        server = ["uvicorn", "--host", "127.0.0.1", "--port", "0", "--no-use-colors"]
    else:
        server = ["hypercorn", "--worker-class", kind, "--bind", "127.0.0.1:0"]
    return [sys.executable, "-m", *server, *args, application]


@contextmanager
def _started(command: Sequence[str], env: Mapping[str, str] | None, cwd: Path | None) -> Iterator[Server]:
    inherited = os.environ.get("PYTHONPATH")
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT) if inherited is None else f"{ROOT}{os.pathsep}{inherited}",
        "PYTHONUNBUFFERED": "1",
        **(env or {}),
    }
    with tempfile.TemporaryDirectory(prefix="wshub-server-") as directory:
        log_path = Path(directory, "log")
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=cwd or ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that its workers can be killed with it
            )
        server = Server(process, log_path, environment)
        try:
            yield server
        finally:
            server.kill()
