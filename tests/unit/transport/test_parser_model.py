"""The parser against `websockets.protocol.Protocol` as a model, and against itself fed otherwise."""

from __future__ import annotations

import zlib
from itertools import pairwise
from typing import TYPE_CHECKING

from hypothesis import example, given
from hypothesis import strategies as st
from websockets.exceptions import PayloadTooBig
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import Protocol, Side

from quart_wshub.protocol.errors import InvalidTextError, MessageTooBigError, PeerError, ProtocolViolationError
from quart_wshub.transport.compression import negotiate
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
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from websockets.extensions import Extension

LIMIT = 5000
"""More than the streams below can hold in one message, unless a frame claims more than it has: `websockets` counts
control frames between fragments towards the limit, and the parser does not."""

DOCUMENTED = (InvalidTextError, MessageTooBigError, ProtocolViolationError)


def model(stream: bytes, extensions: Sequence[Extension] = ()) -> Outcome:
    """What `websockets` makes of a stream that comes a byte at a time, put into the parser's words."""
    protocol = Protocol(Side.SERVER, max_size=LIMIT)
    protocol.extensions = list(extensions)
    messages: list[str | bytes] = []
    fragments: list[Frame] = []
    for index in range(len(stream)):
        protocol.receive_data(stream[index : index + 1])
        for event in protocol.events_received():
            assert isinstance(event, Frame)
            if event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                fragments.append(event)
            if fragments and fragments[-1] is event and event.fin:
                payload = b"".join(bytes(fragment.data) for fragment in fragments)
                is_text = fragments[0].opcode is Opcode.TEXT
                fragments.clear()
                try:
                    messages.append(payload.decode() if is_text else payload)
                except UnicodeDecodeError:
                    return Outcome(tuple(messages), sent(protocol), InvalidTextError)
        if protocol.parser_exc is not None:
            return Outcome(tuple(messages), ended=translated(protocol.parser_exc))
        if protocol.close_rcvd is not None:
            return Outcome(tuple(messages), sent(protocol), protocol.close_rcvd)
    return Outcome(tuple(messages), sent(protocol))


def sent(protocol: Protocol) -> bytes:
    return b"".join(protocol.data_to_send())


def translated(error: Exception) -> type[PeerError]:
    if isinstance(error, PayloadTooBig):
        return MessageTooBigError
    return InvalidTextError if isinstance(error, UnicodeDecodeError) else ProtocolViolationError


def without_replies_after_an_error(outcome: Outcome) -> Outcome:
    """The model mixes the pongs that were due with its own close frame."""
    if isinstance(outcome.ended, type) and outcome.ended is not InvalidTextError:
        return Outcome(outcome.messages, b"", outcome.ended)
    return outcome


def split(stream: bytes, cuts: Sequence[int]) -> Iterator[bytes]:
    ends = sorted({cut % (len(stream) + 1) for cut in cuts} | {0, len(stream)})
    for start, end in pairwise(ends):
        yield stream[start:end]


def one_by_one(stream: bytes) -> Iterator[bytes]:
    return (stream[index : index + 1] for index in range(len(stream)))


control_frames = st.builds(client_frame, st.sampled_from([PING, PONG]), st.binary(max_size=125))
close_frames = st.one_of(
    st.just(close_frame()),
    st.builds(
        lambda code, reason: close_frame(code, reason.encode()),
        st.sampled_from([1000, 1001, 1011, 3000, 4000, 4999]),
        st.text(max_size=30),
    ),
)
sizes = st.sampled_from([0, 1, 124, 125, 126, 127, 128, 300])
payloads = st.one_of(
    st.text(max_size=40).map(str.encode),
    sizes.map(lambda size: b"x" * size),
    st.text("ä\U0001f600", max_size=60).map(str.encode),
)


