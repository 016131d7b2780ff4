"""Deliveries over several nodes: who gets what, once and in order; and a node's channel subscriptions."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import trio
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from trio.testing import wait_all_tasks_blocked

from quart_wshub import BrokerUnavailableError, ConfigurationError, WebSocketHub, WSEnvelope
from quart_wshub.broker.memory import MemoryBroker, MemoryExchange
from quart_wshub.cluster.node_ids import node_of
from quart_wshub.connection.ending import EndingKind
from quart_wshub.hub.websocket_hub import runtime_of
from tests.unit.bus import Bus, BusBroker, cluster_of, hubs_on
from tests.unit.fakes import delivered, join, texts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from quart_wshub.connection.session import Session


NEWS = WSEnvelope(type="news")


def numbered(number: int) -> WSEnvelope:
    return WSEnvelope(type="news", data={"n": number})


async def envelopes(connection: Session) -> list[WSEnvelope]:
    await wait_all_tasks_blocked()
    return [WSEnvelope.decode(text) for text in texts(await delivered(connection))]


async def types(*connections: Session) -> list[list[str]]:
    return [[envelope.type for envelope in await envelopes(connection)] for connection in connections]


# Who gets what


async def test_send_to_reaches_the_user_on_every_node_and_counts_local_sockets() -> None:
    bus = Bus()
    async with hubs_on(bus.broker(), bus.broker(), bus.broker()) as (one, two, three):
        here, there, stranger = join(one, "ann"), join(two, "ann"), join(two, "bob")
        join(three, "bob")

        assert await one.send_to("ann", NEWS) == 1
        assert await three.send_to("ann", NEWS) == 0
        assert await types(here, there, stranger) == [["news", "news"], ["news", "news"], []]


async def test_a_user_id_and_its_text_are_two_users_on_other_nodes_too() -> None:
    bus = Bus()
    user_id = uuid4()
    async with hubs_on(bus.broker(), bus.broker()) as (one, two):
        uuid_user, text_user, number_user = join(two, user_id), join(two, str(user_id)), join(two, 7)

        await one.send_many({user_id: WSEnvelope(type="uuid"), str(user_id): WSEnvelope(type="text")})
        await one.send_to("7", WSEnvelope(type="text"))
        await one.send_to(7, WSEnvelope(type="number"))

        assert await types(uuid_user, text_user, number_user) == [["uuid"], ["text"], ["number"]]


async def test_broadcast_reaches_the_topic_on_every_node_or_everyone() -> None:
    bus = Bus()
    async with hubs_on(bus.broker(), bus.broker()) as (one, two):
        reader, other = join(two), join(two)
        assert await two.subscribe(reader.connection_id, "news")

        assert await one.broadcast(NEWS, topic="news") == 0
        assert await one.broadcast(WSEnvelope(type="all")) == 0

        assert await types(reader, other) == [["news", "all"], ["all"]]
        assert two.statistics().deliveries == 3
        assert two.statistics().publications == 0


@pytest.mark.parametrize("topic", [None, "news"])
@pytest.mark.parametrize("by", ["its own node", "another node"])
async def test_an_excluded_connection_gets_nothing_whichever_node_publishes(topic: str | None, by: str) -> None:
    bus = Bus()
    async with hubs_on(bus.broker(), bus.broker()) as (one, two):
        excluded, sibling, elsewhere = join(one), join(one), join(two)
        for hub, connection in ((one, excluded), (one, sibling), (two, elsewhere)):
            await hub.subscribe(connection.connection_id, "news")

        publisher = one if by == "its own node" else two
        await publisher.broadcast(NEWS, topic=topic, exclude=excluded.connection_id)

        assert await types(excluded, sibling, elsewhere) == [[], ["news"], ["news"]]


async def test_other_nodes_deliver_the_text_that_was_encoded_once() -> None:
    bus = Bus()
    async with hubs_on(bus.broker(), bus.broker()) as (one, two):
        here, there = join(one), join(two)
        await one.broadcast(WSEnvelope(type="news", data={"text": "naïve ☃"}, request_id="r"))

        await wait_all_tasks_blocked()
        assert texts(await delivered(here)) == texts(await delivered(there)) != []


async def test_topics_and_users_without_a_utf8_form_work() -> None:
    bus = Bus()
    async with hubs_on(bus.broker(), bus.broker()) as (one, two):
        connection = join(two, "\ud800")
        assert await two.subscribe(connection.connection_id, "\udfff")

        await one.send_to("\ud800", WSEnvelope(type="to you"))
        await one.broadcast(NEWS, topic="\udfff")
        assert await types(connection) == [["to you", "news"]]
        bus.brokers[1].lose()
        assert await types(connection) == [["gap"]]
        assert (await one.cluster.online_users()).value == {"\ud800"}


async def test_hubs_on_the_memory_broker_are_one_hub() -> None:
    exchange = MemoryExchange()
    async with hubs_on(MemoryBroker(exchange), MemoryBroker(exchange), max_per_user=1) as (one, two):
        ann, bob = join(one, "ann"), join(two, "bob")
        await one.subscribe(ann.connection_id, "news")
        await two.broadcast(NEWS, topic="news")
        await one.send_to("bob", WSEnvelope(type="to bob"))

        assert await types(ann, bob) == [["news"], ["to bob"]]
        assert (await two.cluster.online_users()).value == {"ann", "bob"}
        assert (await two.cluster.topic_count("news")).complete
        assert await one.disconnect(connection_id=bob.connection_id) == 1
        newer = join(two, "ann")
        await wait_all_tasks_blocked()
        assert (ann.ending is None, newer.ending is None) == (False, True)
        assert await one.revoke("ann") == 1


# Order


async def test_one_nodes_publications_arrive_in_order_and_once_on_every_node() -> None:
    bus = Bus()
    async with hubs_on(bus.broker(), bus.broker(), bus.broker()) as hubs:
        readers = [join(hub, number) for hub in hubs for number in range(3)]
        for reader, hub in zip(readers, [hub for hub in hubs for _ in range(3)], strict=True):
            await hub.subscribe(reader.connection_id, "news")

        async def publish(hub: WebSocketHub, publisher: int) -> None:
            for number in range(100):
                await hub.broadcast(WSEnvelope(type=f"from {publisher}", data={"n": number}), topic="news")
                if number % 7 == 0:
                    await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            for publisher in range(6):
                nursery.start_soon(publish, hubs[publisher % 3], publisher)

        for reader in readers:
            got = await envelopes(reader)
            for publisher in range(6):
                numbers = [envelope.data["n"] for envelope in got if envelope.type == f"from {publisher}"]
                assert numbers == list(range(100))


@pytest.mark.parametrize("size", [2, 300])
async def test_all_publishers_of_one_node_have_the_same_order_on_every_node(size: int) -> None:
    """Also when fan-outs are so large that they take turns."""
    bus = Bus()
    async with hubs_on(bus.broker(), bus.broker()) as (one, two):
        many = [join(one, number) for number in range(size)]
        there = join(two)
        for connection in many:
            await one.subscribe(connection.connection_id, "a")
        await two.subscribe(there.connection_id, "a")

        async def publish(publisher: int) -> None:
            for number in range(5):
                await one.broadcast(WSEnvelope(type=f"{publisher}/{number}"), topic="a")
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            for publisher in range(4):
                nursery.start_soon(publish, publisher)

        (expected,) = await types(many[-1])
        assert await types(there) == [expected]


async def test_publications_after_subscribe_has_returned_arrive() -> None:
    bus = Bus(by_hand=True)
    async with hubs_on(bus.broker(), bus.broker()) as (one, two), trio.open_nursery() as nursery:
        bus.brokers[1].confirm()
        connection = join(two)
        nursery.start_soon(two.subscribe, connection.connection_id, "news")
        await wait_all_tasks_blocked()
        assert nursery.child_tasks, "it waits until the broker has confirmed"

        bus.brokers[1].confirm()
        await wait_all_tasks_blocked()
        assert not nursery.child_tasks
        await one.broadcast(NEWS, topic="news")
        bus.brokers[1].let_in(10)
        assert await types(connection) == [["news"]]


async def test_subscribe_returns_though_the_broker_does_not_confirm(autojump_clock: object) -> None:
    bus = Bus(by_hand=True)
    async with hubs_on(bus.broker()) as (hub,):
        connection = join(hub)

        assert await hub.subscribe(connection.connection_id, "news")
        assert trio.current_time() > 1
        assert hub.topic_count("news") == 1


async def test_nothing_waits_for_a_backend_that_is_down() -> None:
    bus = Bus()
    async with hubs_on(bus.broker()) as (hub,):
        connection = join(hub)
        bus.down = True
        start = trio.current_time()

        assert await hub.subscribe(connection.connection_id, "news")
        async with runtime_of(hub).expecting("bob"):
            pass
        assert trio.current_time() - start < 1
        assert not hub.ready


@pytest.mark.parametrize("broker_tells", [True, False])
async def test_a_subscription_made_while_the_backend_was_down_gets_one_gap(
    broker_tells: bool, autojump_clock: object
) -> None:
    bus = Bus()
    async with hubs_on(bus.broker()) as (hub,):
        early, late = join(hub, "bob"), join(hub, "ann")
        bus.down = True
        await hub.subscribe(late.connection_id, "news")
        await trio.sleep(60)
        assert await types(early, late) == [[], []]

        bus.down = False
        bus.brokers[0].confirm()
        if broker_tells:
            bus.brokers[0].lose("topic:news")
        await trio.sleep(60)
        assert await types(early, late) == [[], ["gap"]]


async def test_a_subscription_confirmed_too_late_gets_a_gap(autojump_clock: object) -> None:
    bus = Bus(by_hand=True)
    async with hubs_on(bus.broker()) as (hub,):
        connection = join(hub)
        start = trio.current_time()
        assert await hub.subscribe(connection.connection_id, "news")
        assert trio.current_time() - start == pytest.approx(2)
        bus.brokers[0].confirm()
        await trio.sleep(1)
        assert await types(connection) == [["gap"]]


async def test_a_cancelled_subscription_has_no_effect() -> None:
    bus = Bus(by_hand=True)
    async with hubs_on(bus.broker()) as (hub,):
        connection = join(hub)
        with trio.move_on_after(0.01) as scope:
            await hub.subscribe(connection.connection_id, "news")

        assert scope.cancelled_caught
        assert hub.topic_count("news") == 0
        assert ("unsubscribe", "topic:news") in bus.brokers[0].calls

        with trio.move_on_after(0.01):
            async with hub.subscription(connection.connection_id, "news"):
                pytest.fail("it was not confirmed")
        assert hub.topic_count("news") == 0


async def test_subscribe_returns_false_if_the_connection_closes_meanwhile() -> None:
    bus = Bus(by_hand=True)
    async with hubs_on(bus.broker()) as (hub,), trio.open_nursery() as nursery:
        connection = join(hub)
        results: list[bool] = []

        async def subscribe() -> None:
            results.append(await hub.subscribe(connection.connection_id, "news"))

        nursery.start_soon(subscribe)
        await wait_all_tasks_blocked()
        connection.begin_close(1000, kind=EndingKind.SERVER_CLOSED)
        await wait_all_tasks_blocked()
        assert results == [False]


async def test_messages_to_a_user_inside_the_expecting_block_arrive() -> None:
    bus = Bus()
    async with hubs_on(bus.broker(), bus.broker()) as (one, two):
        async with runtime_of(two).expecting("ann"):
            await one.send_to("ann", NEWS)
            connection = join(two, "ann")
        assert await types(connection) == [["news"]]
        assert bus.brokers[1].calls.count(("unsubscribe", "user:s:ann")) == 0
        connection.begin_close(1000, kind=EndingKind.SERVER_CLOSED)
        assert bus.brokers[1].calls.count(("unsubscribe", "user:s:ann")) == 1


# Channel subscriptions


class SubscriptionMachine(RuleBasedStateMachine):
    """A channel is subscribed to while, and only while, it has local members."""

    def __init__(self) -> None:
        super().__init__()
        self.broker = Bus().broker()
        self.hub = WebSocketHub(max_per_user=1000, broker=self.broker)
        self.own = {"all", f"node:{self.broker.node_id}"}
        self.topics: dict[Session, set[str]] = {}

    def _pick(self, data: st.DataObject) -> Session | None:
        connections = list(self.topics)
        return data.draw(st.sampled_from(connections)) if connections else None

    def _do(self, method: Any, *args: Any) -> None:
        trio.run(method, *args)

    @rule(user_id=st.sampled_from(["ann", "bob", 7, "7"]))
    def join(self, user_id: str | int) -> None:
        async def enter() -> None:
            self.topics[join(self.hub, user_id)] = set()

        self._do(enter)

    @rule(data=st.data(), topic=st.sampled_from("abc"))
    def subscribe(self, data: st.DataObject, topic: str) -> None:
        if connection := self._pick(data):
            self._do(self.hub.subscribe, connection.connection_id, topic)
            self.topics[connection].add(topic)

    @rule(data=st.data(), topic=st.sampled_from("abc"))
    def unsubscribe(self, data: st.DataObject, topic: str) -> None:
        if connection := self._pick(data):
            self._do(self.hub.unsubscribe, connection.connection_id, topic)
            self.topics[connection].discard(topic)

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        if connection := self._pick(data):
            connection.begin_close(1000, kind=EndingKind.PEER_LEFT)
            del self.topics[connection]

    @invariant()
    def subscribed_to_the_channels_of_its_members(self) -> None:
        topics = {f"topic:{topic}" for topics in self.topics.values() for topic in topics}
        users = {f"user:{'i' if connection.user_id == 7 else 's'}:{connection.user_id}" for connection in self.topics}
        assert self.broker.wanted == self.own | topics | users


SubscriptionMachine.TestCase.settings = hypothesis_settings(max_examples=40, stateful_step_count=25, deadline=None)
TestChannelSubscriptions = SubscriptionMachine.TestCase


async def test_the_broker_subscribes_for_the_first_member_and_unsubscribes_after_the_last() -> None:
    broker = Bus().broker()
    hub = WebSocketHub(broker=broker)
    first, second = join(hub, "ann"), join(hub, "ann")
    for connection in (first, second):
        await hub.subscribe(connection.connection_id, "news")
    await hub.unsubscribe(first.connection_id, "news")
    second.begin_close(1000, kind=EndingKind.PEER_LEFT)
    first.begin_close(1000, kind=EndingKind.PEER_LEFT)

    assert broker.calls == [
        ("subscribe", "all"),
        ("subscribe", f"node:{broker.node_id}"),
        ("subscribe", "user:s:ann"),
        ("subscribe", "topic:news"),
        ("unsubscribe", "topic:news"),
        ("unsubscribe", "user:s:ann"),
    ]


async def test_a_node_receives_nothing_for_topics_without_local_subscribers() -> None:
    bus = Bus()
    async with hubs_on(bus.broker(), bus.broker()) as (one, two):
        join(two)
        await one.broadcast(NEWS, topic="news")
        assert not bus.brokers[1].waiting


async def test_a_message_on_an_unsubscribed_channel_is_dropped() -> None:
    bus = Bus(by_hand=True)
    async with hubs_on(bus.broker(), bus.broker()) as (one, two):
        connection = join(two, "ann")
        bus.brokers[1].confirm()
        await one.send_to("ann", NEWS)
        connection.begin_close(1000, kind=EndingKind.PEER_LEFT)
        other = join(two, "bob")
        bus.brokers[1].let_in(10)
        assert await types(other) == [[]]


# No broker, or one that fails


async def test_without_a_broker_connection_ids_are_random() -> None:
    hub = WebSocketHub()
    connection = join(hub)

    assert connection.connection_id.version == 4
    assert hub.statistics().broker is None
    assert hub.ready
    async with runtime_of(hub).expecting("ann"):
        pass


async def test_connection_ids_contain_the_node() -> None:
    broker = Bus().broker()
    hub = WebSocketHub(broker=broker)
    assert node_of(join(hub).connection_id) == broker.node_id


@pytest.mark.parametrize("broker", ["redis://:secret@localhost", object()])
def test_an_invalid_broker_is_refused_and_not_shown(broker: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"broker= must be a Broker, .*, not (str|object)$"):
        WebSocketHub(broker=broker)


async def test_a_hub_whose_broker_does_not_run_serves_its_own_sockets_and_logs_that_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hub = WebSocketHub(broker=Bus().broker())
    connection = join(hub, "ann")
    for _ in range(3):
        assert await hub.send_to("ann", NEWS) == 1
        assert await hub.subscribe(connection.connection_id, "news")
    assert await hub.disconnect(user_id="bob") == 0
    assert await hub.revoke("bob") == 0
    assert (await hub.cluster.connection_count()).value == 1

    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "broker does not run" in caplog.text
    assert not hub.ready


@pytest.mark.parametrize("call", ["send_to", "broadcast", "send_many"])
async def test_a_broker_failure_is_raised_after_local_delivery(call: str) -> None:
    bus = Bus()
    async with hubs_on(bus.broker()) as (hub,):
        ann, bob = join(hub, "ann"), join(hub, "bob")
        bus.down = True
        calls: dict[str, Callable[[], Awaitable[int]]] = {
            "send_to": lambda: hub.send_to("ann", NEWS),
            "broadcast": lambda: hub.broadcast(NEWS),
            "send_many": lambda: hub.send_many({"ann": NEWS, "bob": NEWS}),
        }
        with pytest.raises(BrokerUnavailableError) as caught:
            await calls[call]()

        assert await types(ann, bob) == [["news"], [] if call == "send_to" else ["news"]]
        assert caught.value.delivered == (1 if call == "send_to" else 2)
        assert hub.statistics().deliveries == caught.value.delivered


async def test_a_broker_that_breaks_its_contract_does_not_end_the_app(caplog: pytest.LogCaptureFixture) -> None:
    class Breaking(BusBroker):
        async def run(self, *args: Any, **kwargs: Any) -> None:
            kwargs["task_status"].started()
            raise RuntimeError("broken")

    async with hubs_on(Breaking(Bus(), "0123456789ab")) as (hub,):
        connection = join(hub, "ann")
        await wait_all_tasks_blocked()
        assert await hub.send_to("ann", NEWS) == 1
        assert await types(connection) == [["news"]]
        assert not hub.ready

    assert "the hub's broker has failed" in caplog.text


async def test_a_misconfigured_broker_fails_the_start() -> None:
    class Wrong(BusBroker):
        async def run(self, *args: Any, **kwargs: Any) -> None:
            raise ConfigurationError("no such thing")

    hub = WebSocketHub(broker=Wrong(Bus(), "0123456789ab"))
    async with trio.open_nursery() as nursery:
        with pytest.raises(ConfigurationError, match="no such thing"):
            await nursery.start(cluster_of(hub).run)


async def test_starting_the_broker_again_does_nothing() -> None:
    bus = Bus()
    async with hubs_on(bus.broker()) as (hub,), trio.open_nursery() as nursery:
        await nursery.start(cluster_of(hub).run)
        await wait_all_tasks_blocked()
        assert not nursery.child_tasks
        assert hub.ready
        statistics = hub.statistics().broker
        assert statistics is not None
        assert statistics.ready
    assert not hub.ready
    await cluster_of(hub).stop()


# Unreadable messages


@pytest.mark.parametrize("channel", ["all", "user:s:ann", "topic:news", "node:{own}", "nothing:at all"])
async def test_malformed_messages_are_ignored_and_logged_once_a_minute(
    channel: str, caplog: pytest.LogCaptureFixture, autojump_clock: object
) -> None:
    bus = Bus()
    async with hubs_on(bus.broker()) as (hub,):
        connection = join(hub, "ann")
        await hub.subscribe(connection.connection_id, "news")
        broker = bus.brokers[0]
        channel = channel.format(own=broker.node_id)
        for _ in range(50):
            for message in (b"", b"9d0123456789ab{}", b"1c0123456789ab{}", b"1d0123456789ab\xff", b"\x00" * 40):
                broker.arrive(channel, message)
        await wait_all_tasks_blocked()
        assert len(caplog.records) == 5
        await trio.sleep(61)
        broker.arrive(channel, b"9")
        await wait_all_tasks_blocked()
        assert "(49 more in the last minute)" in caplog.records[-1].message

        assert await types(connection) == [[]]
        assert hub.connection_count() == 1
        await hub.send_to("ann", NEWS)
        broker.arrive("user:s:ann", b'1d0123456789ab{"type":"from elsewhere"}')
        assert await types(connection) == [["news", "from elsewhere"]]


@pytest.mark.parametrize(
    "body",
    [
        b'{"kind":"answer","ref":99}',
        b'{"kind":"answer","ref":1,"part":7,"parts":2}',
        b'{"kind":"give_up","ref":5}',
        b'{"kind":"topic","ref":1}',
        b'{"kind":"sockets","ref":1}',
        b'{"kind":"close_user","ref":1,"code":1000,"reason":""}',
        b'{"kind":"close","ref":1,"code":1000,"reason":"","connection_id":"00000000-0000-8000-8000-000000000000"}',
        b'{"kind":"request","ref":1,"timeout":1,"text":"[","connection_id":"00000000-0000-8000-8000-000000000000"}',
    ],
)
@pytest.mark.parametrize("channel", ["all", "node:000000000001", "nothing:at all"])
async def test_messages_that_make_no_sense_here_have_no_effect(body: bytes, channel: str) -> None:
    bus = Bus()
    async with hubs_on(bus.broker()) as (hub,):
        connection = join(hub, "ann")
        bus.brokers[0].arrive(channel, b"1c0123456789ab" + body)
        assert await types(connection) == [[]]
        assert connection.ending is None
        assert hub.ready
