"""The heartbeat's wire form, checked against a plain parse of every message."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from quart_wshub.protocol.heartbeat import PING, hello_frame, pong_frame
from quart_wshub.protocol.inbound import heartbeat_in
from tests.unit.memory import make_settings


def parsed(payload: str | bytes) -> Any:
    assert isinstance(payload, str)
    return json.loads(payload)


class TestFrames:
    def test_ping(self) -> None:
        assert parsed(PING.payload) == {"type": "ping", "data": {}, "request_id": None}

    @pytest.mark.parametrize("request_id", [None, "", "r1"])
    def test_pong(self, request_id: str | None) -> None:
        assert parsed(pong_frame(request_id).payload) == {
            "type": "pong",
            "data": {},
            "request_id": request_id,
        }

    def test_hello(self) -> None:
        connection_id = uuid4()
        settings = make_settings(WS_HEARTBEAT_SECONDS=2.5, WS_HEARTBEAT_TIMEOUT_SECONDS=5)

        assert parsed(hello_frame(connection_id, settings).payload) == {
            "type": "hello",
            "data": {
                "connection_id": str(connection_id),
                "heartbeat_seconds": 2.5,
                "heartbeat_timeout_seconds": 5,
            },
            "request_id": None,
        }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"type":"ping"}', ("ping", None)),
        ('{"type":"pong","data":{}}', ("pong", None)),
        (' {\n"data" : {}, "type"\t: "ping" , "request_id": "7"} ', ("ping", "7")),
        ('{"type":"ping","request_id":null}', ("ping", None)),
        ('{"type":"ping","request_id":7}', ("ping", None)),
        ('{"type":"p\\u0069ng"}', ("ping", None)),
        ('{"t\\u0079pe":"\\u0070\\u006F\\u006e\\u0067"}', ("pong", None)),
        ('{"type":"chat","type":"ping"}', ("ping", None)),
        ('{"type":"ping","type":"chat"}', None),
        ('{"type":"chat","data":{"type":"ping"}}', None),
        ('{"type":"chat","data":{"text":"\\u0070ing"}}', None),
        ('{"type":"Ping"}', None),
        ('{"type":"pings"}', None),
        ('{"type":["ping"]}', None),
        ('{"type":{"ping":"ping"}}', None),
        ('"ping"', None),
        ('["ping"]', None),
        ('["type","ping"]', None),
        ('{"type":"ping"', None),
        ('{"type":"ping"} x', None),
        ('{"type":"ping","data":NaN}', None),
        ('"ping"' + "[" * 5000, None),
        ("ping", None),
        ("", None),
    ],
)
def test_heartbeat_in(text: str, expected: tuple[str, str | None] | None) -> None:
    assert heartbeat_in(text) == expected


def no_constant(name: str) -> None:
    raise ValueError(name)


def naive(text: str) -> tuple[str, str | None] | None:
    """The model: parse everything."""
    try:
        message = json.loads(text, parse_constant=no_constant)
    except ValueError:
        return None
    if not isinstance(message, dict) or message.get("type") not in ["ping", "pong"]:
        return None
    request_id = message.get("request_id")
    return message["type"], request_id if isinstance(request_id, str) else None


types = st.sampled_from(["ping", "pong", "chat", "", "ping ", "hello"])
leaves = st.none() | st.booleans() | st.integers() | types | st.text()
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(types | st.text(), inner), max_leaves=5)


def escaped(text: str, escape: list[bool]) -> str:
    """The JSON string for `text`, with letters written as `\\uXXXX` where `escape` says so."""
    pairs = zip(text, [*escape, *[False] * len(text)], strict=False)
    return '"' + "".join(f"\\u{ord(c):04x}" if e and c.isascii() else json.dumps(c)[1:-1] for c, e in pairs) + '"'


@st.composite
def messages(draw: st.DrawFn) -> str:
    """JSON objects as clients may spell them: any order, spacing, escapes, and keys given twice."""
    escapes = st.lists(st.booleans(), max_size=8)
    members = []
    for key in draw(st.lists(st.sampled_from(["type", "data", "request_id", "x"]), max_size=5)):
        value = draw(types | values)
        encoded = escaped(value, draw(escapes)) if isinstance(value, str) else json.dumps(value)
        members.append(f"{escaped(key, draw(escapes))}{draw(st.sampled_from([':', ' : ']))}{encoded}")
    return "{" + draw(st.sampled_from([",", " ,\n"])).join(members) + "}"


@given(messages() | values.map(json.dumps) | st.text())
@example('{"type":"p\\u0069ng","request_id":"\\u0037"}')
def test_classify_agrees_with_a_plain_parse(text: str) -> None:
    assert heartbeat_in(text) == naive(text)
