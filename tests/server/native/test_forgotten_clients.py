"""HTTP clients that go, at whatever moment: hypercorn keeps the sockets of some for seconds, of others for good."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.harness.footprint import Footprint, footprint
from tests.harness.polling import poll
from tests.harness.raw import RawClient
from tests.server.native.http2 import http2_client

if TYPE_CHECKING:
    from tests.harness.server import Server

ASK = b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n"
OFFER = b"GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
"""While a client offers another protocol, h11 has hypercorn wait for the response before it reads on."""

SOON_SECONDS = 2
"""Less than `keep_alive_timeout`."""


def forgotten_soon(server: Server, before: Footprint) -> None:
    start = time.monotonic()
    poll(lambda: footprint(server), until=before.covers)
    assert time.monotonic() - start < SOON_SECONDS


@pytest.mark.parametrize("request_sent", [ASK, OFFER, OFFER + ASK, ASK + ASK, ASK[:20], OFFER + b"\xff"])
@pytest.mark.parametrize("end", [RawClient.close, RawClient.reset])
def test_before_the_answer(server: Server, request_sent: bytes, end: object) -> None:
    before = footprint(server)
    for _ in range(50):
        client = RawClient(server)
        client.send(request_sent)
        end(client)  # type: ignore[operator]
    forgotten_soon(server, before)


def test_in_the_middle_of_a_big_answer(server: Server) -> None:
    before = footprint(server)
    for _ in range(5):
        client = RawClient(server, receive_buffer=4096)
        client.send(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.read_response() == 200
        client.close()
    forgotten_soon(server, before)


def test_after_the_answer(server: Server) -> None:
    before = footprint(server)
    for _ in range(20):
        client = RawClient(server)
        client.send(ASK)
        assert client.read_response() == 404
        client.close()
    forgotten_soon(server, before)


def test_over_http2(server: Server) -> None:
    before = footprint(server)
    for _ in range(10):
        with http2_client(server) as client:
            assert client.get("/nowhere")[0] == 404
            client.request("/big")
    forgotten_soon(server, before)
