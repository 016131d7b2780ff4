"""The hub on connections without sockets: the delivery table, membership, eviction, introspection."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import TYPE_CHECKING, Any
from unittest.mock import ANY
from uuid import UUID, uuid4

import pytest
import trio
from pydantic_core import PydanticSerializationError
from trio.testing import assert_checkpoints

from quart_wshub import (
    CloseCode,
    ConfigurationError,
    InvalidTopicError,
    TopicLimitError,
    UsageError,
    WebSocketHub,
    WSEnvelope,
)
from quart_wshub.connection.ending import Ending, EndingKind
from quart_wshub.hub.websocket_hub import runtime_of
from tests.unit.fakes import delivered, join, make_session, texts
from tests.unit.memory import make_settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from quart_wshub.connection.session import Session

NEWS = WSEnvelope(type="news")


async def types_delivered(*connections: Session) -> list[list[str]]:
    """The envelope types each connection got."""
    return [[WSEnvelope.decode(text).type for text in texts(await delivered(connection))] for connection in connections]


# Delivery


async def test_send_to_reaches_every_socket_of_the_user_and_no_other() -> None:
    hub = WebSocketHub()
    first, second, stranger = join(hub, "ann"), join(hub, "ann"), join(hub, "bob")

    assert await hub.send_to("ann", NEWS) == 2
    assert await types_delivered(first, second, stranger) == [["news"], ["news"], []]


async def test_send_many_sends_each_user_its_own_envelope_and_returns_the_total() -> None:
    hub = WebSocketHub()
    first, second, bob, stranger = (join(hub, user_id) for user_id in ("ann", "ann", "bob", "cid"))

    sent = await hub.send_many(
        {"ann": WSEnvelope(type="for.ann"), "bob": WSEnvelope(type="for.bob"), "nobody": WSEnvelope(type="lost")}
    )

    assert sent == 3
    assert await types_delivered(first, second, bob, stranger) == [["for.ann"], ["for.ann"], ["for.bob"], []]


async def test_broadcast_to_a_topic_reaches_its_subscribers() -> None:
    hub = WebSocketHub()
    reader, other = join(hub, "ann"), join(hub, "bob")
    await hub.subscribe(reader.connection_id, "news")

    assert await hub.broadcast(NEWS, topic="news") == 1
    assert await hub.broadcast(NEWS, topic="nobody reads this") == 0
    assert await types_delivered(reader, other) == [["news"], []]


async def test_broadcast_without_a_topic_reaches_everyone() -> None:
    hub = WebSocketHub()
    everyone = [join(hub, user_id) for user_id in ("ann", "bob", 3, uuid4())]

    assert await hub.broadcast(NEWS) == 4
    assert await types_delivered(*everyone) == [["news"]] * 4


@pytest.mark.parametrize("topic", [None, "news"])
async def test_broadcast_reaches_all_but_the_excluded_connection(topic: str | None) -> None:
    hub = WebSocketHub()
    sender, same_user, other = join(hub, "ann"), join(hub, "ann"), join(hub, "bob")
    for connection in (sender, same_user, other):
        await hub.subscribe(connection.connection_id, "news")

    assert await hub.broadcast(NEWS, topic=topic, exclude=sender.connection_id) == 2
    assert await types_delivered(sender, same_user, other) == [[], ["news"], ["news"]]


async def test_excluding_an_unknown_connection_excludes_nobody() -> None:
    hub = WebSocketHub()
    join(hub)

    assert await hub.broadcast(NEWS, exclude=uuid4()) == 1


async def test_a_user_id_and_its_text_are_two_users() -> None:
    hub = WebSocketHub()
    user_id = uuid4()
    connection = join(hub, user_id)

    assert await hub.send_to(str(user_id), NEWS) == 0
    assert await hub.send_to(UUID(str(user_id)), NEWS) == 1
    assert await types_delivered(connection) == [["news"]]


async def test_a_delivered_envelope_has_all_three_keys() -> None:
    hub = WebSocketHub()
    connection = join(hub)

    await hub.broadcast(WSEnvelope(type="news", data={"n": 1}))

    assert texts(await delivered(connection)) == ['{"type":"news","data":{"n":1},"request_id":null}']


async def test_only_sockets_that_accepted_are_counted() -> None:
    hub = WebSocketHub()
    slow = join(hub, settings=make_settings(WS_SEND_QUEUE_MESSAGES=1))
    join(hub)

    assert [await hub.send_to("ann", NEWS) for _ in range(3)] == [2, 1, 1]
    assert slow.ending is not None
    assert slow.ending.code == 1013
    assert hub.connection_count() == 1


async def test_an_envelope_that_cannot_be_encoded_raises_and_reaches_nobody() -> None:
    hub = WebSocketHub()
    connection = join(hub)

    with pytest.raises(PydanticSerializationError):
        await hub.broadcast(WSEnvelope(type="news", data={"no": object()}))

    assert await types_delivered(connection) == [[]]


@pytest.mark.parametrize("topic", ["", 3, b"news", ["news"]])
@pytest.mark.parametrize("method", ["broadcast", "subscribe", "unsubscribe"])
async def test_a_topic_that_is_not_a_string_is_refused(method: str, topic: Any) -> None:
    hub = WebSocketHub()
    connection = join(hub)
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "broadcast": lambda: hub.broadcast(NEWS, topic=topic),
        "subscribe": lambda: hub.subscribe(connection.connection_id, topic),
        "unsubscribe": lambda: hub.unsubscribe(connection.connection_id, topic),
    }

    with pytest.raises(InvalidTopicError, match=r"a topic is a non-empty string, not (empty|int|bytes|list)"):
        await calls[method]()

    assert hub.statistics().topics == 0


# Membership


async def test_subscribing_and_unsubscribing_are_idempotent() -> None:
    hub = WebSocketHub()
    connection_id = join(hub).connection_id

    assert [await hub.subscribe(connection_id, "news") for _ in range(2)] == [True, True]
    assert hub.topic_count("news") == 1
    assert [await hub.unsubscribe(connection_id, "news") for _ in range(2)] == [True, True]
    assert hub.topic_count("news") == 0


async def test_membership_of_an_unknown_connection_is_a_no_op() -> None:
    hub = WebSocketHub()
    gone = join(hub)
    gone.begin_close(1000, kind=EndingKind.SERVER_CLOSED)

    for connection_id in (gone.connection_id, uuid4()):
        assert await hub.subscribe(connection_id, "news") is False
        assert await hub.unsubscribe(connection_id, "news") is False
    assert hub.statistics().topics == 0


async def test_the_number_of_topics_per_connection_is_limited() -> None:
    hub = WebSocketHub()
    connection = join(hub, settings=make_settings(WS_MAX_TOPICS_PER_CONNECTION=2))
    for topic in ("one", "two", "two"):
        assert await hub.subscribe(connection.connection_id, topic)

    with pytest.raises(TopicLimitError, match="at most 2 topics"):
        await hub.subscribe(connection.connection_id, "three")

    assert connection.topics == {"one", "two"}
    await hub.unsubscribe(connection.connection_id, "one")
    assert await hub.subscribe(connection.connection_id, "three")


# Disconnecting and eviction


async def test_disconnecting_a_user_closes_all_its_sockets_with_the_given_code() -> None:
    hub = WebSocketHub()
    first, second, other = join(hub, "ann"), join(hub, "ann"), join(hub, "bob")

    assert await hub.disconnect(user_id="ann", code=CloseCode.FORBIDDEN, reason="banned") == 2

    endings = {(c.ending.code, c.ending.reason, c.ending.kind) for c in (first, second) if c.ending is not None}
    assert endings == {(4403, "banned", EndingKind.SERVER_CLOSED)}
    assert other.ending is None
    assert hub.connection_count() == 1
    assert await hub.disconnect(user_id="ann") == 0


async def test_disconnecting_one_connection_leaves_the_users_others() -> None:
    hub = WebSocketHub()
    first, second = join(hub, "ann"), join(hub, "ann")

    assert await hub.disconnect(connection_id=first.connection_id) == 1
    assert await hub.disconnect(connection_id=first.connection_id) == 0
    assert await hub.disconnect(connection_id=uuid4()) == 0

    assert first.ending is not None
    assert (first.ending.code, first.ending.reason) == (1000, "")
    assert second.ending is None


async def test_disconnect_takes_exactly_one_of_user_and_connection() -> None:
    hub = WebSocketHub()
    connection = join(hub)

    with pytest.raises(UsageError, match="exactly one"):
        await hub.disconnect()
    with pytest.raises(UsageError, match="exactly one"):
        await hub.disconnect(user_id="ann", connection_id=connection.connection_id)

    assert connection.ending is None


@pytest.mark.parametrize(("code", "reason"), [(1006, ""), (999, ""), (5000, ""), (1000, "x" * 124)])
async def test_disconnect_refuses_codes_and_reasons_that_a_close_frame_cannot_carry(code: int, reason: str) -> None:
    hub = WebSocketHub()
    connection = join(hub)

    with pytest.raises(ValueError, match=r"close (code|reason)"):
        await hub.disconnect(user_id="ann", code=code, reason=reason)

    assert connection.ending is None


async def test_one_connection_too_many_evicts_the_users_oldest() -> None:
    hub = WebSocketHub(max_per_user=2)
    other = join(hub, "bob")
    oldest, middle, youngest = join(hub), join(hub), join(hub)

    assert oldest.ending is not None
    assert (oldest.ending.code, oldest.ending.kind) == (4429, EndingKind.SERVER_CLOSED)
    assert (middle.ending, youngest.ending, other.ending) == (None, None, None)
    assert hub.connection_count() == 3
    assert await hub.send_to("ann", NEWS) == 2


async def test_with_one_socket_per_user_the_newest_stays() -> None:
    hub = WebSocketHub(max_per_user=1)
    first, second = join(hub), join(hub)

    assert first.ending is not None
    assert second.ending is None


@pytest.mark.parametrize("max_per_user", [0, -1, 1.5, "5", None])
def test_an_invalid_max_per_user_is_refused(max_per_user: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"max_per_user=.* at least 1"):
        WebSocketHub(max_per_user=max_per_user)


def test_a_hub_can_be_made_without_an_event_loop() -> None:
    assert repr(WebSocketHub()) == "<WebSocketHub connections=0>"


# Introspection


async def test_introspection_lists_users_and_counts() -> None:
    hub = WebSocketHub()
    ann, bob = join(hub, "ann"), join(hub, "bob")
    join(hub, "ann")
    await hub.subscribe(ann.connection_id, "news")
    await hub.subscribe(bob.connection_id, "news")

    assert hub.online_users() == {"ann", "bob"}
    assert hub.connection_count() == 3
    assert (hub.topic_count("news"), hub.topic_count("nothing")) == (2, 0)
    assert repr(hub) == "<WebSocketHub connections=3>"


async def test_statistics_count_from_the_start_and_by_close_code() -> None:
    hub = WebSocketHub()
    ann, bob = join(hub, "ann"), join(hub, "bob")
    await hub.subscribe(ann.connection_id, "news")
    await hub.broadcast(NEWS)
    await hub.send_to("nobody", NEWS)
    await hub.send_many({"ann": NEWS, "bob": NEWS})
    bob.begin_close(CloseCode.HEARTBEAT_TIMEOUT, kind=EndingKind.SERVER_CLOSED)

    statistics = hub.statistics()

    assert (statistics.connections, statistics.users, statistics.topics) == (1, 1, 1)
    assert (statistics.accepted, statistics.publications, statistics.deliveries) == (2, 4, 4)
    assert statistics.closed == {4408: 1}


async def test_introspection_returns_immutable_snapshots() -> None:
    hub = WebSocketHub()
    connection = join(hub)
    statistics, users = hub.statistics(), hub.online_users()

    connection.begin_close(1000, kind=EndingKind.SERVER_CLOSED)

    assert (statistics.connections, dict(statistics.closed)) == (1, {})
    assert users == {"ann"}
    with pytest.raises(FrozenInstanceError):
        statistics.connections = 5  # type: ignore[misc]
    assert hub.statistics().closed == {1000: 1}
    with pytest.raises(AttributeError):
        users.add("eve")  # type: ignore[attr-defined]


# The rest


NOTHING_TO_DO: dict[str, Callable[[WebSocketHub], Awaitable[object]]] = {
    "send_to": lambda hub: hub.send_to("nobody", NEWS),
    "send_many": lambda hub: hub.send_many({}),
    "broadcast": lambda hub: hub.broadcast(NEWS),
    "subscribe": lambda hub: hub.subscribe(uuid4(), "news"),
    "unsubscribe": lambda hub: hub.unsubscribe(uuid4(), "news"),
    "disconnect": lambda hub: hub.disconnect(user_id="nobody"),
}


@pytest.mark.parametrize("method", NOTHING_TO_DO)
async def test_every_method_yields_to_other_tasks_even_with_nothing_to_do(method: str) -> None:
    hub = WebSocketHub()
    with assert_checkpoints():
        for _ in range(100):
            await NOTHING_TO_DO[method](hub)


@pytest.mark.parametrize("method", NOTHING_TO_DO)
async def test_every_method_can_be_cancelled_even_with_nothing_to_do(method: str) -> None:
    hub = WebSocketHub()
    with trio.CancelScope() as scope:
        scope.cancel()
        await NOTHING_TO_DO[method](hub)
    assert scope.cancelled_caught


async def test_a_loop_of_small_deliveries_yields_to_other_tasks() -> None:
    hub = WebSocketHub()
    for _ in range(3):
        join(hub)
    with assert_checkpoints():
        for _ in range(100):
            await hub.broadcast(NEWS)


async def test_a_connection_registered_while_the_hub_drains_is_closed() -> None:
    hub = WebSocketHub()
    assert await hub.drain() == 0

    assert join(hub).ending == Ending(1012, "the server is restarting", EndingKind.SERVER_CLOSED, ANY)
    assert hub.connection_count() == 0


async def test_a_connection_can_be_registered_only_once() -> None:
    hub = WebSocketHub()
    connection = make_session(hub)
    runtime_of(hub).register(connection)

    with pytest.raises(ValueError, match="already registered"):
        runtime_of(hub).register(connection)

    assert hub.connection_count() == 1


async def test_a_cancelled_call_changes_nothing() -> None:
    hub = WebSocketHub()
    connection = join(hub)
    await hub.subscribe(connection.connection_id, "kept")

    async def call(method: Callable[[], Awaitable[object]]) -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            await method()
        assert scope.cancelled_caught

    await call(lambda: hub.subscribe(connection.connection_id, "news"))
    await call(lambda: hub.unsubscribe(connection.connection_id, "kept"))
    await call(lambda: hub.broadcast(NEWS))
    await call(lambda: hub.disconnect(user_id="ann"))

    assert connection.topics == {"kept"}
    assert connection.ending is None
    assert await types_delivered(connection) == [[]]
