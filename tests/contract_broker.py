"""What every broker guarantees, as tests. Subclass `BrokerContract` for each implementation."""

from __future__ import annotations

import inspect
import re
from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Protocol

import pytest
import trio
import trio.lowlevel
from trio.testing import assert_checkpoints

from quart_wshub.protocol.errors import BrokerUnavailableError, UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from quart_wshub.broker.base import Broker

__all__ = ["BrokerContract", "BrokerFactory", "Heard", "Node", "eventually", "knows", "running"]

NEVER_SECONDS = 10
"""What takes longer than this will never happen."""

AWKWARD_CHANNELS = [
    "",
    " ",
    "a b",
    "line\nbreak",
    "null\0",
    "{braces}",
    "*?[x]",
    "grüße",
    "\N{SNOWMAN}",
    "\ud800",
    "x" * 5000,
]
"""Topics come from clients. JSON can hold half of a surrogate pair."""


@dataclass
class Heard:
    """A listener that records what a broker gives it."""

    messages: list[tuple[str, bytes]] = field(default_factory=list)
    gaps: list[frozenset[str]] = field(default_factory=list)
    on_deliver: Callable[[bytes], object] | None = None
    pause: trio.Event | None = None
    at_once: int = 0
    """The highest number of deliveries at the same time."""

    _delivering: int = 0

    async def deliver(self, channel: str, message: bytes) -> None:
        self._delivering += 1
        self.at_once = max(self.at_once, self._delivering)
        try:
            if self.pause is not None:
                await self.pause.wait()
            self.messages.append((channel, message))
            if self.on_deliver is not None:
                self.on_deliver(message)
        finally:
            self._delivering -= 1

    def gap(self, channels: frozenset[str]) -> None:
        self.gaps.append(channels)

    def of(self, channel: str) -> list[bytes]:
        """The messages of one channel."""
        return [message for name, message in self.messages if name == channel]

    @property
    def gap_channels(self) -> frozenset[str]:
        """All channels in which messages may have been missed."""
        return frozenset[str]().union(*self.gaps)


@dataclass
class Node:
    """A broker that runs, and what its listener gets."""

    broker: Broker
    heard: Heard
    scope: trio.CancelScope
    ended: trio.Event

    async def subscribe(self, *channels: str) -> None:
        """Subscribe, and wait until that is confirmed."""
        for channel in channels:
            self.broker.subscribe(channel)
        for channel in channels:
            assert await self.broker.subscribed(channel)

    async def stop(self) -> None:
        """Cancel it, and wait until it has ended."""
        self.scope.cancel()
        await self.ended.wait()


class BrokerFactory(Protocol):
    """Makes brokers that share a backend."""

    def __call__(self) -> Broker: ...


async def eventually(probe: Callable[[], object], *, timeout: float = NEVER_SECONDS) -> None:
    """Wait until `probe` returns something true; that may be awaitable."""
    with trio.move_on_after(timeout):
        while not await _result_of(probe):  # noqa: ASYNC110 - it happens in another process
            await trio.sleep(0.002)
    assert await _result_of(probe)


async def _result_of(probe: Callable[[], object]) -> object:
    result = probe()
    return await result if inspect.isawaitable(result) else result


async def knows(node: Node, names: set[str]) -> bool:
    """Whether this node knows exactly these nodes."""
    return await node.broker.nodes() == names


async def nobody_is_subscribed(broker: Broker, channel: str) -> bool:
    """Whether no node receives messages to this channel."""
    return not (await broker.publish(channel, b"anyone?")).nodes


async def start(nursery: trio.Nursery, broker: Broker) -> Node:
    """Run a broker in a nursery."""
    node = Node(broker, Heard(), trio.CancelScope(), trio.Event())

    async def run(*, task_status: trio.TaskStatus[None]) -> None:
        with node.scope:
            await broker.run(node.heard, task_status=task_status)
        node.ended.set()

    await nursery.start(run)
    return node


@asynccontextmanager
async def running(*brokers: Broker) -> AsyncIterator[list[Node]]:
    """Brokers that run until the block ends."""
    async with trio.open_nursery() as nursery:
        nodes = [await start(nursery, broker) for broker in brokers]
        yield nodes
        for node in nodes:
            node.scope.cancel()


