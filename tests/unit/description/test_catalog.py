"""The catalog of messages, and that its built-in ones match what is sent."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from pydantic import BaseModel

from quart_wshub import ErrorCode, MessageRouter
from quart_wshub.cluster.gaps import gap_frame
from quart_wshub.connection.expiry import expiring_frame
from quart_wshub.description.catalog import Described, make_catalog
from quart_wshub.messages.error_answers import error_frame
from quart_wshub.protocol.envelope import RESERVED_TYPES
from quart_wshub.protocol.heartbeat import PING, hello_frame, pong_frame
from tests.unit.memory import make_settings

if TYPE_CHECKING:
    from quart_wshub.protocol.frame import Frame


class Data(BaseModel):
    number: int


def make_router() -> MessageRouter:
    router = MessageRouter()

    @router.on("b", errors=["own", "forbidden"])
    async def b(message: Data) -> Data:
        """Do b."""
        return message

    @router.on("z", errors=["another", "own"])
    async def z(message: Data) -> None: ...

    router.sends("news", Data, description="News.")
    return router


def test_a_router_can_be_described_and_other_things_cannot() -> None:
    assert isinstance(MessageRouter(), Described)
    assert not isinstance(make_router, Described)


def test_both_directions_are_sorted_and_hold_the_built_in_messages() -> None:
    catalog = make_catalog(make_router())

    client = [message.type for message in catalog.client]
    assert client == ["auth.refresh", "b", "ping", "pong", "subscribe", "unsubscribe", "z"]
    server = [message.type for message in catalog.server]
    assert server == ["auth.expiring", "error", "gap", "hello", "news", "ping", "pong"]
    assert [message.type for message in catalog.replies] == [
        *("auth.refresh.reply", "b.reply", "subscribe.reply", "unsubscribe.reply", "z.reply")
    ]


def test_the_built_in_types_are_the_reserved_ones() -> None:
    catalog = make_catalog(MessageRouter())

    assert {message.type for message in (*catalog.client, *catalog.server)} == RESERVED_TYPES


def test_a_handlers_model_reply_docstring_and_errors_are_in_it() -> None:
    catalog = make_catalog(make_router())
    message = next(message for message in catalog.client if message.type == "b")
    reply = next(reply for reply in catalog.replies if reply.type == "b.reply")

    assert (message.model, message.description, message.errors) == (Data, "Do b.", ("own",))
    assert (message.answer, message.is_request, reply.model) == ("b.reply", True, Data)


def test_a_pong_is_not_a_reply() -> None:
    ping = next(message for message in make_catalog(make_router()).client if message.type == "ping")

    assert (ping.answer, ping.is_request) == ("pong", False)


def test_error_codes_are_the_built_in_ones_and_then_the_apps_own() -> None:
    assert make_catalog(make_router()).error_codes == (*ErrorCode, "another", "own")


def test_hello_can_be_left_out() -> None:
    without = make_catalog(make_router(), hello=False).server

    assert [message.type for message in without] == ["auth.expiring", "error", "gap", "news", "ping", "pong"]


@pytest.mark.parametrize(
    "frame",
    [
        hello_frame(uuid4(), make_settings()),
        PING,
        pong_frame("1"),
        error_frame("internal", "sorry", [{"loc": ["a"]}]),
        error_frame("internal", "sorry"),
        expiring_frame(datetime.now(UTC)),
        gap_frame(frozenset({"news"})),
        gap_frame(None),
    ],
)
def test_the_models_of_built_in_messages_match_what_is_sent(frame: Frame) -> None:
    envelope: dict[str, Any] = json.loads(frame.payload)
    models = {message.type: message.model for message in make_catalog(MessageRouter()).server}

    model = models[envelope["type"]]
    assert model is not None
    model.model_validate(envelope["data"])
    assert envelope["data"].keys() == model.model_fields.keys()
