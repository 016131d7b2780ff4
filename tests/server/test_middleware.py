"""ASGI middleware around the app or inside it: hubs and plain routes work as without it (hypercorn#179, #198)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness.clients import closed_with, connect, recv_json, refused
from tests.harness.http import get
from tests.harness.polling import poll
from tests.harness.server import Server, run_server

if TYPE_CHECKING:
    from collections.abc import Iterator

APP = "tests.server.apps.behind_middleware:app"

LOGGING = ("--access-logfile", "-", "--access-logformat", "%(R)s %(q)s %(f)s %({authorization}i)s", "--keep-alive", "1")

COPYING = ["legacy ProxyFix", "modern ProxyFix", "ProxyFix inside", "deep copy", "shallow copy"]

SECRET = "TopSecret"

BEHIND_TLS = {"X-Forwarded-Proto": "https", "Forwarded": "for=203.0.113.1;proto=https;host=chat.example"}


@pytest.fixture(scope="module", params=[*COPYING, "relay", "no extensions"])
def middleware(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module", params=["auto", "asgi"])
def server(request: pytest.FixtureRequest, middleware: str) -> Iterator[Server]:
    env = {"MIDDLEWARE": middleware, "WS_TRANSPORT": request.param, "WS_CLOSE_TIMEOUT_SECONDS": "1"}
    with run_server(APP, args=LOGGING, env=env) as server:
        yield server


def test_the_hub_serves(server: Server) -> None:
    for headers in ({}, BEHIND_TLS):
        with connect(server, "/echo", headers=headers) as client:
            for message in ("text", b"binary", "x" * 60_000):
                client.send(message)
                assert client.recv(10) == message
    with connect(server, "/rooms/red/show", headers=BEHIND_TLS) as client:
        assert recv_json(client)["path_params"] == {"room": "red"}
    with connect(server, "/echo", token="bad", hello=True, headers=BEHIND_TLS) as client:
        assert closed_with(client)[0] == 4401


def test_plain_routes_serve(server: Server) -> None:
    with connect(server, "/plain/subprotocol", subprotocols=["plain.v1"], hello=True, headers=BEHIND_TLS) as client:
        assert client.subprotocol == "plain.v1"
        assert client.recv(10) == "query=token=alice"
        assert closed_with(client) == (1000, "")
    assert refused(server, "/plain/refuse", headers=BEHIND_TLS).status_code == 401
    assert refused(server, "/nowhere", headers=BEHIND_TLS).status_code == 404


def test_the_access_log_shows_no_token(server: Server, middleware: str) -> None:
    start = len(server.log())
    sources = {"Authorization": f"Bearer alice.{SECRET}", "Referer": f"http://x/?token={SECRET}", **BEHIND_TLS}
    with connect(server, "/echo", token=f"alice.{SECRET}", headers=sources):
        printed = server.wait_for_log("GET /echo", since=start)
    # The hub masks the server's own scope, which it knows if nothing copied it or the `Upgrade` in it leads there.
    is_masked = middleware == "relay" or (server.native and middleware in COPYING)
    assert ("token=***" in printed, SECRET not in printed) == (is_masked, is_masked)


def test_hypercorn_takes_part_in_a_handshake_only_if_the_middleware_hides_the_upgrade(
    server: Server, middleware: str
) -> None:
    if not server.native:
        expected = {"apps": 1, "fallbacks": 0}
    else:
        expected = {"apps": 0, "fallbacks": int(middleware == "no extensions")}
    for path in ("/echo", "/rooms/red/show"):
        with connect(server, path, headers=BEHIND_TLS):
            poll(lambda: get(server, "/hypercorns-tasks").json(), until=lambda found: found == expected)
