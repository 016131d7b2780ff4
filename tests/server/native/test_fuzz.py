"""Random and mutated bytes against a live server: it answers the next request, and keeps nothing of any of them.

Every example is one connection. `HYPOTHESIS_PROFILE=thorough` makes that thousands.
"""

from __future__ import annotations

import itertools
import socket
import struct
from typing import TYPE_CHECKING

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.http import get
from tests.harness.raw import BINARY, CLOSE, CONTINUATION, PING, TEXT, frame, upgrade
from tests.server.native.launching import launched

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.server import Server

PATHS = (
    "/echo?token=fuzz",
    "/ws?token=fuzz",
    "/deaf?token=fuzz",
    "/leave?token=fuzz",
    "/echo?token=bad",
    "/plain/echo",
)

DEFLATE = {"Sec-WebSocket-Extensions": "permessage-deflate"}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    env = {"WS_CLOSE_TIMEOUT_SECONDS": "0.5", "WS_COMPRESSION": "true", "WS_MAX_MESSAGE_BYTES": "2000"}
    with launched("hypercorn -w 1", env=env) as server:
        yield server


def preface_of_http2() -> bytes:
    """A WebSocket handshake and a request, over HTTP/2."""
    client = H2Connection(H2Configuration(client_side=True))
    client.initiate_connection()
    common = [(":scheme", "http"), (":authority", "x")]
    websocket = [(":method", "CONNECT"), (":protocol", "websocket"), (":path", PATHS[0]), *common]
    client.send_headers(1, [*websocket, ("sec-websocket-version", "13")])
    client.send_data(1, frame(TEXT, b"hello") + frame(CLOSE, (1000).to_bytes(2, "big")))
    client.send_headers(3, [(":method", "GET"), (":path", "/process"), *common], end_stream=True)
    return client.data_to_send()


@st.composite
def mutated(draw: st.DrawFn, originals: st.SearchStrategy[bytes]) -> bytes:
    """Some bytes changed, some left out, some put in, or the end cut off."""
    data = bytearray(draw(originals))
    for _ in range(draw(st.integers(0, 6))):
        where = draw(st.integers(0, max(0, len(data) - 1)))
        change = draw(st.sampled_from(["set", "insert", "delete", "cut"]))
        if change == "set" and data:
            data[where] = draw(st.integers(0, 255))
        elif change == "insert":
            data[where:where] = draw(st.binary(min_size=1, max_size=20))
        elif change == "delete":
            del data[where : where + draw(st.integers(1, 20))]
        elif change == "cut":
            del data[where:]
    return bytes(data)


payloads = st.one_of(
    st.binary(max_size=130),
    st.sampled_from(
        [b"", b"\xff", b"{}", b'{"type":"ping"}', b'{"type":"subscribe","data":{}}', b"x" * 2000, b"x" * 2001]
    ),
)
frames = st.lists(
    st.builds(frame, st.sampled_from([TEXT, BINARY, CONTINUATION, PING, CLOSE]), payloads, fin=st.booleans()),
    max_size=8,
).map(b"".join)
handshakes = st.builds(upgrade, st.sampled_from(PATHS), st.sampled_from([None, DEFLATE]))
endings = st.sampled_from(["close", "reset", "half-close and read", "read a little"])
cuts = st.lists(st.integers(0, 3000), max_size=4)


def attack(server: Server, stream: bytes, cuts: list[int], ending: str) -> None:
    """Send it, cut into pieces, and go."""
    with socket.create_connection(("127.0.0.1", server.port), 10) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            ends = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
            for start, end in itertools.pairwise(ends):
                client.sendall(stream[start:end])
            if ending == "half-close and read":
                client.shutdown(socket.SHUT_WR)
                while client.recv(65536):
                    pass
            elif ending == "read a little":
                client.settimeout(0.02)
                client.recv(65536)
        except OSError:
            pass
        if ending == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert get(server, "/process").status == 200


@given(st.binary(max_size=600), cuts, endings)
def test_random_bytes(server: Server, stream: bytes, cuts: list[int], ending: str) -> None:
    attack(server, stream, cuts, ending)


@pytest.mark.logs_errors  # Quart fails with a traceback where the Host header is none
@given(mutated(handshakes), cuts, endings)
def test_mutated_handshakes(server: Server, stream: bytes, cuts: list[int], ending: str) -> None:
    attack(server, stream, cuts, ending)


@given(handshakes, st.binary(max_size=600), cuts, endings)
def test_random_bytes_behind_a_handshake(
    server: Server, handshake: bytes, garbage: bytes, cuts: list[int], ending: str
) -> None:
    attack(server, handshake + garbage, [len(handshake), *cuts], ending)


@pytest.mark.logs_errors  # the app's handler fails where the name of a field it reads has changed
@given(handshakes, mutated(frames), cuts, endings)
def test_mutated_frames_behind_a_handshake(
    server: Server, handshake: bytes, stream: bytes, cuts: list[int], ending: str
) -> None:
    attack(server, handshake + stream, [len(handshake), *cuts], ending)


@given(mutated(st.just(preface_of_http2())), cuts, endings)
def test_mutated_http2(server: Server, stream: bytes, cuts: list[int], ending: str) -> None:
    attack(server, stream, cuts, ending)
