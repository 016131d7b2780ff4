"""The orderly shutdown of a server process, on a clock that does not wait."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace

import pytest
import trio
from hypercorn.trio.worker_context import WorkerContext
from trio.testing import MockClock, wait_all_tasks_blocked

from quart_wshub.transport.hypercorn.shutdown import worker_of
from tests.unit.worker_server import GRACE, Server, serving


class TestShutdown:
    async def test_runs_every_drain_at_once_with_most_of_the_time(self, autojump_clock: MockClock) -> None:
        told: list[tuple[str, float, float]] = []

        async def drain_one(seconds: float) -> None:
            told.append(("one", seconds, trio.current_time()))
            await trio.sleep(1)
            connection.close()

        async def drain_two(seconds: float) -> None:
            told.append(("two", seconds, trio.current_time()))
            await trio.sleep(2)

        async with serving() as server:
            server.worker.on_shutdown(drain_one)
            connection = await server.connect()
            server.worker.on_shutdown(drain_two)
            server.worker.on_shutdown(drain_one)
            await trio.sleep(100)
            assert told == [], "nothing is drained while the server runs"
            start = trio.current_time()
            await server.shut_down()
        assert sorted(told) == [("one", GRACE * 0.8, start), ("two", GRACE * 0.8, start)]
        assert trio.current_time() - start == pytest.approx(2)

    async def test_ends_at_once_where_nothing_is_open(self, autojump_clock: MockClock) -> None:
        async with serving() as server:
            connection = await server.connect()
            connection.close()
            await trio.sleep(100)
            start = trio.current_time()
            await server.shut_down()
        assert trio.current_time() == start

    async def test_cuts_a_drain_short_that_takes_too_long(self, autojump_clock: MockClock) -> None:
        async def drain(seconds: float) -> None:
            try:
                await trio.sleep_forever()
            finally:
                connection.close()

        async with serving() as server:
            server.worker.on_shutdown(drain)
            connection = await server.connect()
            start = trio.current_time()
            await server.shut_down()
        assert trio.current_time() - start == pytest.approx(GRACE * 0.8)

    async def test_drops_what_is_still_open_shortly_before_the_end(self, autojump_clock: MockClock) -> None:
        async with serving() as server:
            for _ in range(3):
                await server.connect()
            start = trio.current_time()
            await server.shut_down()
        assert GRACE * 0.9 <= trio.current_time() - start < GRACE

    async def test_waits_for_requests_under_way(self, autojump_clock: MockClock) -> None:
        async with serving() as server:
            connection = await server.connect()
            start = trio.current_time()
            await server.shut_down()
            await trio.sleep(GRACE / 2)
            assert connection.is_open
            connection.close()
        assert trio.current_time() - start == pytest.approx(GRACE / 2)

    async def test_waits_for_those_that_came_after_all_had_gone(self, autojump_clock: MockClock) -> None:
        async with serving() as server:
            (await server.connect()).close()
            await wait_all_tasks_blocked()
            connection = await server.connect()
            await server.shut_down()
            await trio.sleep(GRACE / 2)
            assert connection.is_open
            connection.close()

    async def test_drops_a_peer_that_does_not_read(self, autojump_clock: MockClock) -> None:
        """Even from a write that cannot be cancelled, as hypercorn's are."""
        freed: list[bool] = []
        async with serving() as server:
            connection = await server.connect()

            async def write() -> None:
                with trio.CancelScope(shield=True), pytest.raises(trio.ClosedResourceError):
                    await connection.stream.send_all(b"x" * 10_000_000)
                freed.append(True)

            server._nursery.start_soon(write)
            await wait_all_tasks_blocked()
            await server.shut_down()
        assert freed == [True]

    async def test_tells_every_connection_at_once_to_wait_for_no_more_requests(self, autojump_clock: MockClock) -> None:
        async with serving() as server:
            connections = [await server.connect() for _ in range(3)]
            await server.shut_down()
            await wait_all_tasks_blocked()
            assert [connection.told_to_stop_waiting for connection in connections] == [1, 1, 1]
            for connection in connections:
                connection.close()

    async def test_ends_what_was_to_be_kept_running_last(self, autojump_clock: MockClock) -> None:
        ran: list[tuple[str, float]] = []

        async def early() -> None:
            try:
                await trio.sleep_forever()
            finally:
                ran.append(("early", trio.current_time()))

        async def late() -> None:
            try:
                await trio.sleep_forever()
            finally:
                ran.append(("late", trio.current_time()))

        async def drain(seconds: float) -> None:
            await trio.sleep(1)
            connection.close()

        async with serving() as server:
            server.worker.keep_running(early)
            server.worker.on_shutdown(drain)
            connection = await server.connect()
            await wait_all_tasks_blocked()
            server.worker.keep_running(late)
            server.worker.keep_running(early)
            start = trio.current_time()
            await server.shut_down()
        assert sorted(ran) == [("early", start + 1), ("late", start + 1)]

    async def test_of_a_server_that_is_cancelled_drops_everything(self) -> None:
        async with trio.open_nursery() as nursery:
            server = Server(nursery)
            connection = await server.connect()
            await server.shut_down()
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert not connection.is_open


class TestWorkerOf:
    def test_is_one_per_server_and_gone_with_it(self) -> None:
        config = SimpleNamespace(graceful_timeout=3.0)
        first, second = WorkerContext(None), WorkerContext(None)
        assert worker_of(first, config) is worker_of(first, config)
        assert worker_of(first, config) is not worker_of(second, config)
        forgotten, kept = weakref.ref(worker_of(first, config)), weakref.ref(worker_of(second, config))
        del first
        gc.collect()
        assert forgotten() is None
        assert kept() is worker_of(second, config)
