"""A handshake that is served directly looks to everybody like one that went through hypercorn."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.harness.footprint import introspect
from tests.harness.http import get
from tests.harness.polling import poll
from tests.harness.raw import CLOSE, TEXT, RawClient, frame, raw_client, upgrade
from tests.harness.server import Server, run_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

APP = "tests.server.native.apps.hooked:app"

ORIGIN = {"Origin": "http://ok.example"}

THROUGH_HYPERCORN = {"X-Twice": "1\r\nX-Twice: 2"}
"""Two headers of a name are not plain, and mean nothing."""

FORMAT = "access %(s)s %(h)s %(l)s %(r)s %(st)s %(S)s %(m)s %(Uq)s %(H)s %(b)s %(f)s %({host}i)s %({upgrade}o)s."


@pytest.fixture(scope="module")
def hooked_server() -> Iterator[Server]:
    settings = {
        "WS_REJECT_WITH_HTTP": "true",
        "WS_ALLOWED_ORIGINS": "http://ok.example",
        "WS_MAX_CONNECTIONS": "2",
        "WS_CLOSE_TIMEOUT_SECONDS": "1",
    }
    args = ("--access-logfile", "-", "--access-logformat", FORMAT)
    with run_server(APP, args=args, env=settings) as server:
        yield server


@pytest.fixture
def server(hooked_server: Server) -> Server:
    return hooked_server


@dataclass(frozen=True)
class Seen:
    """All that can be seen of one handshake."""

    answer: bytes
    printed: list[str]


def ask(server: Server, path: str, headers: Mapping[str, str]) -> Seen:
    """The answer to a handshake, to the end of the connection, and what was printed meanwhile."""
    start = len(server.log())
    with raw_client(server) as client:
        client.send(upgrade(path, {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", **headers}))
        answer = everything(client)
    server.wait_for_log("after_websocket", since=start)
    log = server.wait_for_log(" ws ", since=start)
    printed = sorted(re.sub(r":\d+", "", line) for line in re.findall(r"access .* ws .*|after_websocket .*", log))
    return Seen(re.sub(rb"date: [^\r]*|\"connection_id\":\"[^\"]*\"|X-Twice[^}]*", b"", answer), printed)


def head_of(seen: Seen) -> bytes:
    return seen.answer.partition(b"\r\n\r\n")[0]


def everything(client: RawClient) -> bytes:
    """What the server sends until it ends the connection; where it accepts, it is asked to."""
    received = client.socket.recv(1 << 16)
    if received.startswith(b"HTTP/1.1 101"):
        client.send(frame(CLOSE, (1000).to_bytes(2, "big")))
    while data := client.socket.recv(1 << 16):
        received += data
    return received


CASES = {
    "accepted": ("token=alice", {}, 101),
    "accepted with a subprotocol": ("x=1", {"Sec-WebSocket-Protocol": "bearer, alice"}, 101),
    "no token": ("", {}, 401),
    "a bad token": ("token=bad", {}, 401),
    "another origin": ("token=alice", {"Origin": "http://evil.example"}, 403),
    "a hook that responds": ("token=alice&hook=respond", {}, 418),
    "a hook that responds at length": ("token=alice&hook=respond%20at%20length", {}, 418),
    "a hook that responds without a body": ("token=alice&hook=respond+without+a+body", {}, 204),
    "a hook that closes": ("token=alice&hook=close", {}, 403),
    "a hook that aborts": ("token=alice&hook=abort", {}, 410),
}


@pytest.mark.parametrize(("query", "headers", "status"), CASES.values(), ids=CASES)
def test_looks_alike(server: Server, query: str, headers: dict[str, str], status: int) -> None:
    direct = ask(server, f"/echo?{query}", {**ORIGIN, **headers})
    through_hypercorn = ask(server, f"/echo?{query}", {**ORIGIN, **headers, **THROUGH_HYPERCORN})

    assert direct.answer.startswith(b"HTTP/1.1 %d " % status)
    assert head_of(direct) == head_of(through_hypercorn)
    if status != 101:
        assert direct == through_hypercorn
    assert direct.printed == through_hypercorn.printed
    assert any(line.startswith(f"access {status} 127.0.0.1 ") for line in direct.printed)


@pytest.mark.logs_errors
def test_a_hook_that_fails_is_logged_and_a_500(server: Server) -> None:
    start = len(server.log())
    direct = ask(server, "/echo?token=alice&hook=raise", ORIGIN)
    assert "RuntimeError: the hook fails" in server.log()[start:]
    assert direct.answer.startswith(b"HTTP/1.1 500 ")
    assert direct == ask(server, "/echo?token=alice&hook=raise", {**ORIGIN, **THROUGH_HYPERCORN})


@pytest.mark.logs_errors
def test_a_hook_that_accepts_is_told_that_the_hub_does(server: Server) -> None:
    start = len(server.log())
    direct = ask(server, "/echo?token=alice&hook=accept", ORIGIN)
    assert direct.answer.startswith(b"HTTP/1.1 101 ")
    assert "a before_websocket hook must leave that to the hub" in server.log()[start:]
    through_hypercorn = ask(server, "/echo?token=alice&hook=accept", {**ORIGIN, **THROUGH_HYPERCORN})
    assert head_of(direct) == head_of(through_hypercorn)  # then both sides close at once, and either may be first
    assert direct.printed == through_hypercorn.printed


def test_a_full_house_is_a_503(server: Server) -> None:
    with raw_client(server) as one, raw_client(server) as two, raw_client(server) as three:
        assert one.open("/echo?token=alice", ORIGIN) == 101
        assert two.open("/echo?token=bob", ORIGIN) == 101
        assert three.open("/echo?token=carol", ORIGIN) == 503
        assert three.read_to_end()
        for client in (one, two):
            client.send_frame(CLOSE, (1000).to_bytes(2, "big"))
            assert client.read_to_end()


def test_what_a_refused_client_sent_ahead_does_not_cost_it_the_answer(server: Server) -> None:
    with raw_client(server) as client:
        client.send(upgrade("/echo?token=alice&hook=respond+late", ORIGIN))
        client.send(frame(TEXT, b"x" * 1000))
        assert client.read_response() == 418
        assert client.read_to_end()
    assert "dropped" not in server.log()


def test_a_client_may_go_while_its_token_is_looked_at(server: Server) -> None:
    for end in (RawClient.close, RawClient.reset):
        with raw_client(server) as client:
            client.send(upgrade("/echo?token=alice", ORIGIN))
            end(client)
    poll(lambda: introspect(server)["connections"], until=lambda count: count == 0)
    assert "dropped" not in server.log()


@pytest.mark.parametrize(("headers", "app_tasks"), [({}, 0), (THROUGH_HYPERCORN, 1)])
def test_it_costs_no_task_of_the_apps_own(server: Server, headers: dict[str, str], app_tasks: int) -> None:
    """And so can be told from one that goes through hypercorn."""
    with raw_client(server) as client:
        assert client.open("/echo?token=alice", {**ORIGIN, **headers}) == 101
        poll(lambda: get(server, "/app-tasks").json()["count"], until=lambda count: count == app_tasks)
        client.send_frame(CLOSE, (1000).to_bytes(2, "big"))
        assert client.read_to_end()
