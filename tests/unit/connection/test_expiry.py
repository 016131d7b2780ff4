"""Token expiry on an open connection: `auth.expiring`, the close with 4401, and refreshes. Time is virtual."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
import trio
from quart_trio import QuartTrio
from trio.testing import MockClock, wait_all_tasks_blocked

from quart_wshub import (
    Identity,
    UsageError,
    WebSocket,
    WebSocketConnection,
    WebSocketDisconnect,
    WebSocketHub,
    make_websocket_blueprint,
)
from quart_wshub.connection.expiry import RECHECK_SECONDS
from quart_wshub.connection.lifecycle import Lifecycle
from quart_wshub.hub.websocket_hub import runtime_of
from quart_wshub.testing import WebSocketClient, connect
from quart_wshub.transport.asgi import AsgiTransport
from tests.unit.fakes import FakeTransport, make_session
from tests.unit.memory import assert_open, make_settings, stay_alive

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

START = datetime(2030, 1, 1, tzinfo=UTC)


class Clock:
    """A wall clock that follows Trio's until it is set."""

    def __init__(self) -> None:
        self.set_by = 0.0
        self.stands = False
        self.reads = 0
        self._began = trio.current_time()

    def __call__(self) -> datetime:
        self.reads += 1
        went = 0 if self.stands else trio.current_time() - self._began
        return START + timedelta(seconds=went + self.set_by)


def until(seconds: float, **claims: Any) -> Identity:
    return Identity("ann", expires_at=START + timedelta(seconds=seconds), claims=claims)


