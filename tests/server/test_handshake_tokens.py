"""Where a handshake may carry the bearer token, and what the response shows of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.clients import closed_with, connect, recv_json
from tests.harness.raw import CLOSE, TEXT, raw_client

if TYPE_CHECKING:
    from tests.harness.server import Server

HEADER = {"Authorization": "Bearer bob"}


def user_of(server: Server, path: str = "/show", **options: Any) -> str:
    with connect(server, path, **options) as client:
        user: str = recv_json(client)["user_id"]
        return user


def test_a_token_in_the_query_is_accepted(server: Server) -> None:
    assert user_of(server, token="alice") == "alice"


def test_a_token_in_the_authorization_header_is_accepted_however_the_scheme_is_written(server: Server) -> None:
    for scheme in ("Bearer", "bearer", "BEARER", "Bearer  "):
        assert user_of(server, token=None, headers={"Authorization": f"{scheme} bob"}) == "bob"


@pytest.mark.both_transports
def test_a_token_in_the_subprotocols_is_accepted_and_only_bearer_is_echoed(server: Server) -> None:
    with connect(server, "/show", token=None, subprotocols=["bearer", "carol"]) as client:
        assert recv_json(client)["user_id"] == "carol"
        assert client.subprotocol == "bearer"
        assert client.response is not None
        assert "carol" not in str(client.response.headers)


def test_the_subprotocol_precedes_the_header_which_precedes_the_query(server: Server) -> None:
    assert user_of(server, token="alice", headers=HEADER, subprotocols=["bearer", "carol"]) == "carol"
    assert user_of(server, token="alice", headers=HEADER) == "bob"


def test_the_first_source_present_wins_even_when_it_is_bad(server: Server) -> None:
    sources: list[dict[str, Any]] = [
        {"subprotocols": ["bearer", "bad"], "headers": HEADER},
        {"headers": {"Authorization": "Bearer bad"}},
        {"headers": {"Authorization": "Bearer "}},
    ]
    for source in sources:
        with connect(server, "/show", token="alice", hello=True, **source) as client:
            assert closed_with(client)[0] == 4401


def test_bearer_without_a_token_is_not_a_source(server: Server) -> None:
    with connect(server, "/show", token="alice", subprotocols=["bearer"]) as client:
        assert recv_json(client)["user_id"] == "alice"
        assert client.subprotocol == "bearer"


def test_another_authorization_scheme_is_not_a_source(server: Server) -> None:
    assert user_of(server, token="alice", headers={"Authorization": "Basic Zm9v"}) == "alice"


@pytest.mark.both_transports
def test_without_a_valid_token_the_socket_is_accepted_and_then_closed_with_4401(server: Server) -> None:
    missing, invalid = "token missing", "token invalid or expired"
    for token, reason in {None: missing, "": missing, "bad": invalid, "expired": invalid}.items():
        with connect(server, "/show", token=token, hello=True) as client:
            assert closed_with(client) == (4401, reason)


@pytest.mark.both_transports
def test_the_refusal_is_the_first_and_only_frame(server: Server) -> None:
    with raw_client(server, "/show?token=bad") as client:
        answer = client.read_frame()
        assert (answer.opcode, answer.close_code) == (CLOSE, 4401)
        client.send_frame(CLOSE, answer.payload[:2])
        assert client.read_to_end()


@pytest.mark.both_transports
def test_a_refused_browser_gets_its_subprotocol_without_which_it_sees_no_close_code(server: Server) -> None:
    with connect(server, "/show", token=None, subprotocols=["bearer", "bad"], hello=True) as client:
        assert client.subprotocol == "bearer"
        assert closed_with(client)[0] == 4401


@pytest.mark.both_transports
def test_the_app_may_choose_another_offered_subprotocol(server: Server) -> None:
    choices = {
        "bearer alice v1.test": "v1.test",
        "v2.test bearer alice": "v2.test",
        "v1.test v2.test bearer alice": "v1.test",
        "unheard.of bearer alice": "bearer",
    }
    for offered, chosen in choices.items():
        with connect(server, "/show", token=None, subprotocols=offered.split()) as client:
            assert client.subprotocol == chosen
            assert recv_json(client)["subprotocol"] == chosen


@pytest.mark.both_transports
def test_an_unknown_subprotocol_is_not_echoed(server: Server) -> None:
    with connect(server, "/show", subprotocols=["unheard.of"]) as client:
        assert client.subprotocol is None


def test_a_token_that_reads_like_a_subprotocol_is_never_echoed(server: Server) -> None:
    with connect(server, "/show", token=None, subprotocols=["bearer", "v1.test"]) as client:
        assert recv_json(client)["user_id"] == "v1.test".partition(".")[0]
        assert client.subprotocol == "bearer"


def test_a_resolver_may_be_sync(server: Server) -> None:
    assert user_of(server, "/below/show", token="dave") == "dave"


def test_claims_reach_the_handler(server: Server) -> None:
    with connect(server, "/show", token="claims") as client:
        assert recv_json(client)["claims"] == {"role": "admin"}


def test_a_socket_whose_token_expires_is_closed_with_4401(server: Server) -> None:
    with connect(server, "/echo", token="brief") as client:
        client.send("still here")
        assert client.recv(10) == "still here"
        assert closed_with(client) == (4401, "token expired")


@pytest.mark.both_transports
def test_the_handshake_a_handler_sees_holds_no_token(server: Server) -> None:
    headers = {"Authorization": "Bearer hidden.in-header", "Referer": "http://example/?token=hidden.in-referer"}
    with connect(
        server,
        "/rooms/42/show",
        token="hidden.in-query",
        headers=headers,
        subprotocols=["bearer", "alice.hidden"],
        a="b",
    ) as client:
        message = client.recv(10)
        assert isinstance(message, str)
        assert "hidden" not in message
        assert '"a":"b"' in message
        assert '"room":"42"' in message


@pytest.mark.both_transports
def test_text_frames_may_follow_the_upgrade_at_once(server: Server) -> None:
    with raw_client(server, "/echo?token=alice") as client:
        client.send_frame(TEXT, b"early")
        assert b'"hello"' in client.read_frame().payload
        assert client.read_frame() == (TEXT, b"early")
