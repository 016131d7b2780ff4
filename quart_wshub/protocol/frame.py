"""One outbound message, built once and shared by every socket it goes to."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["BINARY", "CLOSE", "TEXT", "Frame", "encode_frame", "size_of"]

TEXT = 0x1
BINARY = 0x2
CLOSE = 0x8

_FIN = 0x80


def encode_frame(opcode: int, payload: bytes) -> bytes:
    """A whole server frame, unmasked as RFC 6455 section 5.1 has it."""
    length = len(payload)
    if length < 126:
        return bytes((_FIN | opcode, length)) + payload
    if length < 65536:
        return struct.pack("!BBH", _FIN | opcode, 126, length) + payload
    return struct.pack("!BBQ", _FIN | opcode, 127, length) + payload


def size_of(message: str | bytes) -> int:
    """The length of a message in bytes, UTF-8 encoded where it is text."""
    if isinstance(message, bytes) or message.isascii():
        return len(message)
    return len(message.encode(errors="surrogatepass"))


class Frame:
    """An immutable text or binary message on its way out.

    A broadcast makes one `Frame` and gives the same object to every connection, so whatever a transport derives from
    it is derived once per broadcast and not once per socket.

    Attributes:
        payload: `str` goes out as a text message, `bytes` as a binary one.
        size: length of the payload in bytes, UTF-8 encoded where it is text.
    """

    __slots__ = ("_parts", "_wire", "payload", "size")

    def __init__(self, payload: str | bytes) -> None:
        self.payload: str | bytes = payload
        self._wire: bytes | None = None
        self._parts: Sequence[Frame] | None = None
        # Text that has no UTF-8 form (a lone surrogate) fails here, at whoever wants to send it, and not in a delivery.
        self.size: int = size_of(payload) if isinstance(payload, bytes) or payload.isascii() else len(payload.encode())

    @property
    def wire(self) -> bytes:
        """The bytes a server puts on the wire for this message; encoded at the first use."""
        if self._wire is None:
            if isinstance(self.payload, str):
                self._wire = encode_frame(TEXT, self.payload.encode())
            else:
                self._wire = encode_frame(BINARY, self.payload)
        return self._wire

    @property
    def parts(self) -> Sequence[Frame]:
        """The messages this stands for: itself, or those it was joined from."""
        return (self,) if self._parts is None else self._parts

    @classmethod
    def join(cls, frames: Sequence[Frame]) -> Frame:
        """Several messages that go out together; their wire form is put together once."""
        if len(frames) == 1:
            return frames[0]
        joined = cls(b"")
        joined._parts = frames
        joined._wire = b"".join([frame.wire for frame in frames])
        joined.size = sum(frame.size for frame in frames)
        return joined

    @classmethod
    def rest(cls, wire: bytes) -> Frame:
        """What is left of a frame that a socket took only in part."""
        frame = cls(b"")
        frame._wire = wire
        frame.size = len(wire)
        return frame

    def __repr__(self) -> str:
        kind = "text" if isinstance(self.payload, str) else "binary"
        return f"<Frame {kind} {self.size} bytes>"
