"""Dispatch by a `MessageRouter`: validation, replies, errors, order and concurrency."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
import trio
from pydantic import BaseModel, ConfigDict, Field, field_validator
from trio.testing import MockClock, wait_all_tasks_blocked

from quart_wshub import (
    ConfigurationError,
    ErrorCode,
    InvalidTopicError,
    MessageError,
    MessageRouter,
    PeerError,
    TopicLimitError,
    UnknownConnectionError,
    WebSocketConnection,
    WebSocketDisconnect,
    WebSocketHub,
    WSEnvelope,
)
from quart_wshub.testing import WebSocketClient, connect
from tests.unit.memory import assert_open, make_app

INTERNAL = {"code": "internal", "message": "the server failed to handle this message", "details": []}


class Say(BaseModel):
    text: str
    times: int = 1


class Said(BaseModel):
    id: int = Field(alias="saidId", default=0)


class SaidAndMore(Said):
    password: str = "hunter2"


@pytest.fixture
def messages() -> MessageRouter:
    return MessageRouter()


@pytest.fixture
def client_of(
    hub: WebSocketHub, messages: MessageRouter
) -> Callable[..., AbstractAsyncContextManager[WebSocketClient]]:
    """A client of the test's router; the arguments are settings."""

    def client_of(user: str = "ann", **settings: Any) -> AbstractAsyncContextManager[WebSocketClient]:
        return connect(make_app(messages, hub, **{"WS_HELLO": False, **settings}), token=user)

    return client_of


ClientOf = Callable[..., AbstractAsyncContextManager[WebSocketClient]]


async def ask(client: WebSocketClient, envelope_type: str, data: object = None, request_id: str | None = "r1") -> Any:
    """Send a request, and return the very next message."""
    await client.send_json({"type": envelope_type, "data": data or {}, "request_id": request_id})
    return await client.receive_json()


async def error_of(client: WebSocketClient, *args: Any) -> dict[str, Any]:
    answer = await ask(client, *args)
    assert (answer["type"], answer["request_id"], set(answer)) == ("error", "r1", {"type", "data", "request_id"})
    data: dict[str, Any] = answer["data"]
    return data


# Requests and replies


async def test_a_request_is_validated_handled_and_replied_to(messages: MessageRouter, client_of: ClientOf) -> None:
    seen: list[object] = []

    @messages.on("say")
    async def say(message: Say, connection: WebSocketConnection, hub: WebSocketHub) -> Said:
        seen.extend([message, connection.user_id, hub.connection_count()])
        return Said(saidId=7)

    async with client_of() as client:
        assert await ask(client, "say", {"text": "hi", "times": "2"}) == {
            "type": "say.reply",
            "data": {"saidId": 7},
            "request_id": "r1",
        }
    assert seen == [Say(text="hi", times=2), "ann", 1]


async def test_without_request_id_there_is_no_reply(messages: MessageRouter, client_of: ClientOf) -> None:
    @messages.on("say")
    async def say(message: Say) -> None: ...

    @messages.on("not.json")
    async def not_json(message: WSEnvelope) -> dict[str, object]:
        return {"nobody": object()}

    async with client_of() as client:
        await client.send('{"type": "say", "data": {"text": "hi"}}')
        await client.send('{"type": "not.json"}')
        assert (await ask(client, "say", {"text": "hi"}))["type"] == "say.reply", "the only answer"


@pytest.mark.parametrize(
    ("result", "data"),
    [
        (None, {}),
        ({}, {}),
        (
            {"when": datetime(2026, 1, 2), "who": UUID(int=1), "nan": float("nan")},
            {"when": "2026-01-02T00:00:00", "who": str(UUID(int=1)), "nan": None},
        ),
        (Said(saidId=3), {"saidId": 3}),
        (SaidAndMore(saidId=3), {"saidId": 3, "password": "hunter2"}),
    ],
)
async def test_what_a_handler_returns_is_the_data_of_the_reply(
    messages: MessageRouter, client_of: ClientOf, result: object, data: object
) -> None:
    @messages.on("say")
    async def say(message: WSEnvelope):  # type: ignore[no-untyped-def]
        return result

    async with client_of() as client:
        assert (await ask(client, "say"))["data"] == data


