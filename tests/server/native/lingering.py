"""A server that is shut down with all kinds of clients connected, and what became of them."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Literal

from tests.harness.clients import ClientConnection, closed_with, connect
from tests.harness.http import get, post
from tests.harness.polling import poll
from tests.harness.raw import CLOSE, TEXT, raw_client
from tests.server.native.launching import is_alive, launched, worker_pids

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.raw import Frame, RawClient
    from tests.harness.server import Server
    from tests.server.native.launching import Way

__all__ = ["GRACE", "STOPS", "Outcome", "Stop", "crowd", "shut_down", "stop"]

Stop = Literal["to the master", "to the workers", "to the group", "by the trigger"]

STOPS: list[tuple[Way, Stop]] = [
    ("hypercorn -w 1", "to the master"),
    ("hypercorn -w 2", "to the master"),
    ("hypercorn -w 1", "to the workers"),
    ("hypercorn -w 2", "to the workers"),
    ("hypercorn -w 1", "to the group"),
    ("hypercorn -w 2", "to the group"),
    ("serve", "by the trigger"),
]

GRACE = 3
"""Hypercorn's default `graceful_timeout`, in seconds: what `serve` is given here."""

SHORT_GRACE = 1

BURST = 40
BURST_BYTES = 10_000
"""Together more than the kernel takes for a peer that does not read, and less than may wait for it."""


@dataclass(frozen=True)
class Outcome:
    """How a shutdown went.

    Attributes:
        codes: what each of the well-behaved clients was told.
        seconds: until no process that had served was left.
        grace: hypercorn's `graceful_timeout` that it had.
        status: the exit status of what was started; `None` where it goes on.
        waiting: messages that waited for a slow reader when the shutdown began.
        read: what that reader, who began to read then, got to read.
    """

    codes: list[int]
    seconds: float
    grace: int
    status: int | None
    waiting: int
    read: list[Frame]
    log: str


@contextmanager
def crowd(server: Server, path: str = "/echo", *, count: int = 8) -> Iterator[list[ClientConnection]]:
    """Well-behaved clients, each of its own user."""
    with ExitStack() as stack:
        yield [stack.enter_context(connect(server, path, token=f"{path[1:]}{number}")) for number in range(count)]


@contextmanager
def stuck_peers(server: Server) -> Iterator[None]:
    """For whom the server has more than they will ever read, over WebSockets and HTTP."""
    with ExitStack() as stack:
        for number in range(4):
            stack.enter_context(raw_client(server, f"/flood?token=stuck{number}", receive_buffer=4096))
        download = stack.enter_context(raw_client(server, receive_buffer=4096))
        download.send(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        assert download.read_response() == 200
        yield


@contextmanager
def idlers(server: Server) -> Iterator[None]:
    """A connection that has not said a word yet, and one that may ask for more."""
    with raw_client(server), closing(HTTPConnection("127.0.0.1", server.port, timeout=10)) as kept_alive:
        kept_alive.request("GET", "/process")
        assert kept_alive.getresponse().read()
        yield


def stop(server: Server, how: Stop, workers: set[int]) -> float:
    """Shut down, and wait for the end of the processes that served. Returns how long it took, in seconds."""
    start = time.monotonic()
    _ask_to_stop(server, how, workers)
    _wait_for_the_end(server, how, workers)
    return time.monotonic() - start


def _ask_to_stop(server: Server, how: Stop, workers: set[int]) -> None:
    match how:
        case "to the master":
            os.kill(server.pid, signal.SIGTERM)
        case "to the workers":
            for pid in workers:
                os.kill(pid, signal.SIGTERM)
        case "to the group":
            os.killpg(server.pid, signal.SIGTERM)
        case "by the trigger":
            post(server, "/shutdown")


def _wait_for_the_end(server: Server, how: Stop, workers: set[int]) -> None:
    """Where only the workers were told, the master goes on, with new ones."""
    poll(lambda: not any(map(_runs, workers)), timeout=GRACE + 10, what="no worker is left")
    if how != "to the workers":
        server.wait()


def _runs(pid: int) -> bool:
    with suppress(ProcessLookupError):  # it ended while it was looked at
        return is_alive(pid)
    return False


def shut_down(way: Way, how: Stop) -> Outcome:
    """Shut a server down while everyone is there."""
    grace = GRACE if way == "serve" else SHORT_GRACE
    with launched(way, args=() if way == "serve" else ("--graceful-timeout", str(grace))) as server:
        workers = worker_pids(server, way)
        with (
            crowd(server) as echoing,
            crowd(server, "/clean-up-slowly", count=2) as cleaned_up_after,
            stuck_peers(server),
            idlers(server),
            raw_client(server, f"/burst?token=reader&count={BURST}&size={BURST_BYTES}", receive_buffer=4096) as slow,
        ):
            slow.send_frame(TEXT, b"now")
            waiting = poll(lambda: _waiting_for(server, "reader"), what="all that was sent to the slow reader")
            start = time.monotonic()
            _ask_to_stop(server, how, workers)
            read = _read_everything(slow)
            codes = [closed_with(client)[0] for client in (*echoing, *cleaned_up_after)]
            _wait_for_the_end(server, how, workers)
            outcome = Outcome(codes, time.monotonic() - start, grace, server.returncode, waiting, read, server.log())
        server.kill()  # with the worker that the master has started in place of the one that was shut down
        return outcome


def _waiting_for(server: Server, user: str) -> int:
    """How many messages wait for this user, once all are sent. The answer may come from a worker it is not with."""
    for statistics in get(server, f"/connections/{user}").json()["statistics"]:
        if statistics["messages_sent"] > BURST:  # with `hello`
            queued: int = statistics["queued_messages"]
            return queued
    return 0


def _read_everything(client: RawClient) -> list[Frame]:
    read: list[Frame] = []
    try:
        while not read or read[-1].opcode != CLOSE:
            read.append(client.read_frame())
        client.send_frame(CLOSE, read[-1].payload)
    except (EOFError, ConnectionError):
        pass
    return read
