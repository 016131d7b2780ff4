"""Peers that do not read, hardly read, or have vanished: they are let go, cost little until then, and delay nobody.

They are real sockets whose other end is never read. The kernel goes on to acknowledge for them, so that to the server
they look alive.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.clients import ClientConnection, connect, envelope, recv_json, subscribe
from tests.harness.footprint import introspect
from tests.harness.http import get, post
from tests.harness.polling import poll
from tests.harness.raw import TEXT, RawClient, raw_client
from tests.server.native.launching import launched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.harness.server import Server

pytestmark = pytest.mark.wall_time

HEARTBEAT_TIMEOUT = 0.8
SMALL = 4096

FLOOD = {"envelope": {"type": "note", "data": {"text": "x" * 10_000}}, "times": 300}
"""Three times what may wait for one peer."""


@pytest.fixture(scope="module")
def impatient_server() -> Iterator[Server]:
    env = {
        "WS_HEARTBEAT_SECONDS": "0.3",
        "WS_HEARTBEAT_TIMEOUT_SECONDS": str(HEARTBEAT_TIMEOUT),
        "WS_CLOSE_TIMEOUT_SECONDS": "0.5",
    }
    with launched("hypercorn -w 1", env=env) as server:
        yield server


@contextmanager
def stuck_peer(server: Server, path: str = "/ws?token=stuck", topic: str = "flood") -> Iterator[RawClient]:
    """Subscribed, and with no intention to read anything from here on."""
    with raw_client(server, path, receive_buffer=SMALL) as client:
        client.send_frame(TEXT, envelope("subscribe", topic=topic).encode())
        assert b"hello" in client.read_frame().payload
        assert b"true" in client.read_frame().payload
        yield client


@contextmanager
def bystander(server: Server, topic: str) -> Iterator[ClientConnection]:
    with connect(server, "/ws", token="bystander") as client:
        subscribe(client, topic)
        yield client


def closed(server: Server) -> dict[str, int]:
    counts: dict[str, int] = introspect(server)["closed"]
    return counts


def round_trip(client: ClientConnection) -> float:
    start = time.monotonic()
    client.send(envelope("ping", "7"))
    while recv_json(client).get("request_id") != "7":
        pass
    return time.monotonic() - start


class TestOverflow:
    def test_closes_with_1013_and_frees_everything_soon_although_the_peer_never_reads(self, server: Server) -> None:
        before = introspect(server)
        with stuck_peer(server):
            start = time.monotonic()
            post(server, "/hub/broadcast", {**FLOOD, "topic": "flood"})
            assert introspect(server)["connections"] == 0, "it is out of the registry at once"
            poll(lambda: introspect(server)["descriptors"], until=lambda now: now <= before["descriptors"])
            assert time.monotonic() - start < 2.5
            assert closed(server).get("1013", 0) == before["closed"].get("1013", 0) + 1

    def test_of_many_at_once_costs_no_more_time(self, server: Server) -> None:
        before = introspect(server)
        with ExitStack() as stack:
            for number in range(20):
                stack.enter_context(stuck_peer(server, f"/ws?token=stuck{number}"))
            start = time.monotonic()
            post(server, "/hub/broadcast", {**FLOOD, "topic": "flood"})
            poll(lambda: introspect(server)["descriptors"], until=lambda now: now <= before["descriptors"])
            assert time.monotonic() - start < 3.5

    def test_a_peer_that_reads_after_all_sees_the_code(self, server: Server) -> None:
        with stuck_peer(server) as client:
            post(server, "/hub/broadcast", {**FLOOD, "topic": "flood"})
            client.socket.settimeout(5)
            assert client.read_close().close_code == 1013

    def test_reaches_those_that_read(self, server: Server) -> None:
        """As fast as this test does: what may wait for it is a third of all there is."""
        with stuck_peer(server), bystander(server, "flood") as reader:
            for _ in range(30):
                post(server, "/hub/broadcast", {**FLOOD, "times": 10, "topic": "flood"})
                assert [recv_json(reader)["type"] for _ in range(10)] == ["note"] * 10


class TestSlowReader:
    def test_of_a_byte_now_and_then_is_given_up_on_though_it_says_that_it_lives(self, impatient_server: Server) -> None:
        before = closed(impatient_server).get("1013", 0)
        with raw_client(impatient_server, "/flood?token=snail", receive_buffer=SMALL) as client:
            start = time.monotonic()

            def read_a_byte_and_prove_life() -> int:
                try:
                    client.socket.recv(1)
                    client.send_frame(TEXT, b'{"type":"pong"}')
                except ConnectionError:
                    pass
                return closed(impatient_server).get("1013", 0)

            poll(read_a_byte_and_prove_life, until=lambda now: now == before + 1)
            assert HEARTBEAT_TIMEOUT * 0.9 < time.monotonic() - start < HEARTBEAT_TIMEOUT + 2

    def test_that_reads_steadily_is_kept_and_gets_everything(self, server: Server) -> None:
        with raw_client(server, "/burst?token=snail&count=200&size=10000", receive_buffer=SMALL) as client:
            client.send_frame(TEXT, b"now")
            assert b"hello" in client.read_frame().payload
            assert [len(client.read_frame().payload) for _ in range(200)] == [10_000] * 200


class TestVanishedPeer:
    @pytest.mark.parametrize("path", ["/ws?token=gone", "/deaf?token=gone", "/flood?token=gone"])
    def test_is_closed_by_the_heartbeat_and_freed(self, impatient_server: Server, path: str) -> None:
        before = introspect(impatient_server)
        with raw_client(impatient_server, path, receive_buffer=SMALL):
            start = time.monotonic()
            poll(lambda: introspect(impatient_server)["connections"], until=lambda count: count == 0)
            assert time.monotonic() - start < HEARTBEAT_TIMEOUT + 1
            poll(lambda: introspect(impatient_server)["descriptors"], until=lambda now: now <= before["descriptors"])
            assert time.monotonic() - start < HEARTBEAT_TIMEOUT + 2.5
        after = closed(impatient_server)
        assert sum(after.get(code, 0) - before["closed"].get(code, 0) for code in ("4408", "1013")) == 1

    def test_that_only_pings_and_never_reads_is_closed_too(self, impatient_server: Server) -> None:
        """The pongs that it does not take stop the reading, and then it is silent."""
        with raw_client(impatient_server, "/deaf?token=gone", receive_buffer=SMALL, timeout=0.1) as client:
            flood_with_pings(client)
            poll(lambda: introspect(impatient_server)["connections"], until=lambda count: count == 0, timeout=5)


def flood_with_pings(client: RawClient) -> None:
    """Until the network takes no more, or the server has had enough."""
    pings = (b"\x89\xfd" + bytes(4) + bytes(125)) * 200
    try:
        for _ in range(2000):
            client.send(pings)
    except (TimeoutError, ConnectionError):
        return
    pytest.fail("the server read 50 MB of pings that it could not answer")


class TestOthers:
    def test_are_not_delayed(self, server: Server) -> None:
        with ExitStack() as stack, connect(server, "/ws", token="bystander") as reader:
            for number in range(20):
                stack.enter_context(stuck_peer(server, f"/ws?token=stuck{number}"))
            trips = []
            for _ in range(30):
                post(server, "/hub/broadcast", {**FLOOD, "times": 10, "topic": "flood"})
                trips.append(round_trip(reader))
            assert sorted(trips)[len(trips) // 2] < 0.05
            assert max(trips) < 0.5

    def test_nor_is_the_caller(self, server: Server) -> None:
        with stuck_peer(server):
            start = time.monotonic()
            post(server, "/hub/broadcast", {**FLOOD, "topic": "flood"})
            assert time.monotonic() - start < 1


class TestTheKernel:
    def test_holds_little_for_a_peer_that_has_stopped_after_reading_a_lot(self, server: Server) -> None:
        """Having read fast, it has made the kernel believe in a large buffer."""
        with raw_client(server, "/flood?token=alice") as client:
            received = 0
            while received < 20_000_000:
                received += len(client.socket.recv(1 << 20))
            port = client.socket.getsockname()[1]
            assert settled(lambda: socket_to(server, port)["unsent"]) < 300_000

    def test_sends_small_messages_at_once(self, server: Server) -> None:
        with raw_client(server, "/echo?token=alice") as client:
            assert socket_to(server, client.socket.getsockname()[1])["no_delay"]


def socket_to(server: Server, port: int) -> dict[str, Any]:
    facts: dict[str, Any] = get(server, f"/socket/{port}").json()
    return facts


def settled(probe: Callable[[], int]) -> int:
    """A number that is the same ten times in a row, and not zero: as long as the peer's kernel takes everything, it is
    zero again and again, and on a busy machine the server may not come to write more between some probes."""
    seen: list[int] = []

    def look() -> list[int]:
        seen.append(probe())
        return seen[-10:]

    return poll(look, until=lambda last: len(last) == 10 and len(set(last)) == 1 and last[0] > 0)[0]
