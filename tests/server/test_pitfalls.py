"""Faults of Quart-Trio on hypercorn, and that a route of the hub does not have them.

Each test runs one scenario twice: on a route of the hub, and on the same route without it. The second half shows what
upstream does today; if one of those assertions fails, upstream has changed, and the hub's workaround may be needless.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.clients import closed_with, connect, refused
from tests.harness.footprint import footprint, leaves_nothing_behind
from tests.harness.http import get, post
from tests.harness.polling import poll
from tests.harness.raw import BINARY, CLOSE, PING, PONG, TEXT, raw_client
from tests.harness.server import ROOT, Server, run_server

if TYPE_CHECKING:
    from collections.abc import Iterator

QUART_TRIO = tuple(int(part) for part in version("quart-trio").split(".")[:2])
BARE, OURS = "tests.server.apps.twins:bare", "tests.server.apps.twins:ours"
PLAIN = {"WS_TRANSPORT": "asgi"}  # else importing the hub would replace hypercorn's server class
LIMIT = 1000
SECRET = "alice.TopSecret"
LOGGING = ("--access-logfile", "-", "--access-logformat", "%(R)s %(Uq)s %(q)s %(f)s %({authorization}i)s")


@pytest.fixture(scope="module")
def ours() -> Iterator[Server]:
    env = {"WS_MAX_MESSAGE_BYTES": str(LIMIT), "WS_CLOSE_TIMEOUT_SECONDS": "0.5"}
    with run_server(OURS, args=LOGGING, env=env) as server:
        yield server


@pytest.fixture(scope="module")
def bare() -> Iterator[Server]:
    config = ROOT / "tests/server/apps/small_messages.toml"
    with run_server(BARE, env=PLAIN, args=("--config", str(config), *LOGGING)) as server:
        yield server
        server.kill()  # what these tests leave behind would delay its shutdown


def records(server: Server) -> list[str]:
    recorded: list[str] = get(server, "/records").json()["records"]
    return recorded


def test_2_sending_to_a_peer_that_left_does_not_freeze_the_event_loop(ours: Server) -> None:
    def flood_and_leave(server: Server) -> None:
        with raw_client(server, "/flood?token=x") as client:
            client.read_frame()

    def flood_until_it_freezes(server: Server) -> None:
        for _ in range(100):  # with Quart-Trio 0.13 it is a matter of timing
            flood_and_leave(server)
            get(server, "/introspect", timeout=1)

    with leaves_nothing_behind(ours):
        flood_and_leave(ours)
    with run_server(BARE, env=PLAIN) as bare:
        with pytest.raises(TimeoutError):
            flood_until_it_freezes(bare)
        bare.kill()


def test_4_a_handler_that_does_not_read_still_notices_pings_and_the_end(ours: Server, bare: Server) -> None:
    def pong_comes(server: Server, timeout: float) -> bool:
        with raw_client(server, "/deaf?token=x", timeout=timeout) as client:
            for _ in range(40):
                client.send_frame(TEXT, b"unread")
            client.send_frame(PING, b"alive?")
            try:
                return client.read_frame() == (PONG, b"alive?")
            except TimeoutError:
                return False

    with leaves_nothing_behind(ours):
        assert pong_comes(ours, timeout=5)

    before = footprint(bare)
    if QUART_TRIO >= (0, 13):  # what is not read is kept, without limit
        assert pong_comes(bare, timeout=5)
    else:
        assert not pong_comes(bare, timeout=0.5)
        with pytest.raises(AssertionError, match="not within"):
            poll(lambda: footprint(bare), until=lambda now: now.tasks <= before.tasks, timeout=0.5)


def test_6_an_empty_binary_message_is_bytes(ours: Server, bare: Server) -> None:
    def shown(server: Server) -> tuple[str | bytes, str | bytes]:
        with connect(server, "/show", hello=True) as client:
            client.send(b"")
            first = client.recv(5)
            client.send("")
            return first, client.recv(5)

    assert shown(ours) == ("b''", "''")
    assert shown(bare) == ("None", "''")


def test_7_messages_before_the_close_reach_the_handler_which_is_not_cancelled(ours: Server, bare: Server) -> None:
    def send_and_leave(server: Server) -> None:
        with connect(server, "/late", hello=True) as client:
            for number in range(5):
                client.send(str(number))
            client.close(4000)

    send_and_leave(ours)
    post(ours, "/release")
    seen = poll(lambda: records(ours), until=lambda seen: "after_websocket" in seen)
    assert seen == ["0", "1", "2", "3", "4", "disconnect", "after_websocket"]

    send_and_leave(bare)
    assert poll(lambda: records(bare)) == ["cancelled"]


def test_8_a_client_with_data_in_flight_sees_the_close_code(ours: Server, bare: Server) -> None:
    def close_code(server: Server) -> int | None:
        with raw_client(server, "/close/4000?token=x") as client:
            try:
                for _ in range(2000):
                    client.send_frame(TEXT, b"x" * 900)
                code = client.read_close().close_code
                client.send_frame(CLOSE, code.to_bytes(2, "big"))
                assert client.read_to_end()
            except ConnectionError:
                return None
            return code

    assert close_code(ours) == 4000
    assert close_code(bare) is None


class Test9SizeLimit:
    """Over plain ASGI one part of the fault remains: hypercorn stores up to 16 MiB of a message before it counts."""

    def test_counts_bytes(self, ours: Server, bare: Server) -> None:
        text = "ä" * LIMIT
        with connect(ours, "/show", hello=True) as client:
            client.send(text)
            assert closed_with(client)[0] == 1009
        with connect(bare, "/show", hello=True) as client:
            client.send(text)
            assert client.recv(5) == repr(text)

    def test_ends_the_connection(self, ours: Server, bare: Server) -> None:
        def answer_after_the_close(server: Server) -> bool:
            with raw_client(server, "/show?token=x", timeout=1.5) as client:
                client.send_frame(BINARY, b"x" * (LIMIT + 1))
                assert client.read_close().close_code == 1009
                try:
                    return not client.read_to_end()
                except TimeoutError:
                    return True

        with leaves_nothing_behind(ours):
            assert not answer_after_the_close(ours)
        assert answer_after_the_close(bare)


class Test11HandlerThatFails:
    def test_closes_with_1011(self, ours: Server, bare: Server) -> None:
        def code(server: Server) -> int:
            with connect(server, "/boom", hello=True) as client:
                client.send("now")
                return closed_with(client)[0]

        assert code(ours) == 1011
        assert code(bare) != 1011

    def test_is_logged_even_if_it_fails_while_being_cancelled(self, ours: Server, bare: Server) -> None:
        def leave_it(server: Server) -> None:
            before = footprint(server).tasks
            with connect(server, "/work", hello=True):
                pass
            poll(lambda: footprint(server).tasks, until=lambda now: now <= before)

        leave_it(ours)
        assert ours.log().count("RuntimeError: cleanup failed") == 1
        leave_it(bare)
        assert "cleanup failed" not in bare.log()


class Test12CloseCodes:
    def test_invalid_ones_are_not_sent(self, ours: Server, bare: Server) -> None:
        def sent(server: Server, code: int) -> int:
            with raw_client(server, f"/close/{code}?token=x") as client:
                client.send_frame(TEXT, b"now")
                return client.read_close().close_code

        for code in (0, 999, 5000):
            assert sent(ours, code) == 1000
            assert f"close code {code} cannot be sent" in records(ours)[-1]
            assert sent(bare, code) == code

    def test_a_second_close_does_nothing(self, ours: Server, bare: Server) -> None:
        for server in (ours, bare):
            with connect(server, "/close-twice", hello=True) as client:
                assert closed_with(client)[0] == 4000
        poll(lambda: records(ours), until=lambda seen: seen[-1] == "closed twice")
        assert poll(lambda: records(bare)[-1]) == "second close: Cannot close websocket multiple times"


def test_18_a_refusal_has_a_code_that_browsers_can_see(ours: Server, bare: Server) -> None:
    with connect(ours, "/refuse", token="bad", hello=True) as client:
        assert closed_with(client)[0] == 4401
    assert refused(bare, "/refuse", token="bad").status_code == 403


def test_19_the_access_log_holds_no_token(ours: Server, bare: Server) -> None:
    def printed(server: Server, source: dict[str, Any]) -> str:
        start = len(server.log())
        with connect(server, "/show", hello=True, **source):
            return server.wait_for_log("GET /show", since=start)

    sources: list[dict[str, Any]] = [
        {"token": SECRET},
        {"headers": {"Authorization": f"Bearer {SECRET}"}, "token": None},
        {"headers": {"Referer": f"http://x/?token={SECRET}"}},
    ]
    for source in sources:
        assert SECRET not in printed(ours, source)
        assert SECRET in printed(bare, source)


def test_21_a_root_path_matches_at_the_start_only() -> None:
    mounted = ("--root-path", "/pfx")
    with run_server(OURS, args=mounted) as ours:
        with connect(ours, "/pfx/show", hello=True):
            pass
        assert refused(ours, "/x/pfx/show").status_code == 404
    with run_server(BARE, env=PLAIN, args=mounted) as bare:
        if QUART_TRIO >= (0, 13):
            assert refused(bare, "/x/pfx/show").status_code == 404
        else:
            with connect(bare, "/x/pfx/show", hello=True) as client:
                client.send("reached")
                assert client.recv(5) == "'reached'"
