"""A server for clients that outlive it: it can be restarted on the same port."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.harness.server import Server, run_server

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["serve"]

APP = "tests.server.apps.dispatching:app"


@contextmanager
def serve(port: int, **environment: str) -> Iterator[Server]:
    """Serve the dispatching app until the block ends; its log must then hold no traceback."""
    settings = {"WS_CLOSE_TIMEOUT_SECONDS": "1", **environment}
    with run_server(APP, args=("--bind", f"127.0.0.1:{port}"), env=settings) as server:
        server.port = port
        yield server
        assert "Traceback" not in server.log(), server.log()
