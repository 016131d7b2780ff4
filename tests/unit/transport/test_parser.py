"""The parser against RFC 6455, case by case, in the order of the Autobahn test suite."""

from __future__ import annotations

import pytest
from websockets.frames import Close

from quart_wshub.protocol.errors import InvalidTextError, MessageTooBigError, ProtocolViolationError
from quart_wshub.transport.parser import MessageParser
from tests.unit.wire import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    RSV1,
    RSV2,
    RSV3,
    TEXT,
    VANISHED,
    Outcome,
    client_frame,
    close_frame,
    parse,
    server_frame,
)

LENGTHS = (0, 1, 125, 126, 127, 128, 65535, 65536)


class TestLengths:
    @pytest.mark.parametrize("length", LENGTHS)
    def test_text_and_binary_of_every_length_encoding_arrive_whole(self, length: int) -> None:
        frames = client_frame(TEXT, b"x" * length), client_frame(BINARY, b"\xff" * length)
        assert parse(*frames, limit=65536) == Outcome(("x" * length, b"\xff" * length))

    @pytest.mark.parametrize(("length", "length_bytes"), [(0, 2), (0, 8), (125, 2), (125, 8), (126, 8), (65535, 8)])
    def test_a_length_in_more_bytes_than_it_needs_is_taken(self, length: int, length_bytes: int) -> None:
        frames = client_frame(TEXT, b"x" * length, length_bytes=length_bytes), client_frame(TEXT, b"next")
        assert parse(*frames, limit=65536) == Outcome(("x" * length, "next"))

    @pytest.mark.parametrize("claimed", [1001, 65536, 1 << 31, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
    def test_a_length_over_the_limit_is_refused_as_soon_as_it_can_be(self, claimed: int) -> None:
        """What is at most a header longer than the limit may be waited for."""
        header = client_frame(BINARY, claimed_length=claimed)
        rest = b"x" * claimed if claimed == 1001 else b""
        assert parse(header, rest) == Outcome(ended=MessageTooBigError)

    def test_an_incomplete_frame_is_waited_for(self) -> None:
        frame = client_frame(TEXT, b"x" * 1000)
        assert parse(frame[:-1]) == Outcome()
        assert parse(frame[:-1], frame[-1:]) == Outcome(("x" * 1000,))


class TestLimit:
    @pytest.mark.parametrize("opcode", [TEXT, BINARY])
    def test_is_exact(self, opcode: int) -> None:
        for limit in (1, 4, 125, 126, 65535, 65536):
            fits, exceeds = client_frame(opcode, b"x" * limit), client_frame(opcode, b"x" * (limit + 1))
            assert len(parse(fits, limit=limit).messages) == 1
            assert parse(exceeds, limit=limit) == Outcome(ended=MessageTooBigError)

    @pytest.mark.parametrize("split", [0, 1, 2, 500, 999, 1000])
    def test_is_exact_for_fragmented_messages(self, split: int) -> None:
        def fragments(size: int) -> bytes:
            payload = b"x" * size
            first = client_frame(TEXT, payload[:split], fin=False)
            return first + client_frame(CONTINUATION, payload[split:])

        assert parse(fragments(1000), client_frame(TEXT, b"next")) == Outcome(("x" * 1000, "next"))
        assert parse(fragments(1001)) == Outcome(ended=MessageTooBigError)

    def test_counts_bytes_and_not_characters(self) -> None:
        assert parse(client_frame(TEXT, "ä".encode() * 2), limit=4) == Outcome(("ää",))
        assert parse(client_frame(TEXT, "ä".encode() * 2), limit=3) == Outcome(ended=MessageTooBigError)

    def test_holds_for_a_message_in_more_fragments_than_bytes(self) -> None:
        empty = client_frame(CONTINUATION, fin=False) * 100
        start, end = client_frame(TEXT, b"x" * 1000, fin=False), client_frame(CONTINUATION)
        assert parse(start, empty, end) == Outcome(("x" * 1000,))
        assert parse(start, empty, client_frame(CONTINUATION, b"x")) == Outcome(ended=MessageTooBigError)

    def test_what_came_before_is_still_given(self) -> None:
        stream = client_frame(TEXT, b"one") + client_frame(PING, b"p") + client_frame(TEXT, b"x" * 1001)
        assert parse(stream) == Outcome(("one",), server_frame(PONG, b"p"), MessageTooBigError)

    @pytest.mark.parametrize("limit", [1, 4, 100])
    def test_is_not_for_control_frames(self, limit: int) -> None:
        ping, bye = client_frame(PING, b"x" * 125), close_frame(4000, b"x" * 123)
        expected = server_frame(PONG, b"x" * 125) + server_frame(CLOSE, (4000).to_bytes(2, "big") + b"x" * 123)
        assert parse(ping, bye, limit=limit) == Outcome((), expected, Close(4000, "x" * 123))

    def test_is_not_used_up_by_control_frames_between_fragments(self) -> None:
        stream = client_frame(TEXT, b"x" * 999, fin=False) + client_frame(PING, b"ping")
        assert parse(stream, client_frame(CONTINUATION, b"x")) == Outcome(("x" * 1000,), server_frame(PONG, b"ping"))


class TestControlFrames:
    @pytest.mark.parametrize("payload", [b"", b"x", b"\x00\xff\xfe", b"x" * 125])
    def test_a_ping_is_answered_with_its_payload(self, payload: bytes) -> None:
        assert parse(client_frame(PING, payload)) == Outcome(replies=server_frame(PONG, payload))

    def test_every_ping_is_answered_in_order(self) -> None:
        pings = [client_frame(PING, b"%d" % number) for number in range(10)]
        pongs = [server_frame(PONG, b"%d" % number) for number in range(10)]
        assert parse(*pings) == parse(b"".join(pings)) == Outcome(replies=b"".join(pongs))

    def test_pongs_that_nobody_asked_for_are_ignored(self) -> None:
        assert parse(client_frame(PONG), client_frame(PONG, b"x"), client_frame(TEXT, b"y")) == Outcome(("y",))

    @pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
    def test_one_over_125_bytes_is_refused(self, opcode: int) -> None:
        for limit in (100, 1000):
            frame = client_frame(opcode, b"\x03\xe8" + b"x" * 124)
            assert parse(frame, limit=limit) == Outcome(ended=ProtocolViolationError)

    @pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
    def test_one_that_is_fragmented_is_refused(self, opcode: int) -> None:
        frame = client_frame(opcode, b"", fin=False)
        assert parse(frame) == Outcome(ended=ProtocolViolationError)

    @pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
    def test_an_empty_one_with_a_long_length_is_refused(self, opcode: int) -> None:
        assert parse(client_frame(opcode, b"", length_bytes=2)) == Outcome(ended=ProtocolViolationError)

    def test_every_frame_proves_life(self) -> None:
        parser = MessageParser(1000)
        stream = [client_frame(TEXT), client_frame(PING), client_frame(PONG), client_frame(BINARY, fin=False)]
        for count, frame in enumerate([*stream, client_frame(CONTINUATION), close_frame(1000)], 1):
            parser.feed(frame[:-1])
            assert parser.frames == count - 1, "half a frame proves nothing"
            parser.feed(frame[-1:])
            assert parser.frames == count


class TestReservedBitsAndOpcodes:
    @pytest.mark.parametrize("reserved", [RSV1, RSV2, RSV3, RSV1 | RSV2 | RSV3])
    @pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, PONG, CLOSE])
    def test_reserved_bits_are_refused(self, reserved: int, opcode: int) -> None:
        before = client_frame(TEXT, b"fine")
        assert parse(before, client_frame(opcode, reserved=reserved)) == Outcome(("fine",), b"", ProtocolViolationError)

    @pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF])
    def test_reserved_opcodes_are_refused(self, opcode: int) -> None:
        for fin in (True, False):
            assert parse(client_frame(opcode, b"x", fin=fin)) == Outcome(ended=ProtocolViolationError)

    @pytest.mark.parametrize("opcode", [CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG])
    @pytest.mark.parametrize("length", LENGTHS)
    def test_unmasked_frames_are_refused_by_their_header(self, opcode: int, length: int) -> None:
        header = client_frame(opcode, masked=False, claimed_length=length)
        assert parse(header) == Outcome(ended=ProtocolViolationError)


