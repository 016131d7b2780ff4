"""Client frames for parser tests, right and wrong, and what a parser makes of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from websockets.frames import Close

from quart_wshub.protocol.close_codes import ABNORMAL_CLOSURE
from quart_wshub.protocol.errors import PeerError, WebSocketDisconnect
from quart_wshub.transport.parser import MessageParser

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from websockets.extensions import Extension

__all__ = [
    "BINARY",
    "CLOSE",
    "CONTINUATION",
    "PING",
    "PONG",
    "RSV1",
    "RSV2",
    "RSV3",
    "TEXT",
    "Outcome",
    "client_frame",
    "close_frame",
    "parse",
    "server_frame",
]

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
RSV1, RSV2, RSV3 = 0x40, 0x20, 0x10

MASK = b"\x12\x34\x56\x78"


def client_frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    reserved: int = 0,
    masked: bool = True,
    length_bytes: int | None = None,
    claimed_length: int | None = None,
) -> bytes:
    """A frame on the wire. It may use more bytes for its length than it needs, or claim another one."""
    length = len(payload) if claimed_length is None else claimed_length
    if length_bytes is None:
        length_bytes = 0 if length < 126 else 2 if length < 65536 else 8
    short = {0: length, 2: 126, 8: 127}[length_bytes]
    head = bytes(((0x80 if fin else 0) | reserved | opcode, (0x80 if masked else 0) | short))
    head += length.to_bytes(length_bytes, "big") if length_bytes else b""
    if not masked:
        return head + payload
    return head + MASK + bytes(byte ^ MASK[index % 4] for index, byte in enumerate(payload))


def close_frame(code: int | None = None, reason: bytes = b"") -> bytes:
    """A client's close frame."""
    return client_frame(CLOSE, b"" if code is None else code.to_bytes(2, "big") + reason)


def server_frame(opcode: int, payload: bytes = b"") -> bytes:
    """A short frame of the server's: a reply."""
    return bytes((0x80 | opcode, len(payload))) + payload


@dataclass(frozen=True)
class Outcome:
    """All that a parser says.

    Attributes:
        ended: the type of an error of the peer's, or code and reason of its departure.
    """

    messages: tuple[str | bytes, ...] = ()
    replies: bytes = b""
    ended: type[PeerError] | Close | None = None
    frames: int | None = None

    def without_count(self) -> Outcome:
        """The same, for comparisons in which the number of frames does not matter."""
        return replace(self, frames=None)


def parse(
    *pieces: bytes | Iterable[bytes], limit: int = 1000, extensions: Sequence[Extension] = (), eof: bool = False
) -> Outcome:
    """Feed a parser so many pieces, and then the end of the stream, if wanted. The number of frames is left out."""
    parser = MessageParser(limit, extensions)
    messages: list[str | bytes] = []
    for piece in pieces:
        for part in [piece] if isinstance(piece, bytes) else piece:
            messages += parser.feed(part)
    if eof:
        parser.feed_eof()
    return Outcome(tuple(messages), parser.replies(), _told(parser), None)


def _told(parser: MessageParser) -> type[PeerError] | Close | None:
    if isinstance(parser.ended, WebSocketDisconnect):
        return Close(parser.ended.code, parser.ended.reason)
    return None if parser.ended is None else type(parser.ended)


VANISHED = Close(ABNORMAL_CLOSURE, "")
"""How a peer ended that sent no close frame."""
