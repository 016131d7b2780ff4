"""No log line shows a token, wherever the client puts it and whatever log format the operator chose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.clients import closed_with, connect, refused
from tests.harness.raw import TEXT, raw_client
from tests.harness.server import Server, run_server

if TYPE_CHECKING:
    from collections.abc import Iterator

FORMAT = "%(R)s %(Uq)s %(q)s %(f)s %({authorization}i)s %({sec-websocket-protocol}i)s"

SECRET = "TopSecret"  # part of every token below, and of nothing else


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    args = ("--access-logfile", "-", "--access-logformat", FORMAT, "--log-level", "debug")
    with run_server(args=args, env={"WS_ALLOWED_ORIGINS": "http://ok.example"}) as server:
        yield server


SOURCES: list[dict[str, Any]] = [
    {"token": f"alice.{SECRET}"},
    {"token": None, "headers": {"Authorization": f"Bearer alice.{SECRET}"}},
    {"token": None, "headers": {"authorization": f"bearer   alice.{SECRET}"}},
    {"token": None, "subprotocols": ["bearer", f"alice.{SECRET}"]},
    {"token": None, "subprotocols": ["v1.test", "Bearer", f"alice.{SECRET}"]},
    {"token": "alice", "headers": {"Referer": f"http://ok.example/?a=b&token={SECRET}"}},
    {"token": f"alice.{SECRET}", "subprotocols": ["bearer", f"bob.{SECRET}"]},
]


def test_the_access_log_shows_no_token(server: Server) -> None:
    for source in SOURCES:
        start = len(server.log())
        with connect(server, "/echo", hello=True, **source):
            printed = server.wait_for_log("GET /echo", since=start)
        assert SECRET not in printed
        assert "***" in printed


def test_the_access_log_shows_the_query_with_the_token_masked(server: Server) -> None:
    with connect(server, "/echo", token=f"alice.{SECRET}", room="42"):
        server.wait_for_log("GET /echo?token=***&room=42 ")


def test_a_refused_handshake_logs_no_token(server: Server) -> None:
    for source in SOURCES:
        headers = {**source.get("headers", {}), "Origin": "http://evil.example"}
        assert refused(server, **{**source, "headers": headers}).status_code == 403
    assert refused(server, "/nowhere", token=f"alice.{SECRET}").status_code == 404
    assert SECRET not in server.log()


@pytest.mark.logs_errors
def test_a_resolver_whose_error_quotes_the_token_logs_no_token(server: Server) -> None:
    for user in ("raising", "nested"):
        start = len(server.log())
        with connect(server, token=f"{user}.{SECRET}", hello=True) as client:
            assert closed_with(client)[0] == 1011
        printed = server.log()[start:]
        assert "cannot decode ***" in printed
        assert "Traceback" in printed
        assert SECRET not in printed


@pytest.mark.logs_errors
def test_a_handler_that_fails_logs_no_token(server: Server) -> None:
    with connect(server, "/boom", token=f"alice.{SECRET}") as client:
        client.send("x")
        assert closed_with(client)[0] == 1011
    assert SECRET not in server.wait_for_log("handler failed")


def test_the_token_in_the_query_is_masked_however_it_is_written(server: Server) -> None:
    spellings = [
        "token={}",
        "Token={}",
        "a=1&token={}&b=2",
        "token={}&token={}",
        "%74oken={}",
        "token=a;{}",
        "token=a%26{}",
    ]
    for spelling in spellings:
        start = len(server.log())
        with raw_client(server, "/echo?" + spelling.replace("{}", SECRET)) as client:
            client.send_frame(TEXT, b"x")
            client.read_frame()
            assert SECRET not in server.wait_for_log("GET /echo", since=start)


def test_two_headers_of_a_kind_are_both_masked(server: Server) -> None:
    start = len(server.log())
    lines = f"Bearer alice\r\nAuthorization: Bearer {SECRET}\r\nSec-WebSocket-Protocol: bearer,{SECRET}"
    with raw_client(server) as client:
        client.open("/echo", {"Authorization": lines})
        assert SECRET not in server.wait_for_log("GET /echo", since=start)


def test_only_the_scheme_of_an_authorization_header_is_shown(server: Server) -> None:
    for value in (SECRET, f"Bearer\t{SECRET}", f"Basic {SECRET}", f"Bearer a {SECRET}"):
        start = len(server.log())
        with raw_client(server) as client:
            client.open("/echo", {"Authorization": value})
            assert SECRET not in server.wait_for_log("GET /echo", since=start)