class TestClosing:
    @pytest.mark.parametrize(
        "code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
    )
    def test_every_code_that_may_be_sent_is_told_and_echoed(self, code: int) -> None:
        echo = server_frame(CLOSE, code.to_bytes(2, "big") + b"why")
        assert parse(close_frame(code, b"why")) == Outcome((), echo, Close(code, "why"))

    @pytest.mark.parametrize("code", [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
    def test_every_other_code_is_refused_and_not_echoed(self, code: int) -> None:
        assert parse(close_frame(code)) == Outcome(ended=ProtocolViolationError)

    def test_no_code_is_1005_and_echoed_as_none(self) -> None:
        assert parse(close_frame()) == Outcome((), server_frame(CLOSE), Close(1005, ""))

    def test_half_a_code_is_refused(self) -> None:
        assert parse(client_frame(CLOSE, b"\x03")) == Outcome(ended=ProtocolViolationError)

    def test_the_reason_is_utf_8(self) -> None:
        assert parse(close_frame(1000, "grüße".encode())).ended == Close(1000, "grüße")
        assert parse(close_frame(1000, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xed\xa0\x80")).ended is InvalidTextError

    @pytest.mark.parametrize("after", [client_frame(TEXT, b"x"), client_frame(PING), close_frame(1001), b"\xff" * 99])
    def test_nothing_after_it_counts(self, after: bytes) -> None:
        alone = parse(close_frame(1000))
        assert parse(close_frame(1000), after) == parse(close_frame(1000) + after) == alone
        assert parse(close_frame(1000), after, eof=True) == alone

    def test_between_fragments_it_is_a_close_like_any_other(self) -> None:
        stream = client_frame(TEXT, b"unfinished", fin=False) + close_frame(1001, b"away")
        assert parse(stream, client_frame(CONTINUATION, b"x")).ended == Close(1001, "away")

    def test_the_end_of_the_stream_without_it_is_1006(self) -> None:
        assert parse(client_frame(TEXT, b"x"), eof=True) == Outcome(("x",), b"", VANISHED)
        assert parse(client_frame(TEXT, b"x")[:-1], eof=True) == Outcome((), b"", VANISHED)

    def test_the_end_of_the_stream_does_not_hide_an_error(self) -> None:
        assert parse(client_frame(3), eof=True).ended is ProtocolViolationError
