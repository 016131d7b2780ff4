"""A server for clients that outlive it: it can be given its port again."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.browser.chat_server import reusable_port
from tests.harness.server import Server, run_server

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["APP", "reusable_port", "serve"]

APP = "tests.server.apps.dispatching:app"


@contextmanager
def serve(port: int, **environment: str) -> Iterator[Server]:
    """Serve the dispatching app until the block ends; there must be no traceback in its log by then."""
    settings = {"WS_CLOSE_TIMEOUT_SECONDS": "1", **environment}
    with run_server(APP, args=("--bind", f"127.0.0.1:{port}"), env=settings) as server:
        server.port = port
        yield server
        assert "Traceback" not in server.log(), server.log()
