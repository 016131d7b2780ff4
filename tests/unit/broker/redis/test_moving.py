"""What moves from one server of a cluster to another: subscriptions, and what waits to be sent."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from quart_wshub.broker.redis.backlog import Backlog, Reply
from quart_wshub.broker.redis.connection import RedisConnection
from quart_wshub.broker.redis.publisher import Publisher
from quart_wshub.broker.redis.subscriber import Subscriber
from quart_wshub.broker.redis.subscriptions import Subscriptions
from quart_wshub.broker.redis.wire import ChannelNames
from quart_wshub.protocol.errors import BrokerUnavailableError


class Push(list[Any]):
    """As hiredis makes it."""


class FakeConnection(RedisConnection):
    """Records what is sent, and receives what the test says."""

    def __init__(self) -> None:
        super().__init__(trio.testing.memory_stream_pair()[0])
        self.sent: list[bytes] = []
        self.replies, self._out = trio.open_memory_channel[list[Any]](100)

    async def send(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.sent.append(data)

    async def receive(self) -> list[Any]:
        return await self._out.receive()


async def ignore(channel: str, message: bytes) -> None:
    """A hub that is not tested here."""


async def test_a_subscription_that_moves_away_is_lost_here_until_it_is_confirmed_there(autojump_clock: object) -> None:
    gaps: list[frozenset[str]] = []
    subscriptions = Subscriptions(gaps.append)
    away: set[str] = set()
    subscriber = Subscriber(
        subscriptions,
        ChannelNames("p"),
        deliver=ignore,
        missed=lambda channel: None,
        is_here=lambda channel: channel not in away,
        timeout=5,
        sharded=True,
    )
    for channel in "ab":
        subscriptions.add(channel, may_miss=False)
    subscriber.connected = True
    connection = FakeConnection()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(subscriber.serve, connection)
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(connection.sent[0].split(b"*")) == sorted(
            [b"", b"2\r\n$10\r\nSSUBSCRIBE\r\n$3\r\np:a\r\n", b"2\r\n$10\r\nSSUBSCRIBE\r\n$3\r\np:b\r\n"]
        )
        await connection.replies.send([Push([b"ssubscribe", b"p:a", 1]), Push([b"ssubscribe", b"p:b", 2])])
        assert await subscriptions.confirmed("a", 1)
        assert await subscriptions.confirmed("b", 1)

        away.add("a")
        subscriber.slots_moved()
        await trio.testing.wait_all_tasks_blocked()

        assert connection.sent[1:] == [b"*2\r\n$12\r\nSUNSUBSCRIBE\r\n$3\r\np:a\r\n"]
        assert not subscriptions.complete
        await connection.replies.send([Push([b"sunsubscribe", b"p:a", 1])])
        await trio.testing.wait_all_tasks_blocked()
        assert gaps == []
        subscriptions.confirm("a")  # as the other server's subscriber does
        assert gaps == [{"a"}]
        nursery.cancel_scope.cancel()


def make_publisher(backlog: Backlog | None = None) -> Publisher:
    return Publisher(
        backlog or Backlog(100, 100_000),
        timeout=5,
        verb=b"SPUBLISH",
        refused=lambda error: None,
        overflowed=lambda: None,
    )


async def test_what_waits_moves_in_order_and_before_what_comes_later(autojump_clock: object) -> None:
    backlog = Backlog(100, 100_000)
    here, there = make_publisher(backlog), make_publisher(backlog)
    reply = Reply(5)
    for number in range(3):
        here.post(b"moves", b"%d" % number)
        here.post(b"stays", b"%d" % number)
    here.post(b"moves", b"last", reply)
    here.mark(b"moves")

    here.hand_over(lambda channel: there if channel == b"moves" else here)
    there.post(b"moves", b"later")

    assert (here.waiting, there.waiting) == (3, 5)
    connection = FakeConnection()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(there.serve, connection)
        await trio.testing.wait_all_tasks_blocked()
        sent = [line for line in connection.sent[0].split(b"\r\n") if line[:1] in (b"m", b"g") and line != b"moves"]
        assert sent == [b"g", b"m0", b"m1", b"m2", b"mlast", b"mlater"]
        await connection.replies.send([1] * 6)
        assert await reply.wait() == 1
        nursery.cancel_scope.cancel()
    assert (backlog.published, backlog.lost, there.waiting) == (5, 0, 0)


async def test_what_is_not_confirmed_is_answered_in_time_while_the_connection_goes_on(autojump_clock: object) -> None:
    """A Redis that is slow but alive: it keeps answering, and the last call waits too long all the same."""
    publisher = make_publisher()
    connection = FakeConnection()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(publisher.serve, connection)
        nursery.start_soon(publisher.expire)
        for _ in range(10):
            publisher.post(b"a", b"")
        reply = Reply(5)
        publisher.post(b"a", b"", reply)

        async def answer_slowly() -> None:
            for _ in range(11):
                await trio.sleep(1)
                await connection.replies.send([1])

        nursery.start_soon(answer_slowly)
        since = trio.current_time()
        with pytest.raises(BrokerUnavailableError, match="in time"):
            await reply.wait()
        assert trio.current_time() - since == pytest.approx(5)
        await trio.sleep(7)
        await publisher.flushed()
        nursery.cancel_scope.cancel()
