"""The rate limit and the budget for bad messages: first an error answer, then the close."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from quart_wshub import ErrorCode, MessageError, MessageRouter, WebSocketConnection, WebSocketHub, WSEnvelope
from quart_wshub.testing import WebSocketClient, connect
from tests.unit.memory import assert_open, make_app

if TYPE_CHECKING:
    from trio.testing import MockClock


@pytest.fixture
def messages() -> MessageRouter:
    messages = MessageRouter()

    @messages.on("say")
    async def say(message: WSEnvelope) -> None: ...

    @messages.on("fail")
    async def fail(message: WSEnvelope) -> None:
        raise MessageError(message.data["code"], "on purpose")

    @messages.on_binary
    async def upload(message: bytes, connection: object, hub: object) -> None: ...

    return messages


def open_client(messages: MessageRouter, hub: WebSocketHub, **settings: Any) -> Any:
    return connect(make_app(messages, hub, WS_HELLO=False, **settings), token="ann")


async def say(client: WebSocketClient) -> Any:
    return await answer_to(client, '{"type": "say", "data": {"secret": "hunter2"}, "request_id": "r"}')


async def answer_to(client: WebSocketClient, message: str | bytes) -> Any:
    await client.send(message)
    return await client.receive_json()


def said(answer: Any) -> bool:
    return bool(answer == {"type": "say.reply", "data": {}, "request_id": "r"})


# The rate


async def test_the_rate_is_off_unless_it_is_set(messages: MessageRouter, hub: WebSocketHub) -> None:
    async with open_client(messages, hub) as client:
        assert all([said(await say(client)) for _ in range(500)])


async def test_after_a_burst_the_answer_says_when_to_try_again(
    messages: MessageRouter, hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    async with open_client(messages, hub, WS_RATE_LIMIT_PER_SECOND=2, WS_RATE_LIMIT_BURST=3) as client:
        assert [said(await say(client)) for _ in range(3)] == [True] * 3
        assert await say(client) == {
            "type": "error",
            "data": {
                "code": "rate_limited",
                "message": "too many messages",
                "details": [{"retry_after_seconds": 0.5}],
            },
            "request_id": "r",
        }
        await trio.sleep(0.5)
        assert [said(await say(client)) for _ in range(2)] == [True, False]


@pytest.mark.parametrize(("per_second", "burst"), [(0.5, 1), (1, 1), (2.5, 3), (50, 50)])
async def test_the_burst_is_that_of_one_second_unless_it_is_set(
    messages: MessageRouter, hub: WebSocketHub, autojump_clock: MockClock, per_second: float, burst: int
) -> None:
    async with open_client(messages, hub, WS_RATE_LIMIT_PER_SECOND=per_second) as client:
        assert [said(await say(client)) for _ in range(burst + 1)] == [True] * burst + [False]


async def test_every_kind_of_message_counts_and_heartbeats_do_not(
    messages: MessageRouter, hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    async with open_client(messages, hub, WS_RATE_LIMIT_PER_SECOND=1, WS_RATE_LIMIT_BURST=4) as client:
        for _ in range(20):
            await client.send('{"type": "pong"}')
            await assert_open(client)
        await client.send(b"binary")
        assert (await answer_to(client, "{"))["data"]["code"] == "invalid_json"
        assert (await answer_to(client, '{"type": "unsubscribe", "data": {"topic": "a"}, "request_id": "r"}'))[
            "type"
        ] == "unsubscribe.reply"
        assert said(await say(client))
        for message in (b"binary", "{", "[]", '{"type": "say"}', '{"type": "say", "request_id": 3}'):
            answer = await answer_to(client, message)
            assert (answer["data"]["code"], answer["request_id"]) == ("rate_limited", None)


async def test_replies_to_the_server_do_not_count(
    messages: MessageRouter, hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    @messages.on("ask")
    async def ask(message: WSEnvelope, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        for _ in range(5):
            await hub.request(connection.connection_id, WSEnvelope(type="where"))

    async with open_client(messages, hub, WS_RATE_LIMIT_PER_SECOND=1, WS_RATE_LIMIT_BURST=2) as client:
        await client.send_json({"type": "ask", "request_id": "r"})
        for _ in range(5):
            asked = await client.expect("where")
            await client.send_json({"type": "where.reply", "request_id": asked.request_id})
        await client.expect("ask.reply")
        assert said(await say(client))
        assert (await say(client))["data"]["code"] == "rate_limited"


async def test_each_connection_has_a_rate_of_its_own(
    messages: MessageRouter, hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    settings: dict[str, Any] = {"WS_RATE_LIMIT_PER_SECOND": 1, "WS_RATE_LIMIT_BURST": 1}
    app = make_app(messages, hub, WS_HELLO=False, **settings)
    async with connect(app, token="ann") as one, connect(app, token="ann") as other:
        assert [said(await say(one)), said(await say(one)), said(await say(other))] == [True, False, True]


# The budget

BAD = {
    "invalid_json": "{",
    "invalid_envelope": "[]",
    "unknown_type": '{"type": "other"}',
    "invalid_data": '{"type": "subscribe", "data": {}}',
}


@pytest.mark.parametrize(("code", "message"), BAD.items())
async def test_each_bad_message_is_answered_and_one_over_the_budget_closes_with_1008(
    messages: MessageRouter, hub: WebSocketHub, autojump_clock: MockClock, code: str, message: str
) -> None:
    async with open_client(messages, hub, WS_MAX_BAD_MESSAGES=3) as client:
        for _ in range(4):
            assert (await answer_to(client, message))["data"]["code"] == code
        gone = await client.closed()
    assert (gone.code, gone.reason) == (1008, "too many bad messages")


async def test_ignoring_the_rate_limit_closes_with_1008(
    messages: MessageRouter, hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    async with open_client(messages, hub, WS_RATE_LIMIT_PER_SECOND=0.001, WS_MAX_BAD_MESSAGES=3) as client:
        assert said(await say(client))
        for _ in range(4):
            assert (await say(client))["data"]["code"] == "rate_limited"
        assert (await client.closed()).code == 1008


async def test_the_budget_refills_within_a_minute(
    messages: MessageRouter, hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    quiet = {"WS_HEARTBEAT_SECONDS": 500, "WS_HEARTBEAT_TIMEOUT_SECONDS": 600}
    async with open_client(messages, hub, WS_MAX_BAD_MESSAGES=3, **quiet) as client:
        for _ in range(3):
            for _ in range(3):
                assert (await answer_to(client, "{"))["data"]["code"] == "invalid_json"
            await trio.sleep(60)
        assert said(await say(client))


@pytest.mark.parametrize("code", [*ErrorCode, "an app's own"])
async def test_the_apps_own_error_answers_do_not_count(
    messages: MessageRouter, hub: WebSocketHub, autojump_clock: MockClock, code: str
) -> None:
    async with open_client(messages, hub, WS_MAX_BAD_MESSAGES=1) as client:
        for _ in range(5):
            request = WSEnvelope(type="fail", data={"code": code})
            assert (await answer_to(client, request.encode()))["data"]["code"] == code
        assert said(await say(client))


async def test_a_refused_topic_does_not_count(
    messages: MessageRouter, hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    async with open_client(messages, hub, WS_MAX_BAD_MESSAGES=1, WS_MAX_TOPIC_LENGTH=5) as client:
        for topic, code in [("news", "forbidden"), ("too long", "limit_exceeded")] * 5:
            request = WSEnvelope(type="subscribe", data={"topic": topic})
            assert (await answer_to(client, request.encode()))["data"]["code"] == code
        assert said(await say(client))


async def test_a_client_that_floods_with_bad_messages_and_reads_nothing_is_disconnected(
    messages: MessageRouter, hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    app = make_app(messages, hub, WS_HELLO=False)
    async with connect(app, token="ann", buffer=0) as client:
        for _ in range(1000):
            await client.send("{")
        await trio.sleep(1)
        assert hub.connection_count() == 0