class App:
    """An app whose only user has a token that expires at a given time, and its connections."""

    def __init__(self, hub: WebSocketHub, identity: Identity, *, announce: bool | None = True, **settings: Any) -> None:
        self.identity = identity
        self.clock = Clock()
        self.connections: list[WebSocketConnection] = []
        # Heartbeats would wake the token watch, and hide that it sleeps too long.
        chosen: dict[str, Any] = {"WS_HEARTBEAT_SECONDS": 5000, "WS_HEARTBEAT_TIMEOUT_SECONDS": 9000, **settings}
        self.quart = QuartTrio(__name__)
        self.quart.register_blueprint(
            make_websocket_blueprint(
                self._handle,
                hub=hub,
                bearer_resolver=self.resolve,
                settings=make_settings(WS_HELLO=False, **chosen),
                announce_expiry=announce,
            )
        )

    async def resolve(self, token: str) -> Identity:
        await trio.lowlevel.checkpoint()
        return self.identity

    async def _handle(self, ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        self.connections.append(connection)
        await trio.sleep_forever()

    def connect(self) -> Any:
        return connect(self.quart, token="ann", wall_clock=self.clock)


async def seconds(work: Callable[[], Awaitable[object]]) -> float:
    began = trio.current_time()
    await work()
    return trio.current_time() - began


async def close_of(client: WebSocketClient) -> tuple[int, str]:
    close = await client.closed()
    return close.code, close.reason


def expiring(seconds: float) -> dict[str, Any]:
    expires_at = (START + timedelta(seconds=seconds)).isoformat()
    return {"type": "auth.expiring", "data": {"expires_at": expires_at}, "request_id": None}


# Expiry


@pytest.mark.parametrize("lifetime", [0.25, 29, 30, 60, 617, 4000])
async def test_a_token_expires_on_time(hub: WebSocketHub, autojump_clock: MockClock, lifetime: float) -> None:
    app = App(hub, until(lifetime), announce=None)
    async with app.connect() as client:
        began = trio.current_time()
        assert await close_of(client) == (4401, "token expired")
        assert trio.current_time() - began == pytest.approx(lifetime, abs=0.001)


async def test_a_token_without_expiry_is_not_watched(hub: WebSocketHub, autojump_clock: MockClock) -> None:
    app = App(hub, Identity("ann"))
    async with app.connect() as client, trio.open_nursery() as nursery:
        await assert_open(client)
        reads = app.clock.reads
        nursery.start_soon(stay_alive, client)
        await trio.sleep(80_000)
        await wait_all_tasks_blocked()
        assert app.clock.reads == reads
        assert hub.connection_count() == 1
        nursery.cancel_scope.cancel()


async def test_an_expiry_at_the_end_of_the_calendar_works(hub: WebSocketHub) -> None:
    far = datetime.max.replace(tzinfo=timezone(timedelta(hours=-12)))
    app = App(hub, Identity("ann", expires_at=far))
    async with app.connect() as client:
        await assert_open(client)


async def test_expiry_comes_before_silence_where_both_are_due(hub: WebSocketHub, autojump_clock: MockClock) -> None:
    app = App(hub, until(60), WS_HEARTBEAT_SECONDS=30, WS_HEARTBEAT_TIMEOUT_SECONDS=60)
    async with app.connect() as client:
        assert (await close_of(client))[0] == 4401


async def test_a_token_that_expires_during_the_handshake_is_refused(
    hub: WebSocketHub, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Valid when it was resolved, expired when the connection would be registered."""
    accept = AsgiTransport.accept

    async def slow_accept(transport: AsgiTransport, subprotocol: str | None) -> None:
        await accept(transport, subprotocol)
        await trio.sleep(2)

    monkeypatch.setattr(AsgiTransport, "accept", slow_accept)
    app = App(hub, until(1))
    async with app.connect() as client:
        assert await close_of(client) == (4401, "token expired")

    assert hub.statistics().accepted == 0
    assert app.connections == []


# `auth.expiring`


@pytest.mark.parametrize(("lifetime", "notice"), [(100, 30), (31, 30), (4000, 30), (4000, 300), (10, 2.5)])
async def test_the_client_is_notified_once_before_its_token_expires(
    hub: WebSocketHub, autojump_clock: MockClock, lifetime: float, notice: float
) -> None:
    app = App(hub, until(lifetime), WS_EXPIRY_NOTICE_SECONDS=notice)
    async with app.connect() as client:
        began = trio.current_time()
        assert await client.receive_json() == expiring(lifetime)
        assert trio.current_time() - began == pytest.approx(lifetime - notice, abs=0.001)
        with pytest.raises(WebSocketDisconnect):
            await client.receive()
        assert trio.current_time() - began == pytest.approx(lifetime, abs=0.001)


async def test_the_client_is_notified_at_once_if_less_time_is_left(
    hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    app = App(hub, until(12))
    async with app.connect() as client:
        assert await seconds(client.receive) == pytest.approx(0, abs=0.001)
        assert await seconds(client.closed) == pytest.approx(12, abs=0.001)


async def test_the_expiry_is_sent_in_utc(hub: WebSocketHub, autojump_clock: MockClock) -> None:
    there = timezone(timedelta(hours=5, minutes=30))
    app = App(hub, Identity("ann", expires_at=(START + timedelta(seconds=5)).astimezone(there)))
    async with app.connect() as client:
        assert (await client.receive_json())["data"] == {"expires_at": "2030-01-01T00:00:05+00:00"}


@pytest.mark.parametrize("announce", [None, False])
async def test_a_plain_handlers_client_is_notified_only_with_announce_expiry(
    hub: WebSocketHub, autojump_clock: MockClock, announce: bool | None
) -> None:
    app = App(hub, until(100), announce=announce)
    async with app.connect() as client:
        with pytest.raises(WebSocketDisconnect) as caught:
            await client.receive()
    assert caught.value.code == 4401


async def test_after_a_refresh_the_client_is_notified_again(hub: WebSocketHub, autojump_clock: MockClock) -> None:
    app = App(hub, until(40))
    async with app.connect() as client:
        began = trio.current_time()
        for expires, told in ((40, 10), (90, 60), (95, 65)):
            assert await client.receive_json() == expiring(expires)
            assert trio.current_time() - began == pytest.approx(told, abs=0.001)
            if expires < 95:
                app.connections[0].refresh(until({40: 90, 90: 95}[expires]))
        await client.closed()
        assert trio.current_time() - began == pytest.approx(95, abs=0.001)


# Refresh


async def test_a_refresh_extends_the_connection(hub: WebSocketHub, autojump_clock: MockClock) -> None:
    app = App(hub, until(100, role="reader"), announce=False)
    async with app.connect() as client:
        began = trio.current_time()
        await trio.sleep(99)
        newer = until(300, role="editor")
        app.connections[0].refresh(newer)
        assert app.connections[0].identity is newer
        assert app.connections[0].claims == {"role": "editor"}
        assert (await client.closed()).code == 4401
        assert trio.current_time() - began == pytest.approx(300, abs=0.001)


@pytest.mark.parametrize(("first", "second"), [(1000, 20), (None, 20)])
async def test_a_refresh_may_shorten_the_connection_and_counts_at_once(
    hub: WebSocketHub, autojump_clock: MockClock, first: float | None, second: float
) -> None:
    app = App(hub, Identity("ann") if first is None else until(first), announce=False)
    async with app.connect() as client:
        began = trio.current_time()
        await trio.sleep(3)
        app.connections[0].refresh(until(second))
        assert (await client.closed()).code == 4401
        assert trio.current_time() - began == pytest.approx(second, abs=0.001)


async def test_a_refresh_with_an_expired_token_closes_at_once(hub: WebSocketHub, autojump_clock: MockClock) -> None:
    app = App(hub, until(1000))
    async with app.connect() as client:
        await trio.sleep(3)
        app.connections[0].refresh(until(2))
        assert await seconds(client.closed) == pytest.approx(0, abs=0.001)


async def test_a_refresh_with_a_token_without_expiry_removes_the_expiry(
    hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    app = App(hub, until(100))
    async with app.connect():
        await wait_all_tasks_blocked()
        app.connections[0].refresh(Identity("ann"))
        await trio.sleep(4000)
        assert hub.connection_count() == 1


async def test_a_refresh_for_another_user_is_refused_and_changes_nothing(
    hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    app = App(hub, until(100))
    async with app.connect():
        await wait_all_tasks_blocked()
        with pytest.raises(UsageError, match="own user"):
            app.connections[0].refresh(Identity("bob"))
        assert app.connections[0].identity is app.identity


async def test_a_closed_connection_cannot_be_refreshed(hub: WebSocketHub) -> None:
    app = App(hub, until(100))
    async with app.connect():
        await wait_all_tasks_blocked()
        await hub.revoke("ann")
        with pytest.raises(WebSocketDisconnect) as caught:
            app.connections[0].refresh(until(1000))
    assert caught.value.code == 4401


async def test_a_connection_may_be_refreshed_before_it_runs(hub: WebSocketHub, autojump_clock: MockClock) -> None:
    connection = make_session(hub)
    runtime_of(hub).register(connection)
    connection.refresh(until(50))
    began = trio.current_time()
    await Lifecycle(FakeTransport(), connection, trio.sleep_forever, make_settings(), wall_clock=Clock()).run()
    assert connection.ending is not None
    assert connection.ending.code == 4401
    assert trio.current_time() - began == pytest.approx(50, abs=0.001)


# The wall clock is set


@pytest.mark.parametrize("announce", [True, False])
async def test_a_clock_that_jumps_ahead_expires_tokens_within_half_a_minute(
    hub: WebSocketHub, autojump_clock: MockClock, announce: bool
) -> None:
    """As after a laptop slept for a night: Trio's clock has not moved."""
    app = App(hub, until(4000), announce=announce)
    async with app.connect() as client:
        await trio.sleep(100)
        app.clock.set_by = 8 * 3600
        assert 0 < await seconds(client.closed) <= RECHECK_SECONDS


async def test_a_clock_that_is_set_back_extends_tokens(hub: WebSocketHub, autojump_clock: MockClock) -> None:
    app = App(hub, until(100), announce=False)
    async with app.connect() as client:
        began = trio.current_time()
        await trio.sleep(90)
        app.clock.set_by = -60
        await client.closed()
        assert trio.current_time() - began == pytest.approx(160, abs=0.001)


async def test_a_stopped_clock_is_not_polled_continuously(hub: WebSocketHub, autojump_clock: MockClock) -> None:
    app = App(hub, until(40), announce=False)
    async with app.connect():
        await wait_all_tasks_blocked()
        app.clock.stands, app.clock.reads = True, 0
        await trio.sleep(3000)
        assert hub.connection_count() == 1
        assert app.clock.reads <= 3000 / RECHECK_SECONDS + 2


# The in-memory client of an app's own tests


async def test_a_token_expires_under_the_autojump_clock_by_default(
    hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    app = App(hub, Identity("ann", expires_at=datetime.now(UTC) + timedelta(hours=1)), announce=False)
    async with connect(app.quart, token="ann") as client:
        assert await seconds(client.closed) == pytest.approx(3600, abs=5)
