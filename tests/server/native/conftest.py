"""One server for the modules here that need nothing special of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.server.native.launching import launched

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.server import Server


@pytest.fixture(scope="session")
def shared_native_server() -> Iterator[Server]:
    with launched("hypercorn -w 1", env={"WS_CLOSE_TIMEOUT_SECONDS": "1"}) as server:
        yield server


@pytest.fixture
def server(shared_native_server: Server) -> Server:
    """After each test nothing of it may be left, here and in the log: a fixture one folder up sees to that."""
    return shared_native_server