@pytest.mark.parametrize(
    ("result", "data"),
    [
        (Said(saidId=3), {"saidId": 3}),
        (SaidAndMore(saidId=3), {"saidId": 3}),
        ({"saidId": "3"}, {"saidId": 3}),
    ],
)
async def test_a_declared_model_validates_and_serialises_the_reply(
    messages: MessageRouter, client_of: ClientOf, result: Any, data: object
) -> None:
    @messages.on("say")
    async def say(message: WSEnvelope) -> Said:
        return result  # type: ignore[no-any-return]

    @messages.on("maybe")
    async def maybe(message: WSEnvelope) -> Said | None:
        return None

    async with client_of() as client:
        assert (await ask(client, "say"))["data"] == data
        assert (await ask(client, "maybe"))["data"] == {}


@pytest.mark.parametrize("result", [[1], "text", True, WSEnvelope, {"object": object()}, {"lone": "\ud800"}])
async def test_a_result_that_cannot_be_a_reply_is_answered_with_internal_and_logged(
    messages: MessageRouter, client_of: ClientOf, result: object, caplog: pytest.LogCaptureFixture
) -> None:
    @messages.on("say")
    async def say(message: WSEnvelope):  # type: ignore[no-untyped-def]
        return result

    async with client_of() as client:
        assert await error_of(client, "say") == INTERNAL
        await assert_open(client)
    [record] = caplog.records
    assert "handler of 'say' failed" in record.getMessage()


@pytest.mark.parametrize("result", [None, {"saidId": "no number"}, 3])
async def test_a_result_that_the_declared_model_refuses_is_answered_with_internal(
    messages: MessageRouter, client_of: ClientOf, result: Any, caplog: pytest.LogCaptureFixture
) -> None:
    @messages.on("say")
    async def say(message: WSEnvelope) -> Said:
        return result  # type: ignore[no-any-return]

    async with client_of() as client:
        assert await error_of(client, "say") == INTERNAL
    assert len(caplog.records) == 1


async def test_a_raw_handler_gets_the_envelope(messages: MessageRouter, client_of: ClientOf) -> None:
    seen: list[WSEnvelope] = []

    @messages.on("raw")
    async def raw(message: WSEnvelope) -> None:
        seen.append(message)

    async with client_of() as client:
        await ask(client, "raw", {"any": [1, None]})
        await client.send('{"type": "raw", "more": 1}')
        await assert_open(client)
    assert seen == [WSEnvelope(type="raw", data={"any": [1, None]}, request_id="r1"), WSEnvelope(type="raw")]


async def hub_first(message: Say, hub: WebSocketHub, connection: WebSocketConnection) -> dict[str, str]:
    return {"got": f"{message.text} {hub!r} {connection.user_id}"}


async def by_annotation(message: Say, h: WebSocketHub, c: WebSocketConnection) -> dict[str, str]:
    return {"got": f"{message.text} {h!r} {c.user_id}"}


async def by_name(message: Say, hub, connection) -> dict[str, str]:  # type: ignore[no-untyped-def]
    return {"got": f"{message.text} {hub!r} {connection.user_id}"}


async def by_keyword(message: Say, *, hub: WebSocketHub, connection: WebSocketConnection) -> dict[str, str]:
    return {"got": f"{message.text} {hub!r} {connection.user_id}"}


async def around_a_default(
    message: Say, extra: int = 5, hub: Any = None, *rest: int, connection: WebSocketConnection, **more: int
) -> dict[str, str]:
    assert (extra, rest, more) == (5, (), {})
    return {"got": f"{message.text} {hub!r} {connection.user_id}"}


