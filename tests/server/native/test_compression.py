"""`permessage-deflate`: off unless asked for; then for what clients send, bounded before and after inflating."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import pytest
from websockets.sync.client import connect as websockets_connect

from tests.harness.clients import closed_with, connect, envelope, recv_json, subscribe
from tests.harness.http import get, post
from tests.harness.raw import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, RawClient, frame, raw_client, upgrade
from tests.server.native.launching import launched

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.server import Server

RSV1, RSV2 = 0x40, 0x20

LIMIT = 65536

ECHO = "/echo?token=alice"

OFFER = "permessage-deflate; client_max_window_bits"

MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def compressing_server() -> Iterator[Server]:
    env = {"WS_CLOSE_TIMEOUT_SECONDS": "1", "WS_COMPRESSION": "true", "WS_MAX_MESSAGE_BYTES": str(LIMIT)}
    with launched("hypercorn -w 1", env=env) as server:
        yield server


@pytest.fixture
def server(compressing_server: Server) -> Server:
    return compressing_server


@pytest.fixture
def client(server: Server) -> Iterator[RawClient]:
    """A raw client on the echo route, with compression agreed on."""
    with raw_client(server) as client:
        assert client.open(ECHO, {"Sec-WebSocket-Extensions": OFFER}) == 101
        assert b"hello" in client.read_frame().payload
        yield client


def deflated(payload: bytes) -> bytes:
    """As RFC 7692 has it in a message: a sync flush, without its last four bytes."""
    deflate = zlib.compressobj(wbits=-15)
    return (deflate.compress(payload) + deflate.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\x00\x00\xff\xff")


def bomb(megabytes: int) -> bytes:
    """Deflated zeros."""
    deflate = zlib.compressobj(9, wbits=-15)
    block = deflate.compress(bytes(MEGABYTE)) + deflate.flush(zlib.Z_FULL_FLUSH)
    return block * megabytes


def agreed_on(server: Server, offers: str) -> str | None:
    """What the server makes of a client's offers; the handshake itself has to work."""
    with raw_client(server) as client:
        client.send(upgrade(ECHO, {"Sec-WebSocket-Extensions": offers}))
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.socket.recv(1)
        fields = dict(line.split(": ", 1) for line in head.decode().lower().splitlines()[1:] if line)
        assert head.startswith(b"HTTP/1.1 101 ")
        client.send_frame(TEXT, b"it works")
        assert b"hello" in client.read_frame().payload
        assert client.read_frame() == (TEXT, b"it works")
        return fields.get("sec-websocket-extensions")


class TestNegotiation:
    def test_is_off_by_default(self, shared_native_server: Server) -> None:
        with connect(shared_native_server) as client:
            assert client.request is not None
            assert "permessage-deflate" in client.request.headers["Sec-WebSocket-Extensions"]
            assert client.protocol.extensions == []
            client.send("plain")
            assert client.recv(10) == "plain"

    def test_by_default_a_compressed_frame_is_1002(self, shared_native_server: Server) -> None:
        with raw_client(shared_native_server) as client:
            assert client.open(ECHO, {"Sec-WebSocket-Extensions": OFFER}) == 101
            client.send_frame(TEXT | RSV1, deflated(b"x"))
            assert client.read_close().close_code == 1002

    def test_is_on_where_it_is_asked_for(self, server: Server) -> None:
        with connect(server) as client:
            assert [extension.name for extension in client.protocol.extensions] == ["permessage-deflate"]

    def test_leaves_alone_who_does_not_offer_it(self, server: Server) -> None:
        with websockets_connect(server.ws(ECHO), compression=None, ping_interval=None, proxy=None) as client:
            assert client.response is not None
            assert "Sec-WebSocket-Extensions" not in client.response.headers

    @pytest.mark.parametrize(
        "offers",
        [
            "permessage-deflate",
            OFFER,
            "permessage-deflate; client_max_window_bits=9; server_max_window_bits=12",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            'permessage-deflate; server_max_window_bits="10"',
            "x-unknown; a=b, permessage-deflate",
            "permessage-deflate; foo=bar, permessage-deflate",
        ],
    )
    def test_agrees_to_an_offer_with_no_window_kept_between_messages(self, server: Server, offers: str) -> None:
        agreed = agreed_on(server, offers)
        assert agreed is not None
        name, *parameters = agreed.split("; ")
        assert name == "permessage-deflate"
        assert "client_no_context_takeover" in parameters
        assert ("client_max_window_bits" in agreed) <= ("client_max_window_bits" in offers)

    @pytest.mark.parametrize(
        "offers",
        [
            "permessage-deflate; foo=bar",
            "permessage-deflate; client_max_window_bits; client_max_window_bits",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits=16",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=010",
            "permessage-deflate; server_max_window_bits=many",
            "permessage-deflate;",
            "permessage-deflate; =",
            "permessage-deflate/2",
            "x-webkit-deflate-frame",
            ";",
            ", ,",
            "",
        ],
    )
    def test_goes_without_it_where_an_offer_is_broken(self, server: Server, offers: str) -> None:
        assert agreed_on(server, offers) is None


