"""The chat example as a server on a port that it can be given again."""

from __future__ import annotations

import random
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.harness.server import ROOT, Server, run_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["reusable_port", "serve_chat"]

BELOW_EPHEMERAL = range(20_000, 32_000)
"""Ports that no system gives out by itself, be it to a server on port 0 or to a client."""


def reusable_port() -> int:
    """A port that nobody takes while a server restarts; an ephemeral one may go to any client meanwhile."""
    for port in random.sample(BELOW_EPHEMERAL, k=100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    msg = "no free port"
    raise OSError(msg)


@contextmanager
def serve_chat(environment: Mapping[str, str], *, port: int, workers: int = 1) -> Iterator[Server]:
    """Serve it until the block ends; there must be no traceback in its log by then."""
    args = ("--bind", f"127.0.0.1:{port}", "-w", str(workers))
    with run_server("app:app", args=args, cwd=ROOT / "examples/chat", env=environment) as server:
        server.port = port
        yield server
        assert "Traceback" not in server.log(), server.log()
