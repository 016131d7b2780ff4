"""The four ways to start a server, and what there is to know about its processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tests.harness.clients import ClientConnection, connect
from tests.harness.http import get
from tests.harness.polling import poll
from tests.harness.server import ROOT, Server, run_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["APP", "EVERY_WAY", "Way", "bystanders", "is_alive", "launched", "worker_pids"]

APP = "tests.server.native.apps.served:app"

Way = Literal["hypercorn -w 1", "hypercorn -w 2", "app.run", "serve"]

EVERY_WAY: tuple[Way, ...] = ("hypercorn -w 1", "hypercorn -w 2", "app.run", "serve")

CLIENTS_PER_WORKER = 2


@contextmanager
def launched(way: Way, *, args: Sequence[str] = (), env: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Serve the app of these tests until the block ends. `args` are hypercorn's."""
    if way in ("hypercorn -w 1", "hypercorn -w 2"):
        workers = int(way[-1])
        with run_server(APP, args=("-w", str(workers), *args), env=env) as server:
            poll(lambda: server.log().count("Running on"), until=lambda count: count == workers)
            yield server
    else:
        assert not args
        with _run_by_itself("run" if way == "app.run" else "serve", env or {}) as server:
            yield server


@contextmanager
def _run_by_itself(way: str, env: Mapping[str, str]) -> Iterator[Server]:
    port = _free_port()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **env}
    with tempfile.TemporaryDirectory(prefix="wshub-server-") as directory:
        log_path = Path(directory, "log")
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.server.native.apps.served", way, str(port)],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        server = Server(process, log_path, environment)
        try:
            server.port = port
            poll(lambda: _answers(server), timeout=30, what="the server answers")
            yield server
            with suppress(subprocess.TimeoutExpired):
                server.stop()
        finally:
            server.kill()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _answers(server: Server) -> bool:
    with suppress(OSError):
        return get(server, "/process").status == 200
    return False


def worker_pids(server: Server, way: Way) -> set[int]:
    """The processes that serve, asked until every one has answered."""
    seen: set[int] = set()
    expected = 2 if way == "hypercorn -w 2" else 1

    def ask() -> int:
        seen.add(get(server, "/process").json()["pid"])
        return len(seen)

    poll(ask, until=lambda found: found == expected, what=f"{expected} workers answer")
    return seen


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@contextmanager
def bystanders(server: Server, *, count: int = 8) -> Iterator[list[ClientConnection]]:
    """Well-behaved clients, each of its own user; most likely some with every worker. At the end they still are."""
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(server, "/echo", token=f"bystander{n}")) for n in range(count)]
        yield clients
        for client in clients:
            client.send("still there")
            assert client.recv(10) == "still there"