class TestInput:
    @pytest.mark.parametrize("message", ["text", "ünï¢ødé", b"binary", "", b"", "x" * LIMIT, b"\x00" * LIMIT])
    def test_of_an_ordinary_client_is_understood_and_answered(self, server: Server, message: str | bytes) -> None:
        with connect(server) as client:
            for _ in range(3):
                client.send(message)
            assert [client.recv(10) for _ in range(3)] == [message] * 3

    def test_is_answered_uncompressed(self, client: RawClient) -> None:
        client.send_frame(TEXT | RSV1, deflated(b"x" * 1000))
        first_byte = client.socket.recv(1)
        assert first_byte == bytes([0x80 | TEXT])
        assert client.socket.recv(3) == b"\x7e" + (1000).to_bytes(2, "big")

    def test_may_be_compressed_or_not_from_message_to_message(self, client: RawClient) -> None:
        for number in range(20):
            payload = b"message %d" % number
            client.send_frame(*((TEXT | RSV1, deflated(payload)) if number % 2 else (TEXT, payload)))
            assert client.read_frame() == (TEXT, payload)

    def test_may_be_in_fragments_with_control_frames_between(self, client: RawClient) -> None:
        whole = deflated(b"one message in many pieces " * 100)
        pieces = [whole[start : start + 7] for start in range(0, len(whole), 7)]
        client.send_frame(BINARY | RSV1, pieces[0], fin=False)
        for number, piece in enumerate(pieces[1:]):
            client.send_frame(PING, b"%d" % number)
            assert client.read_frame() == (PONG, b"%d" % number)
            client.send_frame(CONTINUATION, piece, fin=False)
        client.send_frame(CONTINUATION)
        assert client.read_frame() == (BINARY, b"one message in many pieces " * 100)

    @pytest.mark.parametrize(
        ("sent", "code"),
        [
            (frame(TEXT | RSV1, b"\xff" * 20), 1002),
            (frame(TEXT | RSV2, b"x"), 1002),
            (frame(PING | RSV1, deflated(b"x")), 1002),
            (frame(CONTINUATION | RSV1, deflated(b"x")), 1002),
            (frame(TEXT | RSV1, deflated(b"x"), fin=False) + frame(CONTINUATION | RSV1, b"x"), 1002),
            (frame(TEXT | RSV1, deflated(b"\xff\xff")), 1007),
        ],
        ids=["not deflated", "RSV2", "a ping", "continues nothing", "RSV1 on a continuation", "not UTF-8"],
    )
    def test_that_is_wrong_is_refused_with_its_code(self, client: RawClient, sent: bytes, code: int) -> None:
        client.send(sent)
        assert client.read_close().close_code == code
        assert client.read_to_end()

    def test_of_others_is_fanned_out_right(self, server: Server) -> None:
        with connect(server, "/ws", token="alice") as alice, connect(server, "/ws", token="bob") as bob:
            for member in (alice, bob):
                subscribe(member, "room")
            alice.send(envelope("chat.message", room="room", text="ä" * 10_000))
            for member in (alice, bob):
                assert recv_json(member)["data"] == {"from": "alice", "text": "ä" * 10_000}


class TestSizes:
    def test_are_those_after_inflating(self, server: Server) -> None:
        with connect(server) as client:
            client.send("x" * LIMIT)
            assert client.recv(10) == "x" * LIMIT
            client.send("x" * (LIMIT + 1))
            assert closed_with(client)[0] == 1009

    def test_of_all_fragments_count_together(self, client: RawClient) -> None:
        whole = deflated(b"x" * (LIMIT + 1))
        client.send_frame(TEXT | RSV1, whole[:20], fin=False)
        client.send_frame(CONTINUATION, whole[20:])
        assert client.read_close().close_code == 1009
        assert client.read_to_end()

    @pytest.mark.parametrize(("megabytes", "fits_its_frame"), [(60, True), (512, False)])
    def test_of_a_bomb_are_refused_and_cost_next_to_nothing(
        self, server: Server, megabytes: int, fits_its_frame: bool
    ) -> None:
        payload = bomb(megabytes)
        assert (len(payload) <= LIMIT) == fits_its_frame
        throw(server, payload)  # the first time costs what every first time does
        post(server, "/forget-peak-memory")
        before = get(server, "/process").json()["peak_memory"]
        for _ in range(5):
            throw(server, payload)
        assert get(server, "/process").json()["peak_memory"] - before < 2 * MEGABYTE


def throw(server: Server, payload: bytes) -> None:
    with raw_client(server) as client:
        assert client.open(ECHO, {"Sec-WebSocket-Extensions": OFFER}) == 101
        client.send_frame(BINARY | RSV1, payload)
        assert client.read_close().close_code == 1009
        client.send_frame(CLOSE, (1009).to_bytes(2, "big"))
        client.read_to_end()
