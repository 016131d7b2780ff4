"""`subscribe` and `unsubscribe`: policies, limits and answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from quart_wshub import ErrorCode, MessageError, MessageRouter, WebSocketConnection, WebSocketHub, WSEnvelope
from quart_wshub.messages.topic_policy import TopicPolicies
from quart_wshub.testing import WebSocketClient, connect
from tests.unit.memory import assert_open, make_app

if TYPE_CHECKING:
    from trio.testing import MockClock

FORBIDDEN = {"code": "forbidden", "message": "you may not subscribe to this topic", "details": []}
INTERNAL = {"code": "internal", "message": "the server failed to handle this message", "details": []}


def anyone(connection: WebSocketConnection, topic: str) -> bool:
    return True


def nobody(connection: WebSocketConnection, topic: str) -> bool:
    return False


async def ask(client: WebSocketClient, envelope_type: str, topic: object, request_id: str | None = "r") -> Any:
    await client.send_json({"type": envelope_type, "data": {"topic": topic}, "request_id": request_id})
    return await client.receive_json()


async def error_of(client: WebSocketClient, topic: object) -> Any:
    answer = await ask(client, "subscribe", topic)
    assert answer["type"] == "error", answer
    return answer["data"]


async def test_a_subscription_is_confirmed_and_gets_publications(hub: WebSocketHub) -> None:
    app = make_app(MessageRouter(authorize_subscribe=anyone), hub, WS_HELLO=False)
    async with connect(app, token="ann") as client:
        reply = {"type": "subscribe.reply", "data": {"topic": "chat:ü"}, "request_id": "r"}
        assert await ask(client, "subscribe", "chat:ü") == reply
        assert await ask(client, "subscribe", "chat:ü") == reply, "idempotent"
        assert hub.topic_count("chat:ü") == 1
        assert await hub.broadcast(WSEnvelope(type="said"), topic="chat:ü") == 1
        await client.expect("said")

        reply = {"type": "unsubscribe.reply", "data": {"topic": "chat:ü"}, "request_id": "r"}
        assert await ask(client, "unsubscribe", "chat:ü") == reply
        assert await ask(client, "unsubscribe", "chat:ü") == reply, "idempotent"
        assert await hub.broadcast(WSEnvelope(type="said"), topic="chat:ü") == 0


async def test_without_request_id_a_subscription_is_not_confirmed(hub: WebSocketHub) -> None:
    app = make_app(MessageRouter(authorize_subscribe=anyone), hub, WS_HELLO=False)
    async with connect(app, token="ann") as client:
        await client.send('{"type": "subscribe", "data": {"topic": "a"}}')
        assert (await ask(client, "subscribe", "b"))["data"] == {"topic": "b"}
        assert (hub.topic_count("a"), hub.topic_count("b")) == (1, 1)


@pytest.mark.parametrize("topic", ["", None, 3, ["a"]])
async def test_an_invalid_topic_is_invalid_data(hub: WebSocketHub, topic: object) -> None:
    async with connect(make_app(MessageRouter(authorize_subscribe=anyone), hub, WS_HELLO=False), token="ann") as client:
        for envelope_type in ("subscribe", "unsubscribe"):
            answer = await ask(client, envelope_type, topic)
            assert answer["data"]["code"] == "invalid_data"
            assert answer["data"]["details"][0]["loc"] == ["topic"]


# Limits


async def test_the_length_of_a_topic_is_limited_in_characters_before_any_policy_is_called(hub: WebSocketHub) -> None:
    asked: list[str] = []

    def note(connection: WebSocketConnection, topic: str) -> bool:
        asked.append(topic)
        return True

    app = make_app(MessageRouter(authorize_subscribe=note), hub, WS_HELLO=False, WS_MAX_TOPIC_LENGTH=4)
    async with connect(app, token="ann") as client:
        assert (await ask(client, "subscribe", "üüüü"))["type"] == "subscribe.reply"
        assert await error_of(client, "fünff") == {
            "code": "limit_exceeded",
            "message": "the name of a topic has at most 4 characters",
            "details": [],
        }
    assert asked == ["üüüü"]


async def test_the_number_of_topics_is_limited(hub: WebSocketHub) -> None:
    app = make_app(MessageRouter(authorize_subscribe=anyone), hub, WS_HELLO=False, WS_MAX_TOPICS_PER_CONNECTION=2)
    async with connect(app, token="ann") as client:
        for topic in ("a", "b", "a"):
            assert (await ask(client, "subscribe", topic))["type"] == "subscribe.reply"
        assert (await error_of(client, "c"))["code"] == "limit_exceeded"
        await ask(client, "unsubscribe", "a")
        assert (await ask(client, "subscribe", "c"))["type"] == "subscribe.reply"


async def test_error_hooks_are_not_called_for_the_topic_limit(hub: WebSocketHub) -> None:
    messages = MessageRouter(authorize_subscribe=anyone)
    messages.on_error(Exception)(lambda error, connection: MessageError("any", ""))
    async with connect(make_app(messages, hub, WS_HELLO=False, WS_MAX_TOPICS_PER_CONNECTION=1), token="ann") as client:
        await ask(client, "subscribe", "a")
        assert (await error_of(client, "b"))["code"] == "limit_exceeded"


# Policies


async def asynchronous(connection: WebSocketConnection, topic: str) -> bool:
    await trio.lowlevel.checkpoint()
    return topic == f"user:{connection.user_id}"


def synchronous(connection: WebSocketConnection, topic: str) -> bool:
    return topic == f"user:{connection.user_id}"


def from_a_lambda(connection: WebSocketConnection, topic: str) -> Any:
    return asynchronous(connection, topic)


@pytest.mark.parametrize("policy", [asynchronous, synchronous, from_a_lambda])
async def test_a_policy_decides(hub: WebSocketHub, policy: Any) -> None:
    async with connect(make_app(MessageRouter(authorize_subscribe=policy), hub, WS_HELLO=False), token="ann") as client:
        assert await error_of(client, "user:bob") == FORBIDDEN
        assert (await ask(client, "subscribe", "user:ann"))["type"] == "subscribe.reply"
        assert hub.topic_count("user:bob") == 0


async def test_the_longest_matching_prefix_decides_alone_and_otherwise_the_fallback(hub: WebSocketHub) -> None:
    messages = MessageRouter(authorize_subscribe=nobody)
    messages.authorize("chat:")(anyone)
    messages.authorize("chat:staff:")(nobody)
    messages.authorize("chat:staff:lobby")(anyone)
    async with connect(make_app(messages, hub, WS_HELLO=False), token="ann") as client:
        allowed = [
            topic
            for topic in ("news", "chat", "chat:", "chat:a", "chat:staff:a", "chat:staff", "chat:staff:lobby2")
            if (await ask(client, "subscribe", topic))["type"] == "subscribe.reply"
        ]
    assert allowed == ["chat:", "chat:a", "chat:staff", "chat:staff:lobby2"]


async def test_the_policies_of_an_included_router_apply(hub: WebSocketHub) -> None:
    rooms, messages = MessageRouter(authorize_subscribe=anyone), MessageRouter()
    rooms.authorize("room:")(nobody)
    messages.include(rooms, prefix="room.")
    async with connect(make_app(messages, hub, WS_HELLO=False), token="ann") as client:
        assert await error_of(client, "room:a") == FORBIDDEN
        assert (await ask(client, "subscribe", "other"))["type"] == "subscribe.reply"


async def test_without_any_policy_every_topic_is_refused_and_the_log_says_once_what_to_do(
    hub: WebSocketHub, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(MessageRouter(), hub, WS_HELLO=False)
    async with connect(app, token="ann") as ann, connect(app, token="bob") as bob:
        for client in (ann, bob, ann):
            assert await error_of(client, "news") == FORBIDDEN
    [record] = caplog.records
    assert "this MessageRouter has no policy. Give it one with authorize_subscribe=" in record.getMessage()
    assert "news" not in record.getMessage()


async def test_with_a_policy_for_other_topics_nothing_is_logged(
    hub: WebSocketHub, caplog: pytest.LogCaptureFixture
) -> None:
    messages = MessageRouter()
    messages.authorize("chat:")(anyone)
    async with connect(make_app(messages, hub, WS_HELLO=False), token="ann") as client:
        assert await error_of(client, "news") == FORBIDDEN
    assert caplog.records == []


async def test_unsubscribing_needs_no_policy(hub: WebSocketHub) -> None:
    async with connect(make_app(MessageRouter(), hub, WS_HELLO=False), token="ann") as client:
        assert (await ask(client, "unsubscribe", "news"))["type"] == "unsubscribe.reply"


# Policies that fail


def fails(connection: WebSocketConnection, topic: str) -> bool:
    raise RuntimeError("hunter2")


async def fails_later(connection: WebSocketConnection, topic: str) -> bool:
    await trio.lowlevel.checkpoint()
    raise RuntimeError("hunter2")


def forgets_to_return(connection: WebSocketConnection, topic: str) -> Any: ...


def returns_something_true(connection: WebSocketConnection, topic: str) -> Any:
    return "no"


async def never_returns(connection: WebSocketConnection, topic: str) -> bool:
    await trio.sleep_forever()
    return True


@pytest.mark.parametrize(
    ("policy", "log"),
    [
        (fails, "topic policy failed"),
        (fails_later, "topic policy failed"),
        (forgets_to_return, "topic policy returned NoneType; it must return True or False"),
        (returns_something_true, "topic policy returned str; it must return True or False"),
        (never_returns, "topic policy took longer than 10 s"),
    ],
)
async def test_a_policy_that_fails_refuses_and_is_logged(
    hub: WebSocketHub, policy: Any, log: str, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(MessageRouter(authorize_subscribe=policy), hub, WS_HELLO=False)
    async with connect(app, token="ann") as client:
        assert await error_of(client, "news") == INTERNAL
        assert hub.topic_count("news") == 0
        await assert_open(client)
    [record] = caplog.records
    assert record.getMessage().startswith(f"{log}: connection=")
    assert "user='ann'" in record.getMessage()
    assert ("hunter2" in caplog.text) == policy.__name__.startswith("fails"), "with its traceback where there is one"


async def test_a_policy_may_raise_its_own_answer(hub: WebSocketHub, caplog: pytest.LogCaptureFixture) -> None:
    async def policy(connection: WebSocketConnection, topic: str) -> bool:
        raise MessageError(ErrorCode.RATE_LIMITED, "later", details=[{"retry_after_seconds": 5}])

    async with connect(make_app(MessageRouter(authorize_subscribe=policy), hub, WS_HELLO=False), token="ann") as client:
        assert await error_of(client, "news") == {
            "code": "rate_limited",
            "message": "later",
            "details": [{"retry_after_seconds": 5}],
        }
    assert caplog.records == []


async def test_a_connection_that_ends_while_the_policy_runs_is_not_subscribed(
    hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    async def slow(connection: WebSocketConnection, topic: str) -> bool:
        await trio.sleep(1)
        return True

    async with connect(make_app(MessageRouter(authorize_subscribe=slow), hub), token="ann") as client:
        await client.send('{"type": "subscribe", "data": {"topic": "news"}}')
        await client.drop()
    assert hub.topic_count("news") == 0


prefixes = st.text("ab:", min_size=1, max_size=4)


@given(st.sets(prefixes), st.booleans(), st.text("ab:", max_size=6))
def test_which_policy_is_found(prefixes: set[str], has_fallback: bool, topic: str) -> None:
    policies = TopicPolicies(anyone if has_fallback else None)
    by_prefix: dict[str, Any] = {prefix: lambda connection, topic: True for prefix in prefixes}
    for prefix, policy in by_prefix.items():
        policies.add(prefix, policy)

    fitting = [topic[:length] for length in range(len(topic), 0, -1) if topic[:length] in by_prefix]
    assert policies.find(topic) is (by_prefix[fitting[0]] if fitting else anyone if has_fallback else None)
