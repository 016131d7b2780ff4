"""The servers' transport; and a check after every test that the server leaks nothing and logged nothing unexpected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness.footprint import leaves_nothing_behind
from tests.harness.server import Server, run_server

if TYPE_CHECKING:
    from collections.abc import Iterator

UNEXPECTED = ("Traceback", "Error in ASGI Framework", "internal error")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`transport` is "auto"; tests marked `both_transports` run with "asgi" too."""
    if "transport" in metafunc.fixturenames:
        marked = metafunc.definition.get_closest_marker("both_transports") is not None
        transports = ["auto", "asgi"] if marked else [pytest.param("auto", id=pytest.HIDDEN_PARAM)]
        metafunc.parametrize("transport", transports, scope="session")


@pytest.fixture(scope="session")
def shared_server(transport: str) -> Iterator[Server]:
    with run_server(env={"WS_CLOSE_TIMEOUT_SECONDS": "1", "WS_TRANSPORT": transport}) as server:
        yield server


@pytest.fixture
def server(shared_server: Server) -> Server:
    """The main app; a module that needs other settings has a fixture of the same name."""
    return shared_server


@pytest.fixture(autouse=True)
def nothing_is_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Applies to tests that use a fixture named `server`; `logs_errors` marks those that make it log a traceback."""
    if "server" not in request.fixturenames:
        yield
        return
    server: Server = request.getfixturevalue("server")
    start = len(server.log())
    with leaves_nothing_behind(server):
        yield
    if request.node.get_closest_marker("logs_errors") is None:
        printed = server.log()[start:]
        assert not any(word in printed for word in UNEXPECTED), printed
