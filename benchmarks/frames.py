"""WebSocket frames, as far as a load generator needs them: build its own, parse the server's. No I/O."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

_MASK: Final = b"\x37\xfa\x21\x3d"


class Frame(NamedTuple):
    """One whole frame. `compressed` is the RSV1 bit."""

    opcode: int
    compressed: bool
    payload: bytes


def _header(first: int, length: int, mask_bit: int) -> bytes:
    if length < 126:
        return struct.pack("!BB", first, mask_bit | length)
    if length < 65536:
        return struct.pack("!BBH", first, mask_bit | 126, length)
    return struct.pack("!BBQ", first, mask_bit | 127, length)


def client_frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """A final, masked frame. All have the same mask, which makes no difference to the server."""
    mask = (_MASK * (len(payload) // 4 + 1))[: len(payload)]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")
    return _header(0x80 | opcode, len(payload), 0x80) + _MASK + masked.to_bytes(len(payload), "big")


def server_frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """A final, unmasked frame."""
    return _header(0x80 | opcode, len(payload), 0) + payload


def _bounds(buffer: bytes | bytearray | memoryview, at: int) -> tuple[int, int] | None:
    """Where the frame's mask or payload starts and where the frame ends; `None` while its header is incomplete."""
    if len(buffer) - at < 2:
        return None
    length = buffer[at + 1] & 0x7F
    start = at + 2
    if length == 126:
        start = at + 4
        length = int.from_bytes(buffer[at + 2 : start], "big")
    elif length == 127:
        start = at + 10
        length = int.from_bytes(buffer[at + 2 : start], "big")
    if start > len(buffer):
        return None
    return start, start + length + (4 if buffer[at + 1] & 0x80 else 0)


def frames_in(inbox: bytearray) -> Iterator[Frame]:
    """Remove the complete frames from `inbox`; the beginning of the next one stays in it."""
    at = 0
    try:
        while (bounds := _bounds(inbox, at)) is not None and bounds[1] <= len(inbox):
            start, end = bounds
            first, masked = inbox[at], inbox[at + 1] & 0x80
            payload = bytes(inbox[start:end])
            at = end
            yield Frame(first & 0x0F, bool(first & 0x40), _unmask(payload) if masked else payload)
    finally:
        del inbox[:at]


def _unmask(payload: bytes) -> bytes:
    mask, body = payload[:4], payload[4:]
    return bytes(byte ^ mask[index % 4] for index, byte in enumerate(body))


def count_messages(inbox: bytearray) -> int:
    """Remove the complete frames from `inbox` and count their messages, without reading payloads.

    This is the hot loop for compressed frames, whose lengths are not known in advance.
    """
    at = messages = 0
    while (bounds := _bounds(inbox, at)) is not None and bounds[1] <= len(inbox):
        if inbox[at] & 0x80 and inbox[at] & 0x0F < CLOSE:
            messages += 1
        at = bounds[1]
    del inbox[:at]
    return messages
