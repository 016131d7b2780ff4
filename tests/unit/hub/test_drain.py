"""Orderly shutdown, without a server: every connection is closed, and no peer is waited for too long."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from quart_wshub import WebSocketHub
from quart_wshub.testing import HandshakeRejected, connect
from tests.unit.fakes import join
from tests.unit.memory import forever, make_app

if TYPE_CHECKING:
    from quart_trio import QuartTrio
    from trio.testing import MockClock


class Crowd:
    """Clients that stay until the server closes, and note how and when it did.

    Attributes:
        codes: the close codes.
        times: seconds since the crowd came.
    """

    def __init__(self, app: QuartTrio) -> None:
        self.codes: list[int] = []
        self.times: list[float] = []
        self._app = app

    async def come(self, nursery: trio.Nursery, count: int) -> None:
        for number in range(count):
            nursery.start_soon(self._one, str(number), trio.current_time())
        await wait_all_tasks_blocked()

    async def _one(self, token: str, began: float) -> None:
        async with connect(self._app, token=token) as client:
            self.codes.append((await client.closed()).code)
            self.times.append(trio.current_time() - began)


async def test_draining_closes_every_connection_with_1012_and_waits_for_the_end(
    hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    crowd = Crowd(make_app(forever, hub))
    async with trio.open_nursery() as nursery:
        await crowd.come(nursery, 3)

        assert await hub.drain() == 3
        assert crowd.codes == [1012] * 3

    assert hub.draining


async def test_many_connections_are_closed_in_batches_over_half_of_the_time(
    hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    """So that not all of them come back in the same moment."""
    crowd = Crowd(make_app(forever, hub))
    async with trio.open_nursery() as nursery:
        await crowd.come(nursery, 300)

        assert await hub.drain(10) == 300

    assert len(set(crowd.times)) > 3
    assert max(crowd.times) <= 5


async def test_while_draining_new_handshakes_are_refused_with_503(hub: WebSocketHub, autojump_clock: MockClock) -> None:
    await hub.drain()

    with pytest.raises(HandshakeRejected, match="503"):
        async with connect(make_app(forever, hub), token="ann"):
            pass


async def test_a_peer_that_does_not_answer_the_close_is_dropped_at_the_deadline(
    hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    async with connect(make_app(forever, hub), token="ann", buffer=0):
        await wait_all_tasks_blocked()
        began = trio.current_time()

        assert await hub.drain(3) == 1
        assert trio.current_time() - began == pytest.approx(3)


async def test_an_empty_hub_is_drained_at_once(hub: WebSocketHub, autojump_clock: MockClock) -> None:
    began = trio.current_time()

    assert await hub.drain(10) == 0
    assert trio.current_time() == began


async def test_a_second_drain_can_only_shorten_the_deadline() -> None:
    hub = WebSocketHub()
    first = trio.current_time() + 10
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hub.drain, 10)
        nursery.start_soon(hub.drain, 1000)
    ending = join(hub).ending

    assert ending is not None
    assert ending.deadline == pytest.approx(first, abs=5)


async def test_a_handshake_that_is_under_way_is_waited_for(hub: WebSocketHub, autojump_clock: MockClock) -> None:
    async def slow_resolver(token: str) -> str:
        await trio.sleep(2)
        return token

    crowd = Crowd(make_app(forever, hub, resolver=slow_resolver))
    async with trio.open_nursery() as nursery:
        await crowd.come(nursery, 1)

        assert await hub.drain(10) == 0
        assert crowd.codes == [1012]
        assert crowd.times == [pytest.approx(2)]
