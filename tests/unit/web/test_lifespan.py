"""The broker's life with the app, and the answer for load balancers."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from quart_trio import QuartTrio
from trio.testing import wait_all_tasks_blocked

from quart_wshub import ConfigurationError, UsageError, WebSocketHub, WSEnvelope, make_websocket_blueprint
from quart_wshub.broker.memory import MemoryBroker
from quart_wshub.cluster.wire import RevokeUser, encode_control
from quart_wshub.testing import connect
from tests.unit.bus import Bus, cluster_of
from tests.unit.fakes import FakeTransport
from tests.unit.memory import (
    assert_nothing_is_left,
    make_app,
    make_settings,
    read_everything,
    serve,
    token_is_the_user,
    websocket_scope,
)

if TYPE_CHECKING:
    from quart_wshub.broker.base import Broker


def app_of(*hubs: WebSocketHub, ready_path: str | None = None) -> QuartTrio:
    """An app with a blueprint for each of these hubs, which may be the same."""
    app = QuartTrio(__name__)
    for number, hub in enumerate(hubs):
        blueprint = make_websocket_blueprint(
            read_everything,
            hub=hub,
            bearer_resolver=token_is_the_user,
            settings=make_settings(),
            path="/ws",
            name=f"hub{number}",
            ready_path=ready_path,
        )
        app.register_blueprint(blueprint, url_prefix=f"/{number}")
    return app


class SlowBroker(MemoryBroker):
    """Takes a second to be there, or longer than anybody waits."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    async def subscribed(self, channel: str) -> bool:
        await trio.sleep(self._seconds)
        return await super().subscribed(channel)


@pytest.mark.parametrize(("seconds", "waited"), [(1.0, 1.0), (60.0, 2.0)])
async def test_the_app_starts_when_the_broker_is_there_but_waits_for_it_no_longer_than_two_seconds(
    autojump_clock: trio.testing.MockClock, seconds: float, waited: float
) -> None:
    began = trio.current_time()

    async with app_of(WebSocketHub(broker=SlowBroker(seconds))).test_app():
        assert trio.current_time() - began == waited


async def test_the_broker_runs_with_the_app_and_once_for_all_blueprints_of_a_hub() -> None:
    bus = Bus()
    hub = WebSocketHub(broker=bus.broker())
    app = app_of(hub, hub)
    assert not hub.ready

    async with app.test_app():
        assert hub.ready
        assert bus.brokers[0].connected
    assert not hub.ready
    assert not bus.brokers[0].connected


async def test_an_app_that_starts_again_says_that_it_needs_a_new_broker() -> None:
    hub = WebSocketHub(broker=MemoryBroker())
    async with app_of(hub).test_app():
        pass
    async with trio.open_nursery() as nursery:
        with pytest.raises(UsageError, match="was run before; make a new one"):
            await nursery.start(cluster_of(hub).run)


async def test_the_end_of_the_app_does_not_wait_for_the_broker(autojump_clock: object) -> None:
    app = app_of(WebSocketHub(broker=Bus().broker()))
    async with app.test_app():
        start = trio.current_time()
    assert trio.current_time() - start < 1


async def test_two_apps_talk() -> None:
    bus = Bus()
    hubs = [WebSocketHub(broker=bus.broker()) for _ in range(2)]
    one, two = (app_of(hub) for hub in hubs)
    async with (
        one.test_app(),
        two.test_app(),
        connect(one, "/0/ws", token="ann") as ann,
        connect(two, "/0/ws", token="bob") as bob,
    ):
        assert (await ann.expect("hello")).data["connection_id"].startswith("00000000-0001-8")
        await hubs[0].send_to("bob", WSEnvelope(type="hi"))
        await bob.expect("hi")
        await hubs[1].broadcast(WSEnvelope(type="hi all"))
        await ann.expect("hi all")
        assert (await hubs[0].cluster.online_users()).value == {"ann", "bob"}
        assert await hubs[0].disconnect(user_id="bob") == 1
        assert (await bob.closed()).code == 1000
    for hub in hubs:
        assert_nothing_is_left(hub)


async def test_hello_says_that_the_user_is_reached_from_every_node() -> None:
    """What another node sends once the client has heard `hello` arrives, however slow the broker is."""
    bus = Bus(by_hand=True)
    hub = WebSocketHub(broker=bus.broker())
    app = app_of(hub)
    async with app.test_app(), trio.open_nursery() as nursery:
        greeted = trio.Event()

        async def be_a_client() -> None:
            async with connect(app, "/0/ws", token="ann") as ann:
                await ann.expect("hello")
                greeted.set()
                await trio.sleep_forever()

        nursery.start_soon(be_a_client)
        await wait_all_tasks_blocked()
        assert "user:s:ann" in bus.brokers[0].wanted
        assert hub.connection_count() == 0
        assert not greeted.is_set()

        bus.brokers[0].confirm()
        await greeted.wait()
        assert ("unsubscribe", "user:s:ann") not in bus.brokers[0].calls
        nursery.cancel_scope.cancel()
    assert_nothing_is_left(hub)
    assert "user:s:ann" not in bus.brokers[0].wanted


