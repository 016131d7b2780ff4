"""Shutting a real server down: who hears what, and how soon it is gone."""

from __future__ import annotations

import os
import selectors
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import ConnectionClosed

from quart_wshub.hub.drain import DRAIN_BATCHES, MIN_DRAIN_BATCH
from tests.harness.clients import refused
from tests.harness.http import get, post
from tests.harness.polling import poll
from tests.harness.raw import CLOSE, RawClient, raw_client
from tests.server.native.launching import launched, worker_pids
from tests.server.native.lingering import BURST, GRACE, STOPS, Outcome, Stop, crowd, idlers, shut_down, stop

if TYPE_CHECKING:
    from tests.server.native.launching import Way

pytestmark = pytest.mark.wall_time


@pytest.fixture(scope="module", params=STOPS, ids=[f"{way}, {how}" for way, how in STOPS])
def case(request: pytest.FixtureRequest) -> tuple[Way, Stop]:
    case: tuple[Way, Stop] = request.param
    return case


@pytest.fixture(scope="module")
def outcome(case: tuple[Way, Stop]) -> Outcome:
    return shut_down(*case)


class TestWithEveryoneConnected:
    """And with peers that are stuck, over WebSockets and HTTP."""

    def test_every_client_hears_1012(self, outcome: Outcome) -> None:
        assert outcome.codes == [1012] * 10

    def test_the_processes_are_gone_in_time(self, outcome: Outcome) -> None:
        assert outcome.seconds < outcome.grace + 1.5

    def test_what_was_queued_goes_out_before_the_close_frame(self, outcome: Outcome) -> None:
        assert outcome.waiting > 0, "nothing was queued, so this test shows nothing"
        assert len(outcome.read) == 1 + BURST + 1
        assert outcome.read[-1].close_code == 1012

    def test_handlers_have_their_shielded_time(self, outcome: Outcome) -> None:
        for number in range(2):
            assert f"cleaned up after clean-up-slowly{number}" in outcome.log

    def test_the_exit_status_is_good_and_nothing_is_amiss_in_the_log(
        self, outcome: Outcome, case: tuple[Way, Stop]
    ) -> None:
        assert outcome.status == (None if case[1] == "to the workers" else 0)
        for word in ("Traceback", "internal error", "a connection failed"):
            assert word not in outcome.log


@pytest.mark.parametrize(
    ("way", "how"), [("hypercorn -w 1", "to the master"), ("hypercorn -w 1", "to the workers"), STOPS[-1]]
)
def test_idle_connections_do_not_delay_the_exit(way: Way, how: Stop) -> None:
    with launched(way) as server, crowd(server, count=1), idlers(server):
        assert stop(server, how, worker_pids(server, way)) < 1.5
        server.kill()


def test_a_signal_to_one_of_two_workers_leaves_the_other_alone() -> None:
    with launched("hypercorn -w 2") as server, crowd(server, count=16) as clients:
        signalled, other = worker_pids(server, "hypercorn -w 2")
        stop(server, "to the workers", {signalled})
        told = []
        for client in clients:
            try:
                client.send("still there")
                assert client.recv(10) == "still there"
            except ConnectionClosed as closed:
                told.append(closed.rcvd.code if closed.rcvd is not None else 1006)
        assert told == [1012] * len(told)
        poll(lambda: get(server, "/process").json()["pid"], until=lambda pid: pid == other)
        server.kill()


CLIENTS, SECONDS = 120, 3.0


@pytest.fixture(scope="module")
def drained() -> dict[str, Any]:
    with launched("hypercorn -w 1") as server, ExitStack() as stack, ThreadPoolExecutor() as pool:
        clients = [stack.enter_context(raw_client(server, f"/echo?token={n}")) for n in range(CLIENTS)]
        for client in clients:
            client.read_frame()  # `hello`
        stack.enter_context(raw_client(server, "/echo?token=mute"))
        asked = time.monotonic()
        answer = pool.submit(post, server, f"/drain/{SECONDS}")
        told = moments_of_1012(clients)
        refusal = refused(server)
        elsewhere = get(server, "/process").status
        assert not answer.done(), "the drain was over before anyone came, so this shows nothing"
        return {"asked": asked, "told": told, "refusal": refusal, "elsewhere": elsewhere, **answer.result()}


class TestDrain:
    """Asked for by a route, with 120 connections and one that does not answer."""

    def test_returns_how_many_were_connected(self, drained: dict[str, Any]) -> None:
        assert drained["drained"] == CLIENTS + 1

    def test_ends_in_time_with_a_peer_that_does_not_answer(self, drained: dict[str, Any]) -> None:
        assert SECONDS * 0.95 < drained["took"] < SECONDS + 0.5

    def test_tells_everyone_in_batches_that_are_spread_in_time(self, drained: dict[str, Any]) -> None:
        told = [moment - drained["asked"] for moment in drained["told"]]
        assert len(told) == CLIENTS
        # A busy machine makes every batch late, but none early.
        pause = SECONDS / 2 / DRAIN_BATCHES
        assert sum(moment < pause for moment in told) <= MIN_DRAIN_BATCH
        assert sum(moment < 2 * pause for moment in told) <= 2 * MIN_DRAIN_BATCH
        assert pause < told[-1] - told[0] < SECONDS / 2

    def test_refuses_new_handshakes_with_503_and_says_when_to_come_back(self, drained: dict[str, Any]) -> None:
        assert drained["refusal"].status_code == 503
        assert int(drained["refusal"].headers["Retry-After"]) > 0

    def test_leaves_other_routes_alone(self, drained: dict[str, Any]) -> None:
        assert drained["elsewhere"] == 200


def moments_of_1012(clients: list[RawClient]) -> list[float]:
    """When each was told, in order. Every one answers at once, as a client does."""
    told: list[float] = []
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client.socket, selectors.EVENT_READ, client)
        while selector.get_map():
            ready = selector.select(10)
            assert ready, f"only {len(told)} were told"
            for key, _ in ready:
                frame = key.data.read_close()
                assert frame.close_code == 1012
                told.append(time.monotonic())
                key.data.send_frame(CLOSE, frame.payload)
                selector.unregister(key.fileobj)
    return told


def test_a_second_signal_does_not_cut_the_farewell_short() -> None:
    with launched("hypercorn -w 1") as server, crowd(server, "/clean-up-slowly", count=1):
        (worker,) = worker_pids(server, "hypercorn -w 1")
        os.kill(worker, signal.SIGTERM)
        server.wait_for_log("shutting down")
        assert stop(server, "to the workers", {worker}) < GRACE
        assert "cleaned up after clean-up-slowly0" in server.log()
        server.kill()
