"""Tokens that expire, are refreshed or are revoked, on the system's clocks."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from tests.harness.clients import closed_with, connect, drain_hello, recv_json
from tests.harness.footprint import introspect
from tests.harness.http import get, post
from tests.harness.polling import poll

if TYPE_CHECKING:
    from tests.harness.server import Server


def test_the_client_is_warned_and_then_closed_on_time(server: Server) -> None:
    began = time.monotonic()
    with connect(server, "/refreshable", token="ann:0.6") as client:
        told = recv_json(client)
        assert (told["type"], told["request_id"]) == ("auth.expiring", None)
        assert abs(datetime.fromisoformat(told["data"]["expires_at"]).timestamp() - time.time()) < 1
        assert closed_with(client) == (4401, "token expired")
    assert 0.55 < time.monotonic() - began < 3


def test_a_plain_route_sends_no_warning(server: Server) -> None:
    with connect(server, "/curious", token="ann:0.2") as client:
        assert closed_with(client) == (4401, "token expired")


@pytest.mark.parametrize(("first", "second"), [(1.5, 2.2), (60, 0.3)])
def test_a_newer_token_extends_or_shortens_the_connection(server: Server, first: float, second: float) -> None:
    with connect(server, "/refreshable", token=f"ann:{first}") as client:
        if first < 30:
            assert recv_json(client)["type"] == "auth.expiring"
        began = time.monotonic()
        client.send(f"ann:{second}")
        assert recv_json(client) == {"claims": {"seconds": str(second)}}
        assert recv_json(client)["type"] == "auth.expiring"
        assert closed_with(client) == (4401, "token expired")
        assert second - 0.05 < time.monotonic() - began < second + 2


def test_only_the_revoked_users_connections_are_closed(server: Server) -> None:
    with (
        connect(server, "/refreshable", token="ann:60") as first,
        connect(server, "/curious", token="ann:60") as second,
        connect(server, "/echo", token="bob") as other,
    ):
        assert post(server, "/hub/revoke", {"user_id": "ann"}) == 2
        assert closed_with(first) == closed_with(second) == (4401, "token revoked")
        other.send("still here")
        assert other.recv(5) == "still here"


def test_a_revocation_also_ends_a_handshake_in_progress(server: Server) -> None:
    gate = "revocation"

    def come() -> tuple[int, str]:
        with connect(server, "/curious", token=f"ann:60:{gate}", hello=True) as client:
            return closed_with(client)

    with ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(come)
        poll(lambda: get(server, "/records").json(), until=lambda seen: gate in seen, what="the resolver is asked")
        assert post(server, "/hub/revoke", {"user_id": "ann"}) == 0
        post(server, f"/release/{gate}", {})
        assert outcome.result(10) == (4401, "token revoked")
    assert introspect(server)["connections"] == 0
    with connect(server, "/curious", token="ann:60", hello=True) as client:
        assert drain_hello(client)["type"] == "hello"