class Holder:
    async def __call__(self, message: Say, hub: WebSocketHub, connection: WebSocketConnection) -> dict[str, str]:
        return await hub_first(message, hub, connection)


@pytest.mark.parametrize(
    "handler",
    [hub_first, by_annotation, by_name, by_keyword, around_a_default, Holder(), Holder().__call__],
    ids=["hub first", "by annotation", "by name", "by keyword", "around a default", "an object", "its method"],
)
async def test_the_extras_come_in_any_order(messages: MessageRouter, client_of: ClientOf, handler: Any) -> None:
    messages.on("say")(handler)

    async with client_of() as client:
        answer = await ask(client, "say", {"text": "hi"})
    assert answer["data"] == {"got": "hi <WebSocketHub connections=1> ann"}


# Data


class Colour(Enum):
    RED = "red"


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)

    who: UUID
    when: datetime
    pair: tuple[int, int]
    colour: Colour


async def test_data_is_validated_as_json_also_by_a_strict_model(messages: MessageRouter, client_of: ClientOf) -> None:
    seen: list[Strict] = []

    @messages.on("strict")
    async def strict(message: Strict) -> None:
        seen.append(message)

    data = {"who": str(UUID(int=5)), "when": "2026-01-02T03:04:05Z", "pair": [1, 2], "colour": "red"}
    async with client_of() as client:
        assert (await ask(client, "strict", data))["type"] == "strict.reply"
        assert (await error_of(client, "strict", {**data, "pair": ["1", 2]}))["details"] == [
            {"loc": ["pair", 0], "message": "Input should be a valid integer", "type": "int_type"}
        ]
    assert seen == [Strict(who=UUID(int=5), when=seen[0].when, pair=(1, 2), colour=Colour.RED)]


class Either(BaseModel):
    who: UUID | str
    when: datetime | str


async def test_unions_are_validated_as_json(messages: MessageRouter, client_of: ClientOf) -> None:
    """Validated as Python objects, both would be the strings that they are in JSON."""
    seen: list[Either] = []

    @messages.on("either")
    async def either(message: Either) -> None:
        seen.append(message)

    data = {"who": str(UUID(int=5)), "when": "2026-01-02T03:04:05Z"}
    async with client_of() as client:
        await ask(client, "either", data)
    assert seen == [Either.model_validate_json(json.dumps(data))]
    assert isinstance(seen[0].who, UUID)


async def test_the_answer_to_invalid_data_says_where_and_why_without_the_values(
    messages: MessageRouter, client_of: ClientOf
) -> None:
    @messages.on("say")
    async def say(message: Say) -> None: ...

    async with client_of() as client:
        assert await error_of(client, "say", {"times": "s3cret"}) == {
            "code": "invalid_data",
            "message": "data is not valid",
            "details": [
                {"loc": ["text"], "message": "Field required", "type": "missing"},
                {
                    "loc": ["times"],
                    "message": "Input should be a valid integer, unable to parse string as an integer",
                    "type": "int_parsing",
                },
            ],
        }
        await assert_open(client)


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


class Pets(BaseModel):
    numbers: dict[str, int] = {}
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] | None = None

    @field_validator("numbers")
    @classmethod
    def fail(cls, value: dict[str, int]) -> dict[str, int]:
        if "fail" in value:
            raise RuntimeError
        return value


async def test_neither_a_tag_nor_a_long_key_is_echoed_and_the_details_are_bounded(
    messages: MessageRouter, client_of: ClientOf
) -> None:
    @messages.on("pets")
    async def pets(message: Pets) -> None: ...

    async with client_of() as client:
        [detail] = (await error_of(client, "pets", {"pet": {"kind": "s3cret"}}))["details"]
        assert detail["message"] == "Input should have one of the tags 'cat', 'dog'"

        [detail] = (await error_of(client, "pets", {"numbers": {"k" * 500: "x"}}))["details"]
        assert detail["loc"] == ["numbers", "k" * 64 + "…"]

        assert len((await error_of(client, "pets", {"numbers": {str(n): "" for n in range(900)}}))["details"]) == 20
        assert (await error_of(client, "pets", {"numbers": {str(n): "" for n in range(1001)}}))["details"] == [
            {"loc": [], "message": "1001 errors", "type": "too_many_errors"}
        ]


