"""The parser and messages in pieces: fragments, control frames between them, text cut anywhere."""

from __future__ import annotations

import tracemalloc

import pytest
from websockets.frames import Close

from quart_wshub.protocol.errors import InvalidTextError, ProtocolViolationError
from quart_wshub.transport.parser import MessageParser
from tests.unit.wire import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    RSV1,
    TEXT,
    Outcome,
    client_frame,
    close_frame,
    parse,
    server_frame,
)

ALL_WIDTHS = "a\u00e4\u20ac\N{SNOWMAN}\U0001f600\U0010ffff\x00"
"""Characters of one to four bytes, the largest and the smallest."""

NOT_UTF_8 = {
    "a lone continuation byte": b"\x80",
    "a start byte alone": b"\xc3",
    "an overlong slash": b"\xc0\xaf",
    "an overlong null": b"\xf0\x80\x80\x80",
    "a surrogate": b"\xed\xa0\x80",
    "above the last code point": b"\xf4\x90\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "a byte that never occurs": b"\xff",
    "good, then bad": b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
}


def fragments(opcode: int, *payloads: bytes) -> list[bytes]:
    """One message in so many frames."""
    last = len(payloads) - 1
    return [
        client_frame(CONTINUATION if index else opcode, payload, fin=index == last)
        for index, payload in enumerate(payloads)
    ]


class TestFragments:
    @pytest.mark.parametrize("count", [2, 3, 10, 500])
    def test_make_one_message(self, count: int) -> None:
        assert parse(*fragments(TEXT, *[b"xy"] * count)) == Outcome(("xy" * count,))
        assert parse(*fragments(BINARY, *[b"\xff\x00"] * count)) == Outcome((b"\xff\x00" * count,))

    def test_may_be_empty(self) -> None:
        assert parse(*fragments(TEXT, b"", b"", b"")) == Outcome(("",))
        assert parse(*fragments(BINARY, b"", b"x", b"")) == Outcome((b"x",))

    def test_messages_before_and_after_stay_apart(self) -> None:
        frames = [client_frame(TEXT, b"before"), *fragments(BINARY, b"a", b"b"), client_frame(TEXT, b"after")]
        assert parse(b"".join(frames * 2)) == Outcome(("before", b"ab", "after") * 2)

    def test_pings_between_them_are_answered_at_once(self) -> None:
        parser = MessageParser(1000)
        first, second, third = fragments(TEXT, b"a", b"b", b"c")
        parser.feed(first + client_frame(PING, b"1"))
        assert parser.replies() == server_frame(PONG, b"1")
        parser.feed(second + client_frame(PING, b"2") + client_frame(PONG, b"ignored"))
        assert parser.replies() == server_frame(PONG, b"2")
        assert parser.feed(third) == ["abc"]
        assert parser.replies() == b""

    def test_a_continuation_of_nothing_is_refused(self) -> None:
        for fin in (True, False):
            frames = client_frame(TEXT, b"fine"), client_frame(CONTINUATION, b"x", fin=fin)
            assert parse(*frames) == Outcome(("fine",), b"", ProtocolViolationError)

    def test_after_a_fragmented_message_too(self) -> None:
        frames = [*fragments(TEXT, b"a", b"b"), client_frame(CONTINUATION, b"c")]
        assert parse(*frames) == Outcome(("ab",), b"", ProtocolViolationError)

    @pytest.mark.parametrize("opcode", [TEXT, BINARY])
    @pytest.mark.parametrize("fin", [True, False])
    def test_a_new_message_before_the_last_one_is_complete_is_refused(self, opcode: int, fin: bool) -> None:
        frames = client_frame(TEXT, b"unfinished", fin=False), client_frame(opcode, b"x", fin=fin)
        assert parse(*frames) == Outcome(ended=ProtocolViolationError)

    def test_a_reserved_bit_in_a_continuation_is_refused(self) -> None:
        frames = client_frame(TEXT, b"x", fin=False), client_frame(CONTINUATION, b"x", reserved=RSV1)
        assert parse(*frames) == Outcome(ended=ProtocolViolationError)

    def test_a_bad_control_frame_between_them_is_refused(self) -> None:
        first = client_frame(TEXT, b"x" * 990, fin=False)
        assert parse(first, client_frame(PING, b"x" * 126)) == Outcome(ended=ProtocolViolationError)
        assert parse(first, close_frame(1005)) == Outcome(ended=ProtocolViolationError)
        assert parse(first, client_frame(0xB)) == Outcome(ended=ProtocolViolationError)

    def test_a_close_between_them_is_answered(self) -> None:
        expected = Outcome((), server_frame(CLOSE, b"\x03\xe8"), Close(1000, ""))
        assert parse(client_frame(TEXT, b"x", fin=False), close_frame(1000)) == expected


class TestText:
    def test_of_every_width_arrives(self) -> None:
        assert parse(client_frame(TEXT, ALL_WIDTHS.encode())) == Outcome((ALL_WIDTHS,))

    def test_may_be_cut_into_fragments_inside_any_character(self) -> None:
        payload = ALL_WIDTHS.encode()
        for cut in range(len(payload) + 1):
            assert parse(*fragments(TEXT, payload[:cut], payload[cut:])) == Outcome((ALL_WIDTHS,))
        one_by_one = [payload[index : index + 1] for index in range(len(payload))]
        with_pings = b"".join(frame + client_frame(PING) for frame in fragments(TEXT, *one_by_one)[:-1])
        assert parse(with_pings, fragments(TEXT, *one_by_one)[-1]).messages == (ALL_WIDTHS,)

    @pytest.mark.parametrize("payload", NOT_UTF_8.values(), ids=NOT_UTF_8)
    def test_that_is_not_utf_8_is_refused_wherever_it_is_cut(self, payload: bytes) -> None:
        expected = Outcome(("fine",), b"", InvalidTextError)
        fine = client_frame(TEXT, b"fine")
        assert parse(fine, client_frame(TEXT, payload), client_frame(TEXT, b"never seen")) == expected
        for cut in range(len(payload) + 1):
            assert parse(fine, *fragments(TEXT, payload[:cut], payload[cut:])) == expected

    @pytest.mark.parametrize("payload", NOT_UTF_8.values(), ids=NOT_UTF_8)
    def test_the_same_bytes_are_fine_in_a_binary_message(self, payload: bytes) -> None:
        assert parse(client_frame(BINARY, payload)) == Outcome((payload,))


class TestCost:
    def test_of_a_long_message_in_small_pieces_does_not_grow_with_its_square(self) -> None:
        """Counted in bytes that `bytes` objects take in all, over a message of 2 MiB that comes 4 KiB at a time."""
        size, step = 2 << 20, 4096
        frame = client_frame(BINARY, b"\x00" * size)
        parser = MessageParser(size)
        calls = [frame[start : start + step] for start in range(0, len(frame), step)]
        tracemalloc.start()
        try:
            *first, last = calls
            for piece in first:
                tracemalloc.reset_peak()
                before = tracemalloc.get_traced_memory()[0]
                assert parser.feed(piece) == []
                grown = tracemalloc.get_traced_memory()[1] - before
                assert grown <= size // 4 + 2 * step, "each piece copied all that came before it"
            assert len(parser.feed(last)[0]) == size
        finally:
            tracemalloc.stop()
