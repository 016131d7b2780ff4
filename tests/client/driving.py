"""The client in a Node process, driven from a test."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any

from tests.harness.node import NODE, node_environment
from tests.harness.polling import poll

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CallError", "NodeClient", "node_client", "read_lines"]

DRIVER = Path(__file__).parent / "scripts" / "driver.mjs"

EXIT_SECONDS = 10


def read_lines(output: IO[str]) -> list[Any]:
    """The JSON values of all complete lines so far.

    The process that writes them shares the file's offset, so seeking here would have it overwrite its first lines.
    """
    text = os.pread(output.fileno(), os.fstat(output.fileno()).st_size, 0)
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith(b"\n")]


class CallError(Exception):
    """A call of the client failed; `code` is that of its `WSHubError`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class NodeClient:
    """Drives one `WSHubClient`; see driver.mjs for what it understands."""

    def __init__(self, process: subprocess.Popen[str], output: IO[str]) -> None:
        self._process = process
        self._output = output
        self._calls = 0

    def lines(self) -> list[Any]:
        """What it has printed so far."""
        return read_lines(self._output)

    def events(self, name: str) -> list[Any]:
        return [line for line in self.lines() if line.get("event") == name]

    def wait_for(self, name: str, *, count: int = 1, timeout: float = 10, **detail: object) -> Any:
        """Wait for the `count`th event of this name with these details, and return it."""

        def matching() -> list[Any]:
            return [event for event in self.events(name) if detail.items() <= event.items()]

        try:
            found = poll(matching, until=lambda events: len(events) >= count, timeout=timeout)
        except AssertionError:
            msg = f"no {name} {detail} number {count} within {timeout} s in {self.lines()}"
            raise AssertionError(msg) from None
        return found[count - 1]

    def start(self, call: str, *args: object) -> int:
        """Call without waiting; returns the number that `result` takes."""
        self._calls += 1
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"id": self._calls, "call": call, "args": args}) + "\n")
        self._process.stdin.flush()
        return self._calls

    def result(self, number: int, *, timeout: float = 10) -> Any:
        """The result of a call.

        Raises:
            CallError: it was rejected.
        """
        found: list[Any] = poll(
            lambda: [line for line in self.lines() if line.get("id") == number], timeout=timeout, what="a result"
        )
        if "error" in found[0]:
            raise CallError(**found[0]["error"])
        return found[0]["value"]

    def call(self, name: str, *args: object) -> Any:
        return self.result(self.start(name, *args))

    def end(self) -> int:
        """End its input; returns the exit status. Whatever the client left running would keep the process alive."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._process.wait(EXIT_SECONDS)


@contextmanager
def node_client(url: str, *, tokens: list[str | None] | None = None, **options: Any) -> Iterator[NodeClient]:
    """A client of `url` until the block ends; it gets the `tokens` in turn, and the last one from then on."""
    arguments = json.dumps({"url": url, "tokens": tokens or ["ann"], **options})
    with TemporaryFile("w+") as output:
        process = subprocess.Popen(
            [NODE, DRIVER, arguments],
            env=node_environment(),
            stdin=subprocess.PIPE,
            stdout=output.fileno(),
            text=True,
        )
        try:
            yield NodeClient(process, output)
        finally:
            process.kill()
            process.wait()
            if process.stdin is not None:
                process.stdin.close()