async def test_a_validator_that_fails_is_the_servers_fault(
    messages: MessageRouter, client_of: ClientOf, caplog: pytest.LogCaptureFixture
) -> None:
    @messages.on("pets")
    async def pets(message: Pets) -> None: ...

    async with client_of() as client:
        assert await error_of(client, "pets", {"numbers": {"fail": 1}}) == INTERNAL
    [record] = caplog.records
    assert "model of 'pets' failed" in record.getMessage()


class Tree(BaseModel):
    children: list[Branch] = []


async def recursive(message: Tree) -> Tree:
    return message


EARLY = MessageRouter()
EARLY.on("tree")(recursive)


class Branch(BaseModel):
    name: str


async def test_a_model_may_refer_to_one_that_is_defined_later(hub: WebSocketHub) -> None:
    async with connect(make_app(EARLY, hub, WS_HELLO=False), token="ann") as client:
        data = {"children": [{"name": "leaf"}]}
        assert (await ask(client, "tree", data))["data"] == data
        assert (await error_of(client, "tree", {"children": [{}]}))["details"][0]["loc"] == ["children", 0, "name"]


# Invalid messages


@pytest.mark.parametrize("text", ["", "{", "nonsense", "NaN", '{"type": "say"', "[" * 5000, '"\\ud800"'])
async def test_text_that_is_not_json(messages: MessageRouter, client_of: ClientOf, text: str) -> None:
    async with client_of() as client:
        await client.send(text)
        answer = await client.receive_json()
        await assert_open(client)
    assert (answer["type"], answer["request_id"]) == ("error", None)
    assert answer["data"]["code"] == "invalid_json"
    assert answer["data"]["message"].startswith("message is not JSON: ")


@pytest.mark.parametrize(
    ("text", "loc", "request_id"),
    [
        ("[]", [], None),
        ("null", [], None),
        ("{}", ["type"], None),
        ('{"type": ""}', ["type"], None),
        ('{"type": [], "request_id": "r"}', ["type"], "r"),
        ('{"type": "say", "data": []}', ["data"], None),
        ('{"type": "say", "data": null, "request_id": "r"}', ["data"], "r"),
        ('{"type": "say", "request_id": 3}', ["request_id"], None),
    ],
)
async def test_json_that_is_no_envelope(
    messages: MessageRouter, client_of: ClientOf, text: str, loc: list[str], request_id: str | None
) -> None:
    async with client_of() as client:
        await client.send(text)
        answer = await client.receive_json()
        await assert_open(client)
    assert answer["data"]["code"] == "invalid_envelope"
    assert [detail["loc"] for detail in answer["data"]["details"]] == [loc]
    assert answer["request_id"] == request_id


@pytest.mark.parametrize("envelope_type", ["other", "hello", "Say", "say\x00", "__class__"])
async def test_a_type_that_nothing_handles(messages: MessageRouter, client_of: ClientOf, envelope_type: str) -> None:
    @messages.on("say")
    async def say(message: Say) -> None: ...

    async with client_of() as client:
        error = await error_of(client, envelope_type)
        assert error == {"code": "unknown_type", "message": "nothing here takes messages of this type", "details": []}


@pytest.mark.parametrize("envelope_type", ["say.reply", "error"])
async def test_a_late_answer_is_dropped(messages: MessageRouter, client_of: ClientOf, envelope_type: str) -> None:
    async with client_of() as client:
        await client.send_json({"type": envelope_type, "data": {}, "request_id": "late"})
        await assert_open(client)


# Failures


