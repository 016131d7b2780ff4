"""Whatever a client sends: every answer has the documented shape, and no other connection is affected."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel

from quart_wshub import (
    CloseCode,
    ErrorCode,
    InvalidEnvelopeError,
    InvalidJSONError,
    MessageRouter,
    WebSocketDisconnect,
    WebSocketHub,
    WSEnvelope,
)
from quart_wshub.hub.websocket_hub import runtime_of
from quart_wshub.protocol.inbound import read_envelope
from quart_wshub.testing import WebSocketClient, connect
from tests.unit.memory import assert_nothing_is_left, assert_open, make_app

pytestmark = pytest.mark.timeout(300)
"""The thousands of examples of the `thorough` profile take a busy machine a minute to make up."""

CODES = set(ErrorCode) - {ErrorCode.INTERNAL, ErrorCode.TIMEOUT}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)
types = st.sampled_from(
    ["say", "later", "raw", "subscribe", "unsubscribe", "auth.refresh", "ping", "pong", "hello", "error", "say.reply"]
)
envelopes = st.fixed_dictionaries(
    {},
    optional={
        "type": types | types | json_values,
        "data": st.fixed_dictionaries(
            {}, optional=dict.fromkeys(("text", "topic", "token", "times", "extra"), json_values)
        )
        | json_values,
        "request_id": st.text(max_size=5) | json_values,
        "other": json_values,
    },
)
texts = envelopes.map(json.dumps) | json_values.map(json.dumps) | st.text(max_size=20)


class Say(BaseModel):
    text: str
    times: int = 1


def make_router() -> MessageRouter:
    messages = MessageRouter(authorize_subscribe=lambda connection, topic: len(topic) % 2 == 1)

    @messages.on("say")
    async def say(message: Say) -> Say:
        return message

    @messages.on("later", concurrent=True, timeout=5)
    async def later(message: Say) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        return {"text": message.text}

    @messages.on("raw")
    async def raw(message: WSEnvelope) -> dict[str, Any]:
        return message.data

    return messages


async def token_is_ann(token: str) -> str | None:
    await trio.lowlevel.checkpoint()
    return token if token in ("ann", "bob") else None


def check_shape(answer: Any) -> None:
    assert set(answer) == {"type", "data", "request_id"}
    assert isinstance(answer["data"], dict)
    assert answer["request_id"] is None or isinstance(answer["request_id"], str)
    if answer["type"] != "error":
        assert answer["type"] == "pong" or answer["type"].endswith(".reply")
        assert answer["type"] == "pong" or answer["request_id"] is not None
        return
    assert set(answer["data"]) == {"code", "message", "details"}
    assert answer["data"]["code"] in CODES
    assert isinstance(answer["data"]["message"], str)
    for detail in answer["data"]["details"]:
        assert set(detail) in ({"loc", "message", "type"}, {"retry_after_seconds"})


@given(st.lists(texts, max_size=8))
@example(['{"type": "say", "data": {"text": "a", "times": 1e400}}'])
@example(['{"type": "raw", "data": {"a": 1e308}, "request_id": "' + "x" * 1000 + '"}'])
def test_no_input_breaks_a_connection_or_affects_another(inputs: list[str]) -> None:
    trio.run(send_everything, inputs)


hub = WebSocketHub()
# One for all examples: it takes longer to make than to run one, and of none may anything stay in it.
app = make_app(make_router(), hub, resolver=token_is_ann, WS_MAX_BAD_MESSAGES=1000, WS_HELLO=False)


async def send_everything(inputs: list[str]) -> None:
    async with connect(app, token="bob") as witness:
        await witness.send_envelope(WSEnvelope(type="subscribe", data={"topic": "bob"}, request_id="s"))
        await witness.expect("subscribe.reply")
        async with connect(app, token="ann") as client:
            for text in inputs:
                await client.send(text)
            await client.send('{"type": "raw", "request_id": "the end"}')
            await take_answers(client)
            [bob] = runtime_of(hub).registry.of_user("bob")
            assert bob.topics == {"bob"}
            assert bob.ending is None
        await assert_open(witness)
        assert await hub.broadcast(WSEnvelope(type="said"), topic="bob") >= 1
        await witness.expect("said")
    assert_nothing_is_left(hub)


async def take_answers(client: WebSocketClient) -> None:
    """Until the last is answered, or the client has shown a token that is none of its user's."""
    answer: Any = {}
    try:
        while answer.get("request_id") != "the end":
            with trio.fail_after(5):
                answer = await client.receive_json()
            check_shape(answer)
    except WebSocketDisconnect as gone:
        if gone.code != CloseCode.UNAUTHORIZED:
            raise


# The fast way to read an envelope


@given(texts)
@example('{"type": "t", "data": null}')
@example('{"type": "t", "request_id": null}')
@example('{"type": "", "data": {}}')
def test_read_envelope_accepts_what_the_model_accepts(text: str) -> None:
    def outcome(read: Any) -> Any:
        try:
            return read(text)
        except (InvalidJSONError, InvalidEnvelopeError) as error:
            return type(error)

    expected = outcome(WSEnvelope.decode)
    if isinstance(expected, WSEnvelope):
        expected = (expected.type, expected.data, expected.request_id)
    assert outcome(read_envelope) == expected
