"""Disconnecting and revoking clients of other nodes, and requests to them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock
from uuid import uuid4

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from quart_wshub import (
    BrokerUnavailableError,
    CloseCode,
    RequestFailedError,
    RequestLimitError,
    RequestTimeoutError,
    UnknownConnectionError,
    UsageError,
    WebSocketDisconnect,
    WSEnvelope,
)
from quart_wshub.cluster.node_ids import make_connection_id
from quart_wshub.connection.requests import MAX_PENDING
from quart_wshub.hub.websocket_hub import runtime_of
from tests.unit.bus import Bus, cluster_of, hubs_on
from tests.unit.fakes import delivered, join, texts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from quart_wshub import WebSocketHub
    from quart_wshub.connection.session import Session

Answerer = Callable[[dict[str, Any]], WSEnvelope]

ASK = WSEnvelope(type="ask", data={"n": 1})


def code_of(connection: Session) -> tuple[int, str] | None:
    return None if connection.ending is None else (connection.ending.code, connection.ending.reason)


# Disconnecting


async def test_a_user_is_disconnected_on_every_node_and_all_sockets_are_counted() -> None:
    bus = Bus()
    async with hubs_on(bus.broker(), bus.broker(), bus.broker()) as (one, two, three):
        targets = [join(hub, "ann") for hub in (one, two, two, three)]
        other = join(two, "bob")

        assert await one.disconnect(user_id="ann", code=4403, reason="out") == 4
        assert [code_of(target) for target in targets] == [(4403, "out")] * 4
        assert other.ending is None
        assert await one.disconnect(user_id="ann") == 0


async def test_a_connection_is_disconnected_on_any_node() -> None:
    bus = Bus()
    async with hubs_on(bus.broker(), bus.broker()) as (one, two):
        target, other = join(two, "ann"), join(two, "ann")

        assert await one.disconnect(connection_id=target.connection_id, code=CloseCode.FORBIDDEN) == 1
        assert code_of(target) == (4403, "forbidden")
        assert other.ending is None
        assert await one.disconnect(connection_id=target.connection_id) == 0


async def test_messages_sent_before_a_disconnection_are_delivered_before_it() -> None:
    bus = Bus()
    async with hubs_on(bus.broker(), bus.broker()) as (one, two):
        target = join(two, "ann")
        await one.send_to("ann", WSEnvelope(type="bye"))
        await one.disconnect(user_id="ann")
        assert [json.loads(text)["type"] for text in texts(await delivered(target))] == ["bye"]


@pytest.mark.parametrize("where", ["a node that is gone", "this node", "no node"])
async def test_an_unknown_connection_is_not_waited_for(where: str) -> None:
    bus = Bus()
    async with hubs_on(bus.broker(), bus.broker()) as (one, _):
        node = "0123456789ab" if where == "a node that is gone" else bus.brokers[0].node_id
        connection_id = uuid4() if where == "no node" else make_connection_id(node)
        with trio.fail_after(1):
            assert await one.disconnect(connection_id=connection_id) == 0
            with pytest.raises(UnknownConnectionError):
                await one.request(connection_id, ASK)


async def test_a_hung_node_delays_a_disconnection_by_at_most_two_seconds(autojump_clock: object) -> None:
    bus = Bus()
    async with hubs_on(bus.broker(), bus.broker()) as (one, two):
        target, here = join(two, "ann"), join(one, "ann")
        await wait_all_tasks_blocked()
        bus.brokers[1].deaf = True
        start = trio.current_time()

        assert await one.disconnect(user_id="ann") == 1
        assert trio.current_time() - start == pytest.approx(2)
        assert here.ending is not None
        bus.brokers[1].deaf = False
        bus.brokers[1].wake()
        await wait_all_tasks_blocked()
        assert target.ending is not None


@pytest.mark.parametrize("what", ["disconnect", "revoke"])
async def test_while_the_backend_is_down_local_sockets_are_closed_and_the_call_fails(what: str) -> None:
    bus = Bus()
    async with hubs_on(bus.broker()) as (hub,):
        here = join(hub, "ann")
        bus.down = True
        with pytest.raises(BrokerUnavailableError) as caught:
            await (hub.disconnect(user_id="ann") if what == "disconnect" else hub.revoke("ann"))
        assert caught.value.delivered == 1
        assert here.ending is not None


@pytest.mark.parametrize("what", ["disconnect", "revoke"])
async def test_a_handler_that_disconnects_its_own_user_reaches_every_node(what: str) -> None:
    """Although its own disconnection cancels it."""
    bus = Bus()
    async with hubs_on(bus.broker(), bus.broker()) as (one, two):
        own, there = join(one, "ann"), join(two, "ann")
        with trio.CancelScope() as handler:
            own.runner = Mock(begin_closing=handler.cancel)
            await (one.disconnect(user_id="ann") if what == "disconnect" else one.revoke("ann"))

        assert handler.cancelled_caught
        await wait_all_tasks_blocked()
        assert there.ending is not None


async def test_a_disconnection_under_way_fails_when_the_broker_stops() -> None:
    bus = Bus()
    async with hubs_on(bus.broker(), bus.broker()) as (one, two), trio.open_nursery() as nursery:
        join(two, "ann")
        await wait_all_tasks_blocked()
        bus.brokers[1].deaf = True

        async def disconnect() -> None:
            with pytest.raises(BrokerUnavailableError, match="has stopped"):
                await one.disconnect(user_id="ann")

        nursery.start_soon(disconnect)
        await wait_all_tasks_blocked()
        await cluster_of(one).stop()


# Revoking


async def test_a_user_is_revoked_on_every_node() -> None:
    bus = Bus()
    async with hubs_on(bus.broker(), bus.broker()) as (one, two):
        targets = [join(hub, 7) for hub in (one, two)]
        other = join(two, "7")

        assert await one.revoke(7) == 2
        assert [code_of(target) for target in targets] == [(4401, "token revoked")] * 2
        assert other.ending is None


async def test_a_handshake_under_way_on_another_node_is_revoked_too() -> None:
    """Although that node has no socket of the user, and is not subscribed to its channel."""
    bus = Bus()
    async with hubs_on(bus.broker(), bus.broker()) as (one, two):
        with runtime_of(two).revocations.admission() as admission:
            assert await one.revoke("ann") == 0
            assert admission.is_revoked("ann")
            assert not admission.is_revoked("bob")


async def test_an_unconfirmed_revocation_fails(autojump_clock: object) -> None:
    bus = Bus()
    async with hubs_on(bus.broker(), bus.broker()) as (one, two):
        here = join(one, "ann")
        join(two, "ann")
        await wait_all_tasks_blocked()
        bus.brokers[1].deaf = True
        with pytest.raises(BrokerUnavailableError, match="1 nodes did not confirm") as caught:
            await one.revoke("ann")
        assert caught.value.delivered == 1
        assert here.ending is not None


async def test_a_disconnected_node_has_not_confirmed() -> None:
    bus = Bus()
    async with hubs_on(bus.broker()) as (one,):
        bus.also_alive = frozenset({"0123456789ab"})
        with pytest.raises(BrokerUnavailableError, match="1 nodes did not confirm"):
            await one.revoke("ann")


# Requests


@asynccontextmanager
async def client(connection: Session, answer: Callable[[dict[str, Any]], WSEnvelope]) -> AsyncIterator[None]:
    """Answers every request, as the receive task takes it."""

    async def run() -> None:
        while True:
            await wait_all_tasks_blocked()
            for text in texts(await delivered(connection)):
                request = json.loads(text)
                if connection.requests is not None and request["request_id"]:
                    reply = answer(request).model_copy(update={"request_id": request["request_id"]})
                    assert connection.requests.take(reply.encode())
            await trio.sleep(0.001)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        yield
        nursery.cancel_scope.cancel()


def echo(request: dict[str, Any]) -> WSEnvelope:
    return WSEnvelope(type="ask.reply", data={"got": request["data"]})


async def test_a_client_of_another_node_answers_a_request(autojump_clock: object) -> None:
    bus = Bus()
    async with hubs_on(bus.broker(), bus.broker()) as (one, two):
        target = join(two)
        async with client(target, echo):
            reply = await one.request(target.connection_id, ASK)
        assert (reply.type, reply.data) == ("ask.reply", {"got": {"n": 1}})
        assert reply.request_id
        assert_no_pending_requests(one, two)


async def test_concurrent_requests_each_get_their_own_reply(autojump_clock: object) -> None:
    bus = Bus()
    async with hubs_on(bus.broker(), bus.broker()) as (one, two):
        target = join(two)
        replies: list[tuple[int, Any]] = []

        async def ask(number: int) -> None:
            reply = await one.request(target.connection_id, WSEnvelope(type="ask", data={"n": number}))
            replies.append((number, reply.data["got"]["n"]))

        async with client(target, echo), trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(ask, number)
        assert sorted(replies) == [(number, number) for number in range(20)]


async def test_a_clients_error_is_returned_unchanged(autojump_clock: object) -> None:
    bus = Bus()
    async with hubs_on(bus.broker(), bus.broker()) as (one, two):
        target = join(two)
        error = WSEnvelope(type="error", data={"code": "no", "message": "way", "details": [{"a": None}]})
        async with client(target, lambda _: error):
            with pytest.raises(RequestFailedError) as caught:
                await one.request(target.connection_id, ASK)
        assert (caught.value.code, caught.value.message, caught.value.details) == ("no", "way", [{"a": None}])


async def test_a_client_that_does_not_answer_times_out(autojump_clock: object) -> None:
    bus = Bus()
    async with hubs_on(bus.broker(), bus.broker()) as (one, two):
        target = join(two)
        start = trio.current_time()
        with pytest.raises(RequestTimeoutError, match="no reply to 'ask' within 3 s"):
            await one.request(target.connection_id, ASK, timeout=3)
        assert trio.current_time() - start == pytest.approx(3)
        await trio.sleep(1)
        assert_no_pending_requests(one, two)


async def test_a_request_to_a_hung_node_times_out(autojump_clock: object) -> None:
    bus = Bus()
    async with hubs_on(bus.broker(), bus.broker()) as (one, two):
        target = join(two)
        await wait_all_tasks_blocked()
        bus.brokers[1].deaf = True
        with pytest.raises(RequestTimeoutError):
            await one.request(target.connection_id, ASK, timeout=3)
        assert_no_pending_requests(one, two)


async def test_a_client_that_leaves_before_it_answers_fails_the_request() -> None:
    bus = Bus()
    async with hubs_on(bus.broker(), bus.broker()) as (one, two), trio.open_nursery() as nursery:
        target = join(two)
        caught: list[WebSocketDisconnect] = []

        async def ask() -> None:
            with pytest.raises(WebSocketDisconnect) as gone:
                await one.request(target.connection_id, ASK, timeout=math.inf)
            caught.append(gone.value)

        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        target.peer_left(WebSocketDisconnect(1001, "bye"))
        await wait_all_tasks_blocked()
        assert [(gone.code, gone.reason) for gone in caught] == [(1001, "bye")]
        assert_no_pending_requests(one, two)


async def test_a_cancelled_request_is_cancelled_on_the_other_node_too() -> None:
    bus = Bus()
    async with hubs_on(bus.broker(), bus.broker()) as (one, two):
        target = join(two)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.request, target.connection_id, ASK, math.inf)
            await wait_all_tasks_blocked()
            assert target.requests is not None
            nursery.cancel_scope.cancel()
        await wait_all_tasks_blocked()
        assert_no_pending_requests(one, two)
        assert len(target.requests or ()) <= 1, "at most the memory of the cancelled request"


async def test_the_limit_of_requests_to_a_client_holds_for_all_nodes() -> None:
    bus = Bus()
    async with hubs_on(bus.broker(), bus.broker()) as (one, two):
        target = join(two)
        async with trio.open_nursery() as nursery:
            for _ in range(MAX_PENDING):
                nursery.start_soon(one.request, target.connection_id, ASK)
            await wait_all_tasks_blocked()
            with pytest.raises(RequestLimitError):
                await one.request(target.connection_id, ASK)
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("timeout", [-1, math.nan])
async def test_an_invalid_timeout_is_refused_before_sending(timeout: float) -> None:
    bus = Bus()
    async with hubs_on(bus.broker(), bus.broker()) as (one, two):
        with pytest.raises(UsageError):
            await one.request(join(two).connection_id, ASK, timeout=timeout)


async def test_a_request_fails_while_the_backend_is_down() -> None:
    bus = Bus()
    async with hubs_on(bus.broker(), bus.broker()) as (one, two):
        target = join(two)
        bus.down = True
        with pytest.raises(BrokerUnavailableError):
            await one.request(target.connection_id, ASK)


def assert_no_pending_requests(*hubs: WebSocketHub) -> None:
    for hub in hubs:
        cluster = cluster_of(hub)
        assert len(cluster.requests) == 0
        assert cluster._responder._client_requests == {}
