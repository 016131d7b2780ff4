"""Each example, over a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness.server import ROOT, Server, run_server

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "a secret of the tests, long enough"

OPERATOR_KEY = "operator-key-of-the-tests"


@pytest.fixture(scope="module")
def minimal() -> Iterator[Server]:
    yield from _serve("minimal", {"APP_SECRET": SECRET})


@pytest.fixture(scope="module")
def chat() -> Iterator[Server]:
    yield from _serve("chat", {"CHAT_SECRET": SECRET, "CHAT_OPERATOR_KEY": OPERATOR_KEY})


def _serve(name: str, environment: dict[str, str]) -> Iterator[Server]:
    with run_server("app:app", cwd=ROOT / "examples" / name, env=environment) as server:
        yield server
        assert "Traceback" not in server.log(), server.log()