async def test_a_handshake_does_not_wait_longer_than_the_broker_has_patience(autojump_clock: object) -> None:
    bus = Bus(by_hand=True)
    hub = WebSocketHub(broker=bus.broker())
    app = app_of(hub)
    async with app.test_app(), connect(app, "/0/ws", token="ann") as ann:
        await ann.expect("hello")


async def test_a_handshake_cancelled_while_it_waits_for_the_broker_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    transport = FakeTransport()

    async def open_transport(*_: object) -> FakeTransport:
        return transport

    async def nothing_comes() -> dict[str, Any]:
        await trio.sleep_forever()
        raise AssertionError

    async def nothing_goes(event: dict[str, Any]) -> None:
        raise AssertionError

    monkeypatch.setattr("quart_wshub.web.endpoint.open_transport", open_transport)
    bus = Bus(by_hand=True)
    hub = WebSocketHub(broker=bus.broker())
    app = app_of(hub)
    async with app.test_app():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve, app, websocket_scope("/0/ws"), nothing_comes, nothing_goes)
            await wait_all_tasks_blocked()
            assert "user:s:ann" in bus.brokers[0].wanted
            nursery.cancel_scope.cancel()
        assert transport.aborted
        assert "user:s:ann" not in bus.brokers[0].wanted
    assert_nothing_is_left(hub)


async def test_a_user_revoked_while_the_handshake_waits_for_the_broker_is_not_let_in() -> None:
    bus = Bus(by_hand=True)
    hub = WebSocketHub(broker=bus.broker())
    app = app_of(hub)
    async with app.test_app(), trio.open_nursery() as nursery:
        codes: list[int] = []

        async def be_a_client() -> None:
            async with connect(app, "/0/ws", token="ann") as ann:
                codes.append((await ann.closed()).code)

        nursery.start_soon(be_a_client)
        await wait_all_tasks_blocked()
        bus.brokers[0].confirmed.add("all")
        bus.brokers[0].arrive("all", encode_control("0123456789ab", RevokeUser(ref=1, user="s:ann", reason="out")))
        bus.brokers[0].let_in()
        await wait_all_tasks_blocked()
        bus.brokers[0].confirm()
        await wait_all_tasks_blocked()
        assert codes == [4401]


async def test_without_a_lifespan_the_hub_works_for_itself(caplog: pytest.LogCaptureFixture) -> None:
    hub = WebSocketHub(broker=Bus().broker())
    async with connect(make_app(read_everything, hub), token="ann") as ann:
        await ann.expect("hello")
        assert await hub.send_to("ann", WSEnvelope(type="hi")) == 1
        await ann.expect("hi")
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == [
        "the hub's broker does not run, so other nodes are not reached: it runs in the app's lifespan"
    ]


# Readiness


async def get(app: QuartTrio, path: str = "/0/ready") -> tuple[int, Any]:
    response = await app.test_client().get(path)
    return response.status_code, await response.get_json()


@pytest.mark.parametrize("has_broker", [True, False])
async def test_readiness(has_broker: bool) -> None:
    bus = Bus()
    broker: Broker | None = bus.broker() if has_broker else None
    hub = WebSocketHub(broker=broker)
    app = app_of(hub, ready_path="/ready")
    if has_broker:
        assert await get(app) == (503, {"ready": False, "reason": "broker"})
    async with app.test_app():
        assert await get(app) == (200, {"ready": True})
        bus.down = True
        assert await get(app) == ((503, {"ready": False, "reason": "broker"}) if has_broker else (200, {"ready": True}))
        bus.down = False
        await hub.drain(1)
        assert await get(app) == (503, {"ready": False, "reason": "draining"})


async def test_there_is_no_such_route_unless_asked_for() -> None:
    app = app_of(WebSocketHub())
    assert (await app.test_client().get("/0/ready")).status_code == 404


@pytest.mark.parametrize("path", ["ready", "", 7])
def test_a_path_that_is_none_is_refused(path: Any) -> None:
    with pytest.raises(ConfigurationError, match="ready_path="):
        app_of(WebSocketHub(), ready_path=path)