class BrokerContract(ABC):
    """Subclass this as `Test…` with a `make_brokers`."""

    @abstractmethod
    def make_brokers(self) -> AbstractAsyncContextManager[BrokerFactory]:
        """Provide a backend until the end of the block, and a factory of brokers on it."""

    @asynccontextmanager
    async def nodes(self, count: int) -> AsyncIterator[list[Node]]:
        with trio.fail_after(NEVER_SECONDS):
            async with self.make_brokers() as make, running(*[make() for _ in range(count)]) as nodes:
                yield nodes

    # Messages

    async def test_messages_arrive_at_every_subscribed_node_including_the_publisher(self) -> None:
        async with self.nodes(3) as (one, two, three):
            await one.subscribe("a")
            await two.subscribe("a")
            await three.subscribe("b")

            receipt = await one.broker.publish("a", b"hello")

            await eventually(lambda: one.heard.messages and two.heard.messages)
            assert one.heard.messages == two.heard.messages == [("a", b"hello")]
            assert three.heard.messages == []
            assert receipt.nodes == 2

    async def test_messages_of_a_node_to_a_channel_arrive_once_and_in_order(self) -> None:
        async with self.nodes(3) as (one, two, three), trio.open_nursery() as nursery:
            for node in (one, three):
                await node.subscribe("a", "b")

            async def publish(node: Node, name: str) -> None:
                for number in range(0, 600, 3):
                    node.broker.post("a", f"{name} {number}".encode())
                    node.broker.post("b", f"{name} {number}".encode())
                    node.broker.post("a", f"{name} {number + 1}".encode())
                    await node.broker.publish("a", f"{name} {number + 2}".encode())

            nursery.start_soon(publish, one, "one")
            nursery.start_soon(publish, two, "two")
            await eventually(lambda: len(three.heard.messages) >= 1600 <= len(one.heard.messages))

            for node in (one, three):
                for name in ("one", "two"):
                    mine = [message for message in node.heard.of("a") if message.startswith(name.encode())]
                    assert mine == [f"{name} {number}".encode() for number in range(600)]
                    mine = [message for message in node.heard.of("b") if message.startswith(name.encode())]
                    assert mine == [f"{name} {number}".encode() for number in range(0, 600, 3)]

    async def test_any_channel_name_and_any_bytes_arrive_unchanged(self) -> None:
        payloads = [b"", b"\r\n$5\r\n", bytes(range(256)), b"m", b"g", b"x" * 500_000]
        async with self.nodes(2) as (one, two):
            await two.subscribe(*AWKWARD_CHANNELS)

            for channel in AWKWARD_CHANNELS:
                for payload in payloads:
                    one.broker.post(channel, payload)

            expected = [(channel, payload) for channel in AWKWARD_CHANNELS for payload in payloads]
            await eventually(lambda: len(two.heard.messages) >= len(expected))
            assert sorted(two.heard.messages) == sorted(expected)
            assert two.heard.gaps == []

    async def test_unsubscribing_ends_the_messages_of_that_channel_only(self) -> None:
        async with self.nodes(2) as (one, two):
            await two.subscribe("a", "b")
            two.broker.unsubscribe("a")
            two.broker.unsubscribe("a")
            two.broker.unsubscribe("never subscribed to")

            await eventually(lambda: nobody_is_subscribed(one.broker, "a"))
            await one.broker.publish("b", b"last")

            await eventually(lambda: two.heard.of("b"))
            before = len(two.heard.of("a"))
            await one.broker.publish("a", b"more")
            await one.broker.publish("b", b"end")
            await eventually(lambda: len(two.heard.of("b")) == 2)
            assert len(two.heard.of("a")) == before
            assert two.broker.statistics().channels == 1

    async def test_the_last_of_many_subscribe_and_unsubscribe_calls_counts(self) -> None:
        async with self.nodes(2) as (one, two):
            for rounds in range(20):
                for _ in range(rounds % 5):
                    two.broker.subscribe("kept")
                    two.broker.unsubscribe("kept")
                    two.broker.unsubscribe("dropped")
                    two.broker.subscribe("dropped")
                    if rounds % 2:
                        await trio.lowlevel.checkpoint()
                two.broker.subscribe("kept")
                two.broker.unsubscribe("dropped")
                assert await two.broker.subscribed("kept")
                number = str(rounds).encode()
                await one.broker.publish("kept", number)
                await eventually(lambda number=number: number in two.heard.of("kept"))  # type: ignore[misc]

            await eventually(lambda: nobody_is_subscribed(one.broker, "dropped"))
            assert len(set(two.heard.of("kept"))) == len(two.heard.of("kept"))
            assert two.heard.gaps == []

    async def test_thousands_of_channels_can_be_subscribed_to(self) -> None:
        channels = [f"channel {number}" for number in range(3000)]
        async with self.nodes(2) as (one, two):
            await two.subscribe(*channels)

            for channel in channels:
                one.broker.post(channel, channel.encode())

            await eventually(lambda: len(two.heard.messages) >= 3000)
            assert sorted(two.heard.messages) == sorted((channel, channel.encode()) for channel in channels)
            assert two.broker.statistics().channels == 3000

    async def test_subscribed_is_false_at_once_for_a_channel_without_a_subscription(self) -> None:
        async with self.nodes(1) as (one,):
            before = trio.current_time()
            assert not await one.broker.subscribed("a")
            assert trio.current_time() - before < 0.5

    # The listener

    async def test_a_slow_listener_gets_all_messages_one_at_a_time_and_in_order(self) -> None:
        async with self.nodes(2) as (one, two):
            await two.subscribe("a")
            two.heard.pause = trio.Event()
            for number in range(500):
                one.broker.post("a", b"%d" % number)
            await one.broker.publish("a", b"last")
            assert two.heard.messages == []

            two.heard.pause.set()

            await eventually(lambda: len(two.heard.messages) == 501)
            assert two.heard.of("a") == [*(b"%d" % number for number in range(500)), b"last"]
            assert two.heard.at_once == 1

    async def test_a_listener_that_raises_loses_only_that_message(self, caplog: pytest.LogCaptureFixture) -> None:
        def fail(message: bytes) -> None:
            if message == b"bad":
                raise ValueError("a bug")

        async with self.nodes(2) as (one, two):
            await two.subscribe("a")
            two.heard.on_deliver = fail
            for message in (b"bad", b"good"):
                await one.broker.publish("a", message)

            await eventually(lambda: b"good" in two.heard.of("a"))

        assert "failed to take a message" in caplog.text

    # Nodes

    async def test_every_running_node_is_known_by_its_id(self) -> None:
        async with self.nodes(3) as (one, two, three):
            names = {node.broker.node_id for node in (one, two, three)}
            assert len(names) == 3
            assert all(re.fullmatch("[0-9a-f]{12}", name) for name in names)

            for node in (one, two, three):
                await eventually(partial(knows, node, names))

            await two.stop()
            assert await one.broker.nodes() == names - {two.broker.node_id}

    # Starting and stopping

    async def test_a_broker_that_does_not_run_raises(self) -> None:
        with trio.fail_after(NEVER_SECONDS):
            async with self.make_brokers() as make:
                broker = make()
                broker.subscribe("before it runs")
                with pytest.raises(BrokerUnavailableError):
                    broker.post("a", b"")
                with pytest.raises(BrokerUnavailableError), assert_checkpoints():
                    await broker.publish("a", b"")

                async with running(broker) as (node,):
                    assert await broker.subscribed("before it runs")
                    await broker.publish("before it runs", b"hello")
                    await eventually(lambda: node.heard.messages)
                    await node.stop()

                    with pytest.raises(BrokerUnavailableError):
                        broker.post("a", b"")
                    with pytest.raises(BrokerUnavailableError):
                        await broker.publish("a", b"")
                    assert not broker.statistics().ready

                with pytest.raises(UsageError):
                    await broker.run(Heard())

    async def test_queued_messages_are_sent_when_a_broker_is_stopped(self) -> None:
        async with self.nodes(2) as (one, two):
            await two.subscribe("a")
            await one.broker.publish("a", b"first")
            for number in range(5000):
                one.broker.post("a", b"%d" % number)
            one.scope.cancel()
            await eventually(lambda: len(two.heard.messages) == 5001)
            await one.ended.wait()

    async def test_stopping_is_fast_even_while_the_listener_is_stuck(self) -> None:
        async with self.nodes(1) as (one,):
            await one.subscribe("a")
            one.heard.pause = trio.Event()
            await one.broker.publish("a", b"stuck")
            await trio.sleep(0.02)
            with trio.fail_after(1.5):
                await one.stop()

    async def test_a_cancelled_call_has_no_effect_on_others(self) -> None:
        async with self.nodes(2) as (one, two):
            await two.subscribe("a")
            for call in (lambda: one.broker.publish("a", b"perhaps"), one.broker.nodes, lambda: wait(one.broker, "b")):
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await call()
                assert scope.cancelled_caught

            await one.broker.publish("a", b"surely")
            await eventually(lambda: b"surely" in two.heard.of("a"))
            assert len(await one.broker.nodes()) >= 1
            await one.subscribe("b")

    async def test_waiting_calls_are_checkpoints(self) -> None:
        async with self.nodes(1) as (one,):
            await one.subscribe("a")
            for call in (lambda: one.broker.publish("a", b""), one.broker.nodes, lambda: one.broker.subscribed("a")):
                with assert_checkpoints():
                    await call()

    async def test_statistics_count(self) -> None:
        async with self.nodes(2) as (one, two):
            await two.subscribe("a", "b")
            await one.broker.nodes()
            await eventually(lambda: one.broker.statistics().ready and two.broker.statistics().ready)
            for _ in range(3):
                await one.broker.publish("a", b"x")
            await eventually(lambda: len(two.heard.messages) == 3)

            sent, got = one.broker.statistics(), two.broker.statistics()

            assert (sent.published, sent.received, sent.channels, sent.lost, sent.waiting) == (3, 0, 0, 0, 0)
            assert (got.published, got.received, got.channels, got.gaps, got.reconnects) == (0, 3, 2, 0, 0)


async def wait(broker: Broker, channel: str) -> None:
    """Subscribe to a channel and wait for it."""
    broker.subscribe(channel)
    await broker.subscribed(channel)