async def test_a_message_error_is_sent_unchanged(messages: MessageRouter, client_of: ClientOf) -> None:
    @messages.on("own")
    async def own(message: WSEnvelope) -> None:
        raise MessageError("too_loud", "whisper", details=[{"limit": 3}])

    @messages.on("forbidden")
    async def forbidden(message: WSEnvelope) -> None:
        raise MessageError(ErrorCode.FORBIDDEN, "no")

    async with client_of() as client:
        assert await error_of(client, "own") == {"code": "too_loud", "message": "whisper", "details": [{"limit": 3}]}
        assert await error_of(client, "forbidden") == {"code": "forbidden", "message": "no", "details": []}
        assert (await ask(client, "own", None, None))["request_id"] is None, "errors are always answered"


async def test_an_unexpected_exception_is_logged_once_and_answered_without_its_text(
    messages: MessageRouter, client_of: ClientOf, caplog: pytest.LogCaptureFixture
) -> None:
    ids: list[UUID] = []

    @messages.on("boom")
    async def boom(message: WSEnvelope, connection: WebSocketConnection) -> None:
        ids.append(connection.connection_id)
        raise RuntimeError("hunter2")

    async with client_of() as client:
        assert await error_of(client, "boom") == INTERNAL
        await assert_open(client)
    [record] = caplog.records
    assert record.getMessage() == f"handler of 'boom' failed: connection={ids[0]} user='ann'"
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert "hunter2" in str(record.exc_info[1])


async def raise_in_a_nursery(*errors: Exception) -> None:
    async def fail(error: Exception) -> None:
        raise error  # before any checkpoint, where the first failure would cancel the others

    async with trio.open_nursery() as nursery:
        for error in errors:
            nursery.start_soon(fail, error)


async def test_a_single_exception_in_a_group_is_unwrapped(
    messages: MessageRouter, client_of: ClientOf, caplog: pytest.LogCaptureFixture
) -> None:
    @messages.on("one")
    async def one(message: WSEnvelope) -> None:
        await raise_in_a_nursery(MessageError("mine", "text"))

    @messages.on("two")
    async def two(message: WSEnvelope) -> None:
        await raise_in_a_nursery(MessageError("mine", "text"), RuntimeError())

    async with client_of() as client:
        assert (await error_of(client, "one"))["code"] == "mine"
        assert caplog.records == []
        assert await error_of(client, "two") == INTERNAL
    assert len(caplog.records) == 1


