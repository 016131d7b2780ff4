"""The chat example as a server that can be restarted on the same port."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.harness.server import ROOT, Server, run_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["serve_chat"]


@contextmanager
def serve_chat(environment: Mapping[str, str], *, port: int, workers: int = 1) -> Iterator[Server]:
    """Serve it until the block ends; its log must then hold no traceback."""
    args = ("--bind", f"127.0.0.1:{port}", "-w", str(workers))
    with run_server("app:app", args=args, cwd=ROOT / "examples/chat", env=environment) as server:
        server.port = port
        yield server
        assert "Traceback" not in server.log(), server.log()
