"""SIGTERM to the process that serves."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.unit.worker_server import serving

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def sigterm() -> Iterator[None]:
    """The signal's handler is the default before and after the test, whatever a coverage tool had set."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    assert signal.signal(signal.SIGTERM, before) is signal.SIG_DFL


class TestSigterm:
    async def test_to_the_process_shuts_the_server_down(self, sigterm: None) -> None:
        with trio.fail_after(5):
            async with serving() as server:
                connection = await server.connect()
                await wait_all_tasks_blocked()
                os.kill(os.getpid(), signal.SIGTERM)
                await server.context.terminate.wait()
                connection.close()
                await server.shut_down()

    async def test_sent_again_changes_nothing(self, sigterm: None) -> None:
        with trio.fail_after(5):
            async with serving() as server:
                connection = await server.connect()
                await wait_all_tasks_blocked()
                os.kill(os.getpid(), signal.SIGTERM)
                await server.context.terminate.wait()
                await server.shut_down()
                os.kill(os.getpid(), signal.SIGTERM)
                await wait_all_tasks_blocked()
                connection.close()

    async def test_is_left_to_a_program_that_handles_it_itself(self) -> None:
        received: list[int] = []
        before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
        try:
            async with serving() as server:
                connection = await server.connect()
                await wait_all_tasks_blocked()
                os.kill(os.getpid(), signal.SIGTERM)
                assert received == [signal.SIGTERM]
                assert not server.context.terminate.is_set()
                connection.close()
                await server.shut_down()
        finally:
            signal.signal(signal.SIGTERM, before)

    def test_is_not_touched_where_the_server_is_not_in_the_main_thread(self, sigterm: None) -> None:
        async def serve() -> None:
            async with serving() as server:
                connection = await server.connect()
                await wait_all_tasks_blocked()
                assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
                connection.close()
                await server.shut_down()

        async def in_a_thread() -> None:
            await trio.to_thread.run_sync(trio.run, serve)

        trio.run(in_a_thread)