@st.composite
def messages(draw: st.DrawFn, *, compressible: bool) -> bytes:
    """One message in one or several fragments, with control frames between them."""
    opcode = draw(st.sampled_from([TEXT, TEXT, BINARY]))
    payload = draw(payloads if opcode == TEXT else st.one_of(payloads, st.binary(max_size=200)))
    reserved = 0
    if compressible and draw(st.booleans()):
        compressor = zlib.compressobj(wbits=-15)
        payload = (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
        reserved = RSV1
    pieces = list(split(payload, draw(st.lists(st.integers(0, 300), max_size=3)))) or [b""]
    wire = b""
    for index, piece in enumerate(pieces):
        fin = index == len(pieces) - 1
        length_bytes = draw(st.sampled_from([None, None, None, 2 if len(piece) < 65536 else 8, 8]))
        wire += client_frame(
            CONTINUATION if index else opcode,
            piece,
            fin=fin,
            reserved=0 if index else reserved,
            length_bytes=length_bytes,
        )
        if not fin:
            wire += b"".join(draw(st.lists(control_frames, max_size=2)))
    return wire


def streams(*, compressible: bool) -> st.SearchStrategy[bytes]:
    """What well-behaved clients send, up to a close frame or to where it is cut off."""
    body = st.lists(st.one_of(messages(compressible=compressible), control_frames), max_size=6).map(b"".join)
    end = st.one_of(st.just(b""), close_frames, messages(compressible=compressible).map(lambda wire: wire[:-1]))
    return st.builds(bytes.__add__, body, end)


cuts = st.lists(st.integers(min_value=0, max_value=10_000), max_size=8)


@given(streams(compressible=False), cuts)
def test_any_split_of_a_good_stream_gives_what_the_model_gives(stream: bytes, cuts: list[int]) -> None:
    expected = model(stream)
    assert parse(stream, limit=LIMIT) == expected
    assert parse(split(stream, cuts), limit=LIMIT) == expected
    assert parse(one_by_one(stream), limit=LIMIT) == expected


@given(streams(compressible=True), cuts)
def test_any_split_of_a_good_compressed_stream_too(stream: bytes, cuts: list[int]) -> None:
    offer = "permessage-deflate"
    expected = model(stream, negotiate(offer)[1])
    assert parse(stream, limit=LIMIT, extensions=negotiate(offer)[1]) == expected
    assert parse(split(stream, cuts), limit=LIMIT, extensions=negotiate(offer)[1]) == expected
    assert parse(one_by_one(stream), limit=LIMIT, extensions=negotiate(offer)[1]) == expected


def odd_frames(opcodes: Sequence[int], claims: Sequence[int]) -> st.SearchStrategy[bytes]:
    """Frames of which anything may be wrong; `claims` are lengths that they may claim whatever they hold."""
    return st.builds(
        client_frame,
        st.sampled_from(opcodes),
        st.one_of(payloads, st.binary(max_size=130)),
        fin=st.booleans(),
        reserved=st.sampled_from([0] * 6 + [0x10, 0x20, 0x40, 0x70]),
        masked=st.sampled_from([True] * 7 + [False]),
        claimed_length=st.one_of(st.none(), st.sampled_from(claims)),
    )


bad_streams = st.lists(
    st.one_of(
        messages(compressible=False),
        odd_frames(range(3), [0, 1, 125, 126, 1000, LIMIT + 1, 65536, 1 << 63]),
        odd_frames(range(3, 16), [0, 1, 125, 126, 1000]),
    ),
    max_size=6,
).map(b"".join)


@given(bad_streams, cuts)
@example(client_frame(TEXT, b"x", fin=False) + client_frame(TEXT, b"x"), [])
@example(client_frame(CLOSE, b"\x03"), [1])
def test_any_split_of_a_bad_stream_ends_as_the_model_does(stream: bytes, cuts: list[int]) -> None:
    """The zeros behind it are an unmasked frame, so that every stream ends, and at the same place."""
    stream += bytes(LIMIT + 20)
    expected = without_replies_after_an_error(model(stream))
    ours = parse(stream, limit=LIMIT)
    assert parse(split(stream, cuts), limit=LIMIT) == ours
    assert parse(one_by_one(stream), limit=LIMIT) == ours
    if isinstance(ours.ended, Close) and expected.ended is ProtocolViolationError:
        return  # the model refuses a close frame between fragments, which RFC 6455 allows
    assert without_replies_after_an_error(ours) == expected


@given(st.binary(max_size=300), cuts, st.booleans())
def test_random_bytes_never_raise_and_end_in_a_documented_state(garbage: bytes, cuts: list[int], eof: bool) -> None:
    outcome = parse(split(garbage, cuts), limit=LIMIT, extensions=negotiate("permessage-deflate")[1], eof=eof)
    assert_documented(outcome, eof=eof)


@given(
    streams(compressible=True),
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), min_size=1, max_size=5),
    cuts,
    st.booleans(),
)
def test_mutated_streams_never_raise_and_end_in_a_documented_state(
    stream: bytes, mutations: list[tuple[int, int]], cuts: list[int], eof: bool
) -> None:
    mutated = bytearray(stream)
    for where, byte in mutations:
        if mutated:
            mutated[where % len(mutated)] = byte
    outcome = parse(split(bytes(mutated), cuts), limit=LIMIT, extensions=negotiate("permessage-deflate")[1], eof=eof)
    assert_documented(outcome, eof=eof)


def assert_documented(outcome: Outcome, *, eof: bool) -> None:
    if isinstance(outcome.ended, Close):
        if outcome.ended.code not in (1005, 1006):
            outcome.ended.check()
    else:
        assert outcome.ended in (*DOCUMENTED, None)
    assert outcome.ended is not None or not eof
    for message in outcome.messages:
        assert len(message.encode() if isinstance(message, str) else message) <= LIMIT