async def test_peer_errors_raised_by_the_hub_are_answered(messages: MessageRouter, client_of: ClientOf) -> None:
    @messages.on("join")
    async def join(message: WSEnvelope, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        await hub.subscribe(connection.connection_id, message.data["topic"])

    async with client_of(WS_MAX_TOPICS_PER_CONNECTION=1) as client:
        assert (await error_of(client, "join", {"topic": ""}))["code"] == "invalid_data"
        await ask(client, "join", {"topic": "a"})
        error = await error_of(client, "join", {"topic": "b"})
        assert error == {"code": "limit_exceeded", "message": "a connection may have at most 1 topics", "details": []}


async def test_another_peer_error_closes_the_connection_as_in_a_plain_handler(
    messages: MessageRouter, client_of: ClientOf, caplog: pytest.LogCaptureFixture
) -> None:
    class TooOldError(PeerError):
        close_code = 4000  # type: ignore[assignment]  # one of the app's own

    @messages.on("old")
    async def old(message: WSEnvelope) -> None:
        raise TooOldError("update first")

    caplog.set_level(logging.INFO)
    async with client_of() as client:
        await client.send('{"type": "old"}')
        assert (await client.closed()).code == 4000
    assert "update first" in caplog.text


async def test_details_that_cannot_be_serialised_to_json_are_the_servers_fault(
    messages: MessageRouter, client_of: ClientOf, caplog: pytest.LogCaptureFixture
) -> None:
    @messages.on("own")
    async def own(message: WSEnvelope) -> None:
        raise MessageError("own", "text", details=[{"it": object()}])

    async with client_of() as client:
        assert await error_of(client, "own") == INTERNAL
    assert "cannot be serialised to JSON" in caplog.text


# Error hooks


def not_found(error: LookupError, connection: WebSocketConnection) -> MessageError:
    return MessageError("not_found", f"{type(error).__name__} for {connection.user_id}")


async def not_found_async(error: LookupError, connection: WebSocketConnection) -> MessageError:
    await trio.lowlevel.checkpoint()
    return not_found(error, connection)


def not_found_raised(error: LookupError, connection: WebSocketConnection) -> None:
    raise not_found(error, connection)


@pytest.mark.parametrize("hook", [not_found, not_found_async, not_found_raised])
async def test_an_error_hook_chooses_the_answer(
    messages: MessageRouter, client_of: ClientOf, hook: Any, caplog: pytest.LogCaptureFixture
) -> None:
    messages.on_error(LookupError)(hook)

    @messages.on("find")
    async def find(message: WSEnvelope) -> None:
        raise KeyError

    @messages.on("find.in.nursery")
    async def find_in_nursery(message: WSEnvelope) -> None:
        await raise_in_a_nursery(IndexError())

    async with client_of() as client:
        assert await error_of(client, "find") == {"code": "not_found", "message": "KeyError for ann", "details": []}
        assert (await error_of(client, "find.in.nursery"))["message"] == "IndexError for ann"
    assert caplog.records == [], "what the app expected is not logged"


async def test_only_the_hook_of_the_nearest_class_is_called(messages: MessageRouter, client_of: ClientOf) -> None:
    messages.on_error(Exception)(lambda error, connection: MessageError("any", ""))
    messages.on_error(KeyError)(lambda error, connection: MessageError("key", ""))
    messages.on_error(TopicLimitError)(lambda error, connection: MessageError("topics", ""))

    @messages.on("fail")
    async def fail(message: WSEnvelope) -> None:
        raise {"key": KeyError, "index": IndexError, "topics": TopicLimitError, "topic": InvalidTopicError}[
            message.data["with"]
        ]

    async with client_of() as client:
        for kind, code in (("key", "key"), ("index", "any"), ("topics", "topics"), ("topic", "any")):
            assert (await error_of(client, "fail", {"with": kind}))["code"] == code


def hook_without_answer(error: Exception, connection: WebSocketConnection) -> None: ...


def hook_that_fails(error: Exception, connection: WebSocketConnection) -> MessageError:
    raise RuntimeError("hook")


def hook_with_nonsense(error: Exception, connection: WebSocketConnection) -> Any:
    return "not_found"


@pytest.mark.parametrize(
    ("hook", "log"),
    [
        (hook_without_answer, "handler of 'fail' failed: connection"),
        (hook_that_fails, "handler of 'fail': error hook failed"),
        (hook_with_nonsense, "handler of 'fail': error hook failed"),
    ],
)
async def test_without_an_answer_of_the_hook_it_is_internal(
    messages: MessageRouter, client_of: ClientOf, hook: Any, log: str, caplog: pytest.LogCaptureFixture
) -> None:
    messages.on_error(LookupError)(hook)

    @messages.on("fail")
    async def fail(message: WSEnvelope) -> None:
        raise KeyError

    async with client_of() as client:
        assert await error_of(client, "fail") == INTERNAL
    [record] = caplog.records
    assert log in record.getMessage()


# Order and time


async def test_messages_are_handled_one_by_one_in_order(messages: MessageRouter, client_of: ClientOf) -> None:
    running: list[str] = []
    done: list[str] = []

    @messages.on("say")
    async def say(message: Say) -> None:
        assert running == []
        running.append(message.text)
        await trio.lowlevel.checkpoint()
        done.append(running.pop())

    async with client_of() as client:
        for number in range(10):
            await client.send_json({"type": "say", "data": {"text": str(number)}})
        await ask(client, "say", {"text": "10"})
    assert done == [str(number) for number in range(11)]


async def test_a_handler_that_takes_too_long_is_cancelled(
    messages: MessageRouter, client_of: ClientOf, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    cancelled: list[float] = []

    @messages.on("slow", timeout=2.5)
    async def slow(message: WSEnvelope) -> None:
        try:
            await trio.sleep_forever()
        finally:
            cancelled.append(trio.current_time())

    @messages.on("quick", timeout=2.5)
    async def quick(message: WSEnvelope) -> dict[str, int]:
        await trio.sleep(2.4)
        return {"done": 1}

    async with client_of() as client:
        start = trio.current_time()
        assert await error_of(client, "slow") == {
            "code": "timeout",
            "message": "handling this took longer than 2.5 s",
            "details": [],
        }
        assert cancelled == [pytest.approx(start + 2.5)]
        assert (await ask(client, "quick"))["data"] == {"done": 1}
    assert "handler of 'slow' took too long" in caplog.text


async def test_concurrent_handlers_run_at_once_up_to_their_bound(messages: MessageRouter, client_of: ClientOf) -> None:
    gates = {str(number): trio.Event() for number in range(4)}

    @messages.on("wait", concurrent=True)
    async def wait(message: Say) -> dict[str, str]:
        await gates[message.text].wait()
        return {"text": message.text}

    @messages.on("say")
    async def say(message: Say) -> None: ...

    async with client_of(WS_MAX_CONCURRENT_MESSAGES=2) as client:
        for number in ("0", "1"):
            await client.send_json({"type": "wait", "data": {"text": number}, "request_id": number})
        assert (await ask(client, "say", {"text": ""}))["type"] == "say.reply"
        assert await error_of(client, "wait", {"text": "2"}) == {
            "code": "limit_exceeded",
            "message": "at most 2 messages are handled at a time",
            "details": [],
        }
        for number in ("1", "0"):
            gates[number].set()
            assert await client.receive_json() == {
                "type": "wait.reply",
                "data": {"text": number},
                "request_id": number,
            }
        gates["3"].set()
        assert (await ask(client, "wait", {"text": "3"}))["data"] == {"text": "3"}, "there is room again"


async def test_a_failing_concurrent_handler_does_not_affect_others(
    messages: MessageRouter, client_of: ClientOf, caplog: pytest.LogCaptureFixture
) -> None:
    gate = trio.Event()

    @messages.on("wait", concurrent=True)
    async def wait(message: WSEnvelope) -> None:
        await gate.wait()

    @messages.on("fail", concurrent=True)
    async def fail(message: WSEnvelope) -> None:
        raise RuntimeError

    async with client_of() as client:
        await client.send('{"type": "wait", "request_id": "w"}')
        for _ in range(20):
            assert await error_of(client, "fail") == INTERNAL
        gate.set()
        assert (await client.receive_json())["request_id"] == "w"


@pytest.mark.parametrize("concurrent", [True, False])
async def test_a_handler_is_cancelled_with_its_connection(
    messages: MessageRouter, client_of: ClientOf, hub: WebSocketHub, concurrent: bool
) -> None:
    ended: list[str] = []

    @messages.on("wait", concurrent=concurrent)
    async def wait(message: WSEnvelope) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append("cancelled")

    async with client_of() as client:
        await client.send('{"type": "wait"}')
        await wait_all_tasks_blocked()
        await hub.disconnect(user_id="ann")
        await client.closed()
    assert ended == ["cancelled"]


@pytest.mark.parametrize("concurrent", [True, False])
async def test_what_the_client_sent_before_it_left_is_handled_and_may_be_finished(
    messages: MessageRouter, client_of: ClientOf, autojump_clock: MockClock, concurrent: bool
) -> None:
    handled: list[str] = []

    @messages.on("say", concurrent=concurrent)
    async def say(message: Say, connection: WebSocketConnection) -> None:
        if message.text == "send":
            await connection.ws.send("too late")
        await trio.sleep(0.5)
        handled.append(message.text)

    async with client_of() as client:
        for text in ("one", "send", "two", "three"):
            await client.send_json({"type": "say", "data": {"text": text}, "request_id": text})
        await client.drop()
    # Those that are handled at the same time may come in any order, and the one that sends still finds the socket open.
    assert {*handled} - {"send"} == {"one", "two", "three"}
    assert concurrent or handled == ["one", "two", "three"]


async def test_a_disconnect_of_another_socket_does_not_close_this_one(
    messages: MessageRouter, client_of: ClientOf, caplog: pytest.LogCaptureFixture
) -> None:
    @messages.on("tell")
    async def tell(message: WSEnvelope) -> None:
        raise WebSocketDisconnect(1006)

    async with client_of() as client:
        assert await error_of(client, "tell") == INTERNAL
        await assert_open(client)
    assert caplog.records == []


@pytest.mark.parametrize("concurrent", [True, False])
async def test_a_request_to_a_client_that_has_just_left_is_not_logged(
    messages: MessageRouter, client_of: ClientOf, caplog: pytest.LogCaptureFixture, concurrent: bool
) -> None:
    raised: list[Exception] = []

    @messages.on("ask", concurrent=concurrent)
    async def ask_back(message: WSEnvelope, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        await wait_all_tasks_blocked()
        try:
            await hub.request(connection.connection_id, WSEnvelope(type="where"))
        except Exception as error:
            raised.append(error)
            raise

    async with client_of() as client:
        await client.send('{"type": "ask"}')
        await client.close()
    assert [type(error) for error in raised] == [UnknownConnectionError]
    assert caplog.records == []


async def test_a_request_to_an_unknown_client_is_logged(
    messages: MessageRouter, client_of: ClientOf, caplog: pytest.LogCaptureFixture
) -> None:
    @messages.on("ask")
    async def ask_nobody(message: WSEnvelope, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        await hub.request(UUID(int=0), WSEnvelope(type="where"))

    async with client_of() as client:
        assert await error_of(client, "ask") == INTERNAL
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["handler of 'ask' failed"]


# One router, several places


async def test_one_router_serves_several_blueprints_with_settings_of_their_own(hub: WebSocketHub) -> None:
    messages = MessageRouter(authorize_subscribe=lambda connection, topic: True)
    one = make_app(messages, hub, WS_HELLO=False, WS_MAX_TOPIC_LENGTH=3)
    other = make_app(messages, hub, WS_HELLO=False)

    async with connect(one, token="ann") as ann, connect(other, token="bob") as bob:
        assert (await ask(ann, "subscribe", {"topic": "long"}))["data"]["code"] == "limit_exceeded"
        assert (await ask(bob, "subscribe", {"topic": "long"}))["type"] == "subscribe.reply"


async def test_included_handlers_run(hub: WebSocketHub) -> None:
    rooms, messages = MessageRouter(), MessageRouter()

    @rooms.on("join")
    async def join(message: WSEnvelope) -> dict[str, str]:
        return {"type": message.type}

    messages.include(rooms, prefix="room.")
    async with connect(make_app(messages, hub, WS_HELLO=False), token="ann") as client:
        assert await ask(client, "room.join") == {
            "type": "room.join.reply",
            "data": {"type": "room.join"},
            "request_id": "r1",
        }
        assert (await error_of(client, "join"))["code"] == "unknown_type"


async def test_nothing_can_be_registered_once_there_are_connections(
    messages: MessageRouter, client_of: ClientOf
) -> None:
    async def say(message: Say) -> None: ...

    async with client_of():
        await wait_all_tasks_blocked()
        with pytest.raises(ConfigurationError, match=r"too late .* connections were made already"):
            messages.on("say")(say)


def test_a_message_error_is_readable() -> None:
    assert str(MessageError(ErrorCode.FORBIDDEN, "no")) == "forbidden: no"
