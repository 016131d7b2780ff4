"""Handshakes that fail for other reasons than the token: resolver, origin, capacity; and refusals with HTTP."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.harness.clients import closed_with, connect, recv_json, refused
from tests.harness.footprint import introspect
from tests.harness.polling import poll
from tests.harness.raw import raw_client, upgrade
from tests.harness.server import Server, run_server

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.both_transports

ORIGIN = "https://app.example.com"


@pytest.fixture(scope="module")
def strict_server(transport: str) -> Iterator[Server]:
    settings = {
        "WS_AUTH_TIMEOUT_SECONDS": "0.3",
        "WS_ALLOWED_ORIGINS": f"{ORIGIN}, http://localhost:3000",
        "WS_MAX_CONNECTIONS": "3",
        "WS_MAX_PENDING_HANDSHAKES": "5",
        "WS_ALLOW_QUERY_TOKEN": "false",
        "WS_CLOSE_TIMEOUT_SECONDS": "1",
        "WS_TRANSPORT": transport,
    }
    with run_server(env=settings) as server:
        yield server


@pytest.fixture(scope="module")
def http_server(transport: str) -> Iterator[Server]:
    settings = {"WS_REJECT_WITH_HTTP": "true", "WS_AUTH_TIMEOUT_SECONDS": "0.3", "WS_TRANSPORT": transport}
    with run_server(env=settings) as server:
        yield server


@pytest.mark.logs_errors
def test_a_resolver_that_fails_closes_with_1011(server: Server) -> None:
    """The fault is the server's: the client should retry, not log its user out."""
    for token in ("raising.x", "nested.x", "nonsense"):
        with connect(server, token=token, hello=True) as client:
            assert closed_with(client) == (1011, "internal error")
    with connect(server, "/below/show", token="raising", hello=True) as client:  # whose resolver is sync
        assert closed_with(client)[0] == 1011


class TestStrictSettings:
    @pytest.fixture
    def server(self, strict_server: Server) -> Server:
        return strict_server

    def test_a_resolver_that_takes_too_long_is_1011(self, server: Server) -> None:
        with connect(server, token=None, subprotocols=["bearer", "slow"], hello=True) as client:
            assert closed_with(client, timeout=3)[0] == 1011
        server.wait_for_log("handshake failed: bearer resolver took longer than 0.3 s")

    def test_the_query_is_not_a_token_source_when_turned_off(self, server: Server) -> None:
        with connect(server, token="alice", hello=True) as client:
            assert closed_with(client) == (4401, "token missing")

    def test_an_allowed_origin_connects(self, server: Server) -> None:
        for origin in (ORIGIN, "HTTPS://APP.example.com", "http://localhost:3000"):
            with connect(server, "/show", headers={"Origin": origin, "Authorization": "Bearer alice"}) as client:
                assert recv_json(client)["user_id"] == "alice"

    def test_another_origin_is_refused_with_403_before_the_resolver_runs(self, server: Server) -> None:
        before = server.log()
        for origin in ("https://evil.example", f"{ORIGIN}.evil", f"{ORIGIN}:444", "http://app.example.com", "null"):
            response = refused(server, headers={"Origin": origin, "Authorization": "Bearer raising"})
            assert response.status_code == 403
        assert server.log() == before

    def test_a_client_without_origin_is_not_a_browser_and_connects(self, server: Server) -> None:
        with connect(server, headers={"Authorization": "Bearer alice"}):
            pass

    def test_strangers_that_do_not_answer_the_close_frame_hold_no_place_of_a_user(self, server: Server) -> None:
        with ExitStack() as stack:
            strangers = [stack.enter_context(raw_client(server)) for _ in range(12)]
            for stranger in strangers:
                assert stranger.open("/ws", {"Origin": ORIGIN}) == 101
            for user in ("a", "b", "c"):
                stack.enter_context(connect(server, headers={"Authorization": f"Bearer {user}"}))
            assert {stranger.read_close().close_code for stranger in strangers} == {4401}

    def test_at_capacity_the_handshake_is_refused_with_503_and_retry_after(self, server: Server) -> None:
        def bearer(user: str) -> dict[str, str]:
            return {"Authorization": f"Bearer {user}"}

        with connect(server, headers=bearer("a")), connect(server, headers=bearer("b")):
            with connect(server, headers=bearer("c")):
                response = refused(server, headers=bearer("d"))
                assert response.status_code == 503
                assert int(response.headers["Retry-After"]) > 0
            poll(lambda: introspect(server)["connections"], until=lambda count: count == 2)
            poll(lambda: _connects(server, bearer("e")), what="the place is free again")

    def test_pending_handshakes_are_limited(self, server: Server) -> None:
        slow = {"Sec-WebSocket-Protocol": "bearer, slow"}
        with ExitStack() as stack:
            clients = [stack.enter_context(raw_client(server)) for _ in range(5)]
            for client in clients:
                client.send(upgrade("/echo", slow))
            poll(lambda: not _connects(server, {"Authorization": "Bearer alice"}), what="the node is full")
            for client in clients:
                assert client.read_response() == 101
                assert client.read_close().close_code == 1011


class TestRejectingWithHttp:
    @pytest.fixture
    def server(self, http_server: Server) -> Server:
        return http_server

    def test_without_a_valid_token_the_response_is_401(self, server: Server) -> None:
        for token in (None, "", "bad", "expired"):
            response = refused(server, token=token)
            assert response.status_code == 401
            assert response.headers["WWW-Authenticate"] == "Bearer"

    @pytest.mark.logs_errors
    def test_a_resolver_that_fails_is_a_500(self, server: Server) -> None:
        for token in ("raising", "slow", "nonsense"):
            assert refused(server, token=token).status_code == 500

    def test_a_valid_token_connects(self, server: Server) -> None:
        with connect(server, token="alice") as client:
            client.send("x")
            assert client.recv(10) == "x"


def _connects(server: Server, headers: dict[str, str]) -> bool:
    with raw_client(server) as client:
        return client.open("/echo", headers) == 101
