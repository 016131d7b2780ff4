"""What is recognised as a plain upgrade request, and that h11 and hypercorn read the same out of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h11
import pytest
from hypercorn.protocol.ws_stream import Handshake
from hypothesis import given
from hypothesis import strategies as st

from quart_wshub.transport.hypercorn.request import MAX_BYTES, parse_plain_request

if TYPE_CHECKING:
    from collections.abc import Sequence

FIELDS = (
    b"Host: example.com",
    b"Upgrade: websocket",
    b"Connection: keep-alive, Upgrade",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
LINE = b"GET /ws?token=a HTTP/1.1"


def request(line: bytes = LINE, *more: bytes, without: bytes = b"nothing") -> bytes:
    kept = [field for field in FIELDS if not field.lower().startswith(without.lower())]
    return b"\r\n".join([line, *kept, *more, b"", b""])


def test_says_what_was_asked_for() -> None:
    data = request(
        b"GET /a%20b/ws?token=x?y HTTP/1.1", b"sec-websocket-PROTOCOL: bearer,  x.y ,v1", b"Origin:  http://a \t"
    )

    plain = parse_plain_request(data)

    assert plain is not None
    assert (plain.head, plain.raw_path, plain.path, plain.query) == (data, b"/a%20b/ws", "/a b/ws", b"token=x?y")
    assert plain.key == b"dGhlIHNhbXBsZSBub25jZQ=="
    assert plain.subprotocols == ["bearer", "x.y", "v1"]
    assert plain.headers[0] == (b"host", b"example.com")
    assert plain.headers[-1] == (b"origin", b"http://a")


def test_shows_no_token() -> None:
    plain = parse_plain_request(request(b"GET /ws?token=SECRET HTTP/1.1", b"Sec-WebSocket-Protocol: bearer, SECRET"))

    assert plain is not None
    assert "SECRET" not in repr(plain)


NOT_PLAIN = {
    "nothing": b"",
    "half a head": request()[:-2],
    "a frame behind it": request() + b"\x81\x80abcd",
    "a second request behind it": request() + request(),
    "an empty line before it": b"\r\n" + request(),
    "bare line feeds": request().replace(b"\r\n", b"\n"),
    "one bare line feed": request(LINE, b"A: b\nC: d"),
    "another method": request(b"POST /ws HTTP/1.1"),
    "a method in lower case": request(b"get /ws HTTP/1.1"),
    "HTTP/1.0": request(b"GET /ws HTTP/1.0"),
    "HTTP/1.2": request(b"GET /ws HTTP/1.2"),
    "an absolute target": request(b"GET http://example.com/ws HTTP/1.1"),
    "no target": request(b"GET  HTTP/1.1"),
    "a space in the target": request(b"GET /w s HTTP/1.1"),
    "a target that is not ASCII": request(b"GET /\xff HTTP/1.1"),
    "a control character in the target": request(b"GET /\x7f HTTP/1.1"),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "h2c": request(LINE, b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA", without=b"upgrade"),
    "no host": request(without=b"host"),
    "no upgrade": request(without=b"upgrade"),
    "another upgrade": request(LINE, b"Upgrade: websocket, h2c", without=b"upgrade"),
    "no connection": request(without=b"connection"),
    "another connection": request(LINE, b"Connection: upgrades", without=b"connection"),
    "no version": request(without=b"sec-websocket-version"),
    "another version": request(LINE, b"Sec-WebSocket-Version: 12", without=b"sec-websocket-version"),
    "no key": request(without=b"sec-websocket-key"),
    "an empty key": request(LINE, b"Sec-WebSocket-Key:", without=b"sec-websocket-key"),
    "a body": request(LINE, b"Content-Length: 1"),
    "no body, but said so": request(LINE, b"Content-Length: 0"),
    "chunks": request(LINE, b"Transfer-Encoding: chunked"),
    "a client that waits": request(LINE, b"Expect: 100-continue"),
    "two hosts": request(LINE, b"host: other.example"),
    "two of any header": request(LINE, b"A: 1", b"a: 2"),
    "a folded header": request(LINE, b"A: b\r\n c"),
    "a header that begins with a space": request(LINE, b" A: b"),
    "a space before the colon": request(LINE, b"A : b"),
    "a header with no colon": request(LINE, b"A"),
    "a header with no name": request(LINE, b": b"),
    "a value that is not ASCII": request(LINE, b"A: \xe4"),
    "a control character in a value": request(LINE, b"A: b\x00c"),
    "too much": request(LINE, b"A: " + b"x" * MAX_BYTES),
}


@pytest.mark.parametrize("data", NOT_PLAIN.values(), ids=NOT_PLAIN)
def test_is_nothing_else(data: bytes) -> None:
    assert parse_plain_request(request()) is not None
    assert parse_plain_request(data) is None


REQUEST_LINES = st.sampled_from([LINE, b"GET / HTTP/1.1", b"GET /%e4?%s=;&# HTTP/1.1", b"GET /{}|\\^`<> HTTP/1.1"])
NAMES = st.sampled_from(
    [b"Host", b"Upgrade", b"Connection", b"Sec-WebSocket-Protocol", b"Sec-WebSocket-Version", b"Content-Length", b"x_y"]
)
VALUES = st.sampled_from(
    [b"websocket", b"WebSocket", b"upgrade", b"close , Upgrade", b"13", b"a, b,,c", b" \ta  b\t ", b"\tb\tc", b""]
) | st.binary(max_size=6)
HEADERS = st.lists(st.sampled_from(FIELDS) | st.builds(b"%s:%s".__mod__, st.tuples(NAMES, VALUES)), max_size=3)


@given(
    REQUEST_LINES | st.binary(max_size=12), st.permutations(FIELDS), HEADERS, st.integers(0, 5), st.binary(max_size=2)
)
def test_h11_and_hypercorn_read_the_same(
    line: bytes, fields: Sequence[bytes], more: Sequence[bytes], place: int, end: bytes
) -> None:
    lines = [*fields[:place], *more, *fields[place:]]
    data = b"\r\n".join([line, *lines, b"", b""]) + end
    plain = parse_plain_request(data)
    if plain is not None:
        assert_read_alike(data)


@pytest.mark.parametrize("position", range(len(request())))
def test_with_any_byte_changed_too(position: int) -> None:
    data = request()
    for byte in range(256):
        changed = data[:position] + bytes([byte]) + data[position + 1 :]
        if parse_plain_request(changed) is not None:
            assert_read_alike(changed)


def assert_read_alike(data: bytes) -> None:
    plain = parse_plain_request(data)
    assert plain is not None
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    event = connection.next_event()
    assert isinstance(event, h11.Request)
    assert (event.method, event.http_version) == (b"GET", b"1.1")
    assert event.target.partition(b"?")[::2] == (plain.raw_path, plain.query)
    assert list(event.headers) == plain.headers
    assert connection.next_event() is not h11.NEED_DATA
    assert connection.trailing_data[0] == b""
    handshake = Handshake(plain.headers, "1.1")
    assert handshake.is_valid()
    assert (handshake.key, handshake.subprotocols or []) == (plain.key, plain.subprotocols)
