"""The wire vectors, against a real server: these bytes in, exactly these envelopes out."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from websockets.exceptions import ConnectionClosed

from tests.harness.clients import closed_with, connect
from tests.harness.server import Server, run_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.clients import ClientConnection

VECTORS = Path(__file__).resolve().parents[1] / "vectors"

CASES = [
    (f"/vectors/{file.stem}/{number}", case)
    for file in sorted(VECTORS.glob("*.json"))
    for number, case in enumerate(json.loads(file.read_text()))
]

KEYS = {"name", "given", "send", "receive", "close"}
GIVEN = {"settings", "router", "token", "logs_errors"}

PLACEHOLDERS: dict[str, Any] = {"<uuid>": UUID, "<datetime>": datetime.fromisoformat, "<number>": float, "<text>": str}
PLACEHOLDER_TYPES: dict[str, Any] = {"<number>": (int, float)}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with run_server("tests.server.apps.vectors:app", env={"WS_CLOSE_TIMEOUT_SECONDS": "1"}) as server:
        yield server


def matches(expected: Any, got: Any) -> bool:
    """Whether both are equal, where `<uuid>` and the like match any value of their kind."""
    if isinstance(expected, str) and expected in PLACEHOLDERS:
        if not isinstance(got, PLACEHOLDER_TYPES.get(expected, str)):
            return False
        try:
            PLACEHOLDERS[expected](got)
        except ValueError:
            return False
        return True
    if isinstance(expected, dict) and isinstance(got, dict):
        return expected.keys() == got.keys() and all(matches(expected[key], got[key]) for key in expected)
    if isinstance(expected, list) and isinstance(got, list):
        return len(expected) == len(got) and all(map(matches, expected, got))
    return type(expected) is type(got) and bool(expected == got)


def receive(client: ClientConnection) -> Any:
    try:
        return json.loads(client.recv(10))
    except ConnectionClosed as closed:
        return f"closed with {closed.rcvd}"


def is_quiet(client: ClientConnection) -> bool:
    """Whether the answer to a ping is the next thing that comes."""
    client.send('{"type": "ping", "request_id": "anything else?"}')
    answer = receive(client)
    return bool(answer == {"type": "pong", "data": {}, "request_id": "anything else?"})


@pytest.mark.logs_errors
@pytest.mark.parametrize(("path", "case"), CASES, ids=[f"{path[9:]}: {case['name']}" for path, case in CASES])
def test_vector(server: Server, path: str, case: dict[str, Any]) -> None:
    start = len(server.log())
    given = case.get("given", {})
    with connect(server, path, token=given.get("token", "alice"), hello=True) as client:
        for text in case["send"]:
            client.send(text)
        for expected in case["receive"]:
            got = receive(client)
            assert matches(expected, got), got
        if case["close"] is None:
            assert is_quiet(client), "more came than was expected"
        else:
            assert closed_with(client)[0] == case["close"]
    assert ("Traceback" in server.log()[start:]) == given.get("logs_errors", False)


def test_every_case_is_of_the_documented_form() -> None:
    assert len(CASES) > 30
    for path, case in CASES:
        assert set(case) - {"given"} == KEYS - {"given"}, path
        assert set(case.get("given", {})) <= GIVEN, path
        for envelope in case["receive"]:
            assert set(envelope) == {"type", "data", "request_id"}, path
    names = [case["name"] for _, case in CASES]
    assert len(names) == len(set(names))


def test_every_documented_error_code_is_there() -> None:
    table = (VECTORS.parents[1] / "docs" / "messages.md").read_text()
    documented = set(re.findall(r"^\| `([a-z_]+)` \|", table, re.MULTILINE)) - {"message", "request_id"}
    shown = {answer["data"]["code"] for _, case in CASES for answer in case["receive"] if answer["type"] == "error"}
    assert shown == documented | {"an_own_code"}


def test_differences_are_found() -> None:
    differences: list[tuple[Any, Any]] = [
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": 1}, {"a": True}),
        ({"a": 1}, {}),
        ([1], [1, 2]),
        ("<uuid>", "no"),
        ("<number>", "1"),
        ("<datetime>", 3),
        ({"a": None}, {}),
    ]
    for expected, got in differences:
        assert not matches(expected, got)
