"""The negotiation of `permessage-deflate`, and compressed messages as the parser takes them."""

from __future__ import annotations

import random
import tracemalloc
import zlib
from typing import TYPE_CHECKING

import pytest
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from quart_wshub.protocol.errors import InvalidTextError, MessageTooBigError, PeerError, ProtocolViolationError
from quart_wshub.transport.compression import negotiate
from tests.unit.wire import (
    BINARY,
    CONTINUATION,
    PING,
    PONG,
    RSV1,
    RSV2,
    TEXT,
    Outcome,
    client_frame,
    parse,
    server_frame,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from websockets.extensions import Extension

BROWSERS_OFFER = "permessage-deflate; client_max_window_bits"
MEBIBYTE = 1 << 20
RANDOM = random.Random(1)


def agreed(offer: str = BROWSERS_OFFER) -> Sequence[Extension]:
    return negotiate(offer)[1]


def deflated(payload: bytes, *, window_bits: int = 15) -> bytes:
    """As RFC 7692 has it: a raw stream without the empty block at its end."""
    compressor = zlib.compressobj(9, wbits=-window_bits)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def compressed_frame(payload: bytes, opcode: int = TEXT) -> bytes:
    return client_frame(opcode, deflated(payload), reserved=RSV1)


def compressed_fragments(data: bytes, *cuts: int) -> list[bytes]:
    """What is compressed already, in fragments."""
    ends = [*cuts, len(data)]
    starts = [0, *cuts]
    frames = []
    for index, (start, end) in enumerate(zip(starts, ends, strict=True)):
        fin = index == len(cuts)
        opcode, reserved = (CONTINUATION, 0) if index else (BINARY, RSV1)
        frames.append(client_frame(opcode, data[start:end], fin=fin, reserved=reserved))
    return frames


def peak_of(frames: Sequence[bytes], *, limit: int) -> tuple[int, type[PeerError] | object]:
    """What parsing costs at its worst, in bytes, and how it ends."""
    extensions = agreed()
    tracemalloc.start()
    try:
        ended = parse(*frames, limit=limit, extensions=extensions).ended
        return tracemalloc.get_traced_memory()[1], ended
    finally:
        tracemalloc.stop()


class TestNegotiation:
    @pytest.mark.parametrize(
        "offer",
        [
            "permessage-deflate",
            BROWSERS_OFFER,
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            "x-webkit-deflate-frame, permessage-deflate",
            "permessage-deflate; nonsense=1, permessage-deflate",
        ],
    )
    def test_an_offer_is_accepted_without_memory_between_messages(self, offer: str) -> None:
        headers, extensions = negotiate(offer)
        assert [name for name, _ in headers] == [b"sec-websocket-extensions"]
        answer = headers[0][1].decode()
        assert answer.startswith("permessage-deflate; ")
        assert "client_no_context_takeover" in answer
        assert "server_no_context_takeover" in answer
        assert len(extensions) == 1

    @pytest.mark.parametrize(
        "offer",
        [
            "",
            " ",
            "x-webkit-deflate-frame",
            "permessage-deflate; nonsense=1",
            ";;;",
            "permessage-deflate; =",
            "ä\xff\n,",
        ],
    )
    def test_anything_else_is_answered_with_nothing(self, offer: str) -> None:
        assert negotiate(offer) == ([], ())

    @pytest.mark.parametrize(
        "offer", ["permessage-deflate", BROWSERS_OFFER, "permessage-deflate; server_max_window_bits=9"]
    )
    def test_clients_understand_the_answer(self, offer: str) -> None:
        (_, answer), *_ = negotiate(offer)[0]
        name, *parameters = [part.strip() for part in answer.decode().split(";")]
        pairs = [(key, value or None) for key, _, value in (text.partition("=") for text in parameters)]
        assert name == "permessage-deflate"
        factory = ClientPerMessageDeflateFactory(
            client_max_window_bits="client_max_window_bits" in offer or None,
            server_max_window_bits=9 if "server_max_window_bits" in offer else None,
        )
        factory.process_response_params(pairs, [])

    def test_every_connection_gets_an_extension_of_its_own(self) -> None:
        assert agreed()[0] is not agreed()[0]


class TestCompressedMessages:
    @pytest.mark.parametrize("payload", [b"", b"x", b"hello" * 100, bytes(range(256)) * 3])
    def test_arrive_between_uncompressed_ones(self, payload: bytes) -> None:
        frames = [client_frame(TEXT, b"before"), compressed_frame(payload, BINARY), client_frame(TEXT, b"after")]
        expected = Outcome(("before", payload, "after") * 2)
        assert parse(*frames * 2, extensions=agreed()) == expected
        assert parse(b"".join(frames * 2), extensions=agreed()) == expected

    def test_may_be_text_of_any_width(self) -> None:
        text = "gr\u00fc\u00dfe \N{SNOWMAN} \U0001f600"
        assert parse(compressed_frame(text.encode()), extensions=agreed()) == Outcome((text,))
        assert parse(compressed_frame(b"\xed\xa0\x80"), extensions=agreed()).ended is InvalidTextError

    def test_may_be_fragmented_anywhere_with_pings_between(self) -> None:
        payload = b"hello " * 50 + bytes(range(256))
        data = deflated(payload)
        for cut in range(len(data) + 1):
            first, second = compressed_fragments(data, cut)
            outcome = parse(first, client_frame(PING, b"p"), second, extensions=agreed())
            assert outcome == Outcome((payload,), server_frame(PONG, b"p"))

    def test_may_be_stored_or_fixed_or_in_several_blocks(self) -> None:
        parts = []
        compressor = zlib.compressobj(0, wbits=-15)
        for part in (b"stored", b"in", b"blocks"):
            parts.append(compressor.compress(part) + compressor.flush(zlib.Z_SYNC_FLUSH))
        frame = client_frame(TEXT, b"".join(parts)[:-4], reserved=RSV1)
        assert parse(frame, extensions=agreed()) == Outcome(("storedinblocks",))

    @pytest.mark.parametrize(
        "wrong",
        [
            client_frame(TEXT, b"\xff" * 20, reserved=RSV1),
            client_frame(TEXT, deflated(b"x"), reserved=RSV1 | RSV2),
            client_frame(PING, b"x", reserved=RSV1),
            client_frame(TEXT, b"x", fin=False) + client_frame(CONTINUATION, b"x", reserved=RSV1),
            client_frame(TEXT, deflated(b"x"), fin=False, reserved=RSV1) + client_frame(CONTINUATION, reserved=RSV1),
        ],
        ids=["no deflate", "another bit", "a ping", "a continuation", "a compressed continuation"],
    )
    def test_that_are_wrong_are_refused(self, wrong: bytes) -> None:
        assert parse(wrong, extensions=agreed()) == Outcome(ended=ProtocolViolationError)

    def test_that_were_not_agreed_on_are_refused(self) -> None:
        assert parse(compressed_frame(b"x")) == Outcome(ended=ProtocolViolationError)


class TestLimit:
    @pytest.mark.parametrize("limit", [1, 100, 1000, 4096, 65536])
    @pytest.mark.parametrize("content", ["zeros", "noise"])
    def test_is_exact_after_decompression(self, limit: int, content: str) -> None:
        payload = bytes(limit + 1) if content == "zeros" else RANDOM.randbytes(limit + 1)
        room = limit if len(deflated(payload[:-1])) <= limit else None
        fits, exceeds = compressed_frame(payload[:-1], BINARY), compressed_frame(payload, BINARY)
        if room is None:  # what cannot be compressed is longer than the limit on the wire already
            assert parse(fits, limit=limit, extensions=agreed()).ended is MessageTooBigError
        else:
            assert parse(fits, limit=limit, extensions=agreed()) == Outcome((payload[:-1],))
        assert parse(exceeds, limit=limit, extensions=agreed()) == Outcome(ended=MessageTooBigError)

    @pytest.mark.parametrize("over", [1, 2, 10, 100, 257, 258, 259, 300, 1000, 10_000])
    def test_holds_wherever_a_message_is_cut(self, over: int) -> None:
        """A decompressor may hold back what it was not asked for, which the next fragment then lets out."""
        data = deflated(bytes(1000 + over))
        for cut in range(len(data) + 1):
            frames = [*compressed_fragments(data, cut, cut), client_frame(TEXT, b"never seen")]
            assert parse(*frames, limit=1000, extensions=agreed()) == Outcome(ended=MessageTooBigError)


class TestBombs:
    """The limit is on what comes out, and nothing near what could come out is ever held."""

    def test_half_a_megabyte_that_would_inflate_to_512_costs_less_than_2(self) -> None:
        bomb = compressed_frame(bytes(512 * MEBIBYTE), BINARY)
        assert len(bomb) > 500_000
        pieces = [bomb[start : start + 65536] for start in range(0, len(bomb), 65536)]
        cost, ended = peak_of(pieces, limit=65536)
        assert ended is MessageTooBigError
        assert cost < 2 * MEBIBYTE
        cost, ended = peak_of([bomb], limit=65536)
        assert ended is MessageTooBigError
        assert cost < 2 * MEBIBYTE

    def test_one_within_the_limit_on_the_wire_costs_no_more(self) -> None:
        bomb = compressed_frame(bytes(60 * MEBIBYTE), BINARY)
        assert len(bomb) < 65536
        cost, ended = peak_of([bomb], limit=65536)
        assert ended is MessageTooBigError
        assert cost < MEBIBYTE

    def test_one_in_many_fragments_costs_no_more(self) -> None:
        data = deflated(bytes(60 * MEBIBYTE))
        cost, ended = peak_of(compressed_fragments(data, *range(100, len(data), 100)), limit=65536)
        assert ended is MessageTooBigError
        assert cost < MEBIBYTE

    def test_many_small_ones_cost_no_more_than_one(self) -> None:
        frame = compressed_frame(bytes(65536), BINARY)
        cost, ended = peak_of([frame] * 3, limit=65536)
        assert ended is None
        assert cost < MEBIBYTE
