"""Where the route is: prefixes, several blueprints, root paths; and that the app's other routes still work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness.clients import closed_with, connect, drain_hello, recv_json, refused, subscribe
from tests.harness.footprint import introspect
from tests.harness.http import get, post
from tests.harness.server import Server, run_server

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def mounted_server() -> Iterator[Server]:
    with run_server(args=("--root-path", "/pfx")) as server:
        yield server


class TestUnderARootPath:
    def test_the_route_is_below_it(self, mounted_server: Server) -> None:
        with connect(mounted_server, "/pfx/show") as client:
            assert recv_json(client)["path"] == "/pfx/show"

    def test_and_nowhere_else(self, mounted_server: Server) -> None:
        for path in ("/show", "/x/pfx/show", "/pfxshow", "/pfx", "/pfx/pfx/show", "/PFX/show"):
            assert refused(mounted_server, path).status_code == 404

    def test_a_root_path_may_be_deep_and_end_with_a_slash(self) -> None:
        with run_server(args=("--root-path", "/a/b/")) as server:
            with connect(server, "/a/b/show"):
                pass
            assert refused(server, "/x/a/b/show").status_code == 404


def test_a_url_prefix_goes_before_the_path(server: Server) -> None:
    with connect(server, "/below/show") as client:
        assert recv_json(client)["path"] == "/below/show"
    assert refused(server, "/below/echo").status_code == 404


def test_variable_parts_of_the_path_reach_the_handler(server: Server) -> None:
    with connect(server, "/rooms/b%C3%A4r/show") as client:
        assert recv_json(client)["path_params"] == {"room": "bär"}


def test_two_blueprints_share_one_hub(server: Server) -> None:
    with connect(server, "/ws", token="alice") as chat, connect(server, "/echo", token="bob") as echo:
        subscribe(chat, "news")
        facts = introspect(server)
        assert (facts["connections"], facts["online"]) == (2, ["alice", "bob"])
        assert post(server, "/hub/broadcast", {"envelope": {"type": "to-all"}}) == 2
        assert recv_json(chat)["type"] == recv_json(echo)["type"] == "to-all"


def test_the_hub_route_refuses_plain_http(server: Server) -> None:
    assert get(server, "/echo").status in {400, 404, 405}


class TestOtherWebSocketRoutesOfTheApp:
    """They are Quart's own, and work as without the hub."""

    def test_echo(self, server: Server) -> None:
        with connect(server, "/plain/echo", token=None, hello=True) as client:
            for message in ("text", b"binary", "x" * 100_000):
                client.send(message)
                assert client.recv(10) == message

    def test_see_their_own_handshake_unmasked(self, server: Server) -> None:
        with connect(server, "/plain/subprotocol", token="mine", subprotocols=["plain.v1"], hello=True) as client:
            assert client.subprotocol == "plain.v1"
            assert client.recv(10) == "query=token=mine"
            # Leaving first would make the two closes cross, which plain hypercorn may log as a `BusyResourceError`.
            assert closed_with(client) == (1000, "")

    def test_close(self, server: Server) -> None:
        with connect(server, "/plain/close", hello=True) as client:
            assert closed_with(client) == (4123, "as the app says")

    def test_refuse(self, server: Server) -> None:
        for path, status in {"refuse": 401, "respond": 418, "nowhere": 404}.items():
            assert refused(server, f"/plain/{path}").status_code == status

    def test_are_not_connections_of_the_hub(self, server: Server) -> None:
        with connect(server, "/plain/echo", hello=True) as plain, connect(server, "/echo", hello=True) as ours:
            drain_hello(ours)
            assert introspect(server)["connections"] == 1
            assert post(server, "/hub/broadcast", {"envelope": {"type": "to-all"}}) == 1
            plain.send("mine")
            assert plain.recv(10) == "mine"
