"""From the bytes a client sends to its messages. Sans-I/O.

Nearly every frame a client sends is a whole, uncompressed text message; those are taken apart here, at a third of the
cost. So are control frames, which may come between the fragments of a message but have no part in it, nor in its size.
Every other frame goes, whole, through `websockets.protocol.Protocol`, which knows all of RFC 6455 and RFC 7692 and
bounds sizes before and after decompression. It is made when it is first needed: most connections never need it, and it
costs more memory than all the rest of the parser.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from websockets.exceptions import PayloadTooBig, ProtocolError
from websockets.frames import Close, Opcode
from websockets.frames import Frame as WireFrame
from websockets.protocol import Protocol, Side

try:
    from websockets.speedups import apply_mask
except ImportError:  # a platform without the compiled module
    from websockets.utils import apply_mask

from quart_wshub.protocol.close_codes import ABNORMAL_CLOSURE
from quart_wshub.protocol.errors import (
    InvalidTextError,
    MessageTooBigError,
    PeerError,
    ProtocolViolationError,
    WebSocketDisconnect,
)
from quart_wshub.protocol.frame import CLOSE, encode_frame

if TYPE_CHECKING:
    from collections.abc import Sequence

    from websockets.extensions import Extension

__all__ = ["MessageParser"]

_FIN = 0x80
_FIN_TEXT = 0x81
_FIN_BINARY = 0x82
_OPCODE = 0x0F
_PING = 0x9
_PONG = 0xA
_CONTROL = (CLOSE, _PING, _PONG)
_MAX_CONTROL_PAYLOAD = 125
_MASKED = 0x80
_LENGTH = 0x7F
_MASK_BYTES = 4
_MAX_HEADER = 14


class MessageParser:
    """The receiving half of a server's WebSocket.

    Attributes:
        ended: why nothing more can be received: the peer has gone, or broke the protocol. `None` while it can.
        frames: complete frames seen so far, control frames included: each proves that the peer lives.
    """

    __slots__ = (
        "_awaited",
        "_buffer",
        "_extensions",
        "_fragments",
        "_fragments_are_text",
        "_max_bytes",
        "_messages",
        "_protocol",
        "_replies",
        "ended",
        "frames",
    )

    def __init__(self, max_message_bytes: int, extensions: Sequence[Extension] = ()) -> None:
        self._max_bytes = max_message_bytes
        self._extensions = extensions
        self._buffer: bytes | bytearray = b""
        self._awaited = 0
        self._messages: list[str | bytes] = []
        self._replies: list[bytes] = []
        self._fragments: list[bytes] | None = None
        self._fragments_are_text = False
        self._protocol: Protocol | None = None
        self.ended: PeerError | WebSocketDisconnect | None = None
        self.frames: int = 0

    def feed(self, data: bytes) -> list[str | bytes]:
        """Take bytes from the network; returns the messages they complete. After `ended` bytes are ignored."""
        if self.ended is not None:
            return []
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._awaited:
                return []
            data = bytes(self._buffer)
        self._awaited = position = 0
        while self.ended is None:
            step = self._fast_frame(data, position) or self._any_frame(data, position)
            if not step:
                break
            position += step
        rest = b"" if self.ended is not None else data[position:]
        self._buffer = bytearray(rest) if rest else b""  # grows in place while a long frame comes in
        messages, self._messages = self._messages, []
        return messages

    def feed_eof(self) -> None:
        """The peer sends no more. Without a close frame before, it has gone abnormally."""
        if self.ended is None:
            self.ended = WebSocketDisconnect(ABNORMAL_CLOSURE)

    def replies(self) -> bytes:
        """Pongs and the echoed close frame that are due now."""
        if not self._replies:
            return b""
        replies, self._replies = self._replies, []
        return b"".join(replies)

    def _fast_frame(self, data: bytes, position: int) -> int:
        """Take one whole, unfragmented, uncompressed message. Returns its length on the wire, 0 if there is none."""
        available = len(data) - position
        if available < 6 or self._fragments is not None:
            return 0
        first = data[position]
        if first not in (_FIN_TEXT, _FIN_BINARY):
            return 0
        length = data[position + 1] - _MASKED
        mask = position + 2
        if length == 126 and available >= 8:
            length = data[mask] << 8 | data[mask + 1]
            mask += 2
        elif not 0 <= length < 126:
            return 0
        start = mask + _MASK_BYTES
        end = start + length
        if end > len(data) or length > self._max_bytes:
            return 0
        payload = apply_mask(data[start:end], data[mask:start])
        self.frames += 1
        if first == _FIN_TEXT:
            self._add_text(payload)
        else:
            self._messages.append(payload)
        return end - position

    def _any_frame(self, data: bytes, position: int) -> int:
        """Take one whole frame of any kind. Returns its length on the wire, 0 if it is not all there."""
        size = _frame_size(data, position)
        if size is None:
            return 0
        is_masked = data[position + 1] & _MASKED
        if is_masked and data[position] & _OPCODE in _CONTROL:
            return self._control_frame(data, position, size)
        # A frame that is unmasked, or larger than any message may be, is not waited for: its header is enough to
        # refuse it.
        if is_masked and size <= self._max_bytes + _MAX_HEADER and len(data) - position < size:
            self._awaited = size
            return 0
        protocol = self._full_protocol()
        protocol.receive_data(data[position : position + size])
        for frame in protocol.events_received():
            self._take(frame)  # type: ignore[arg-type]  # after the handshake all events are frames
        if self.ended is None and protocol.parser_exc is not None:
            self.ended = _peer_error(protocol.parser_exc)
        return size

    def _control_frame(self, data: bytes, position: int, size: int) -> int:
        """Take one whole ping, pong or close frame. Returns its length on the wire, 0 if it is not all there."""
        opcode = data[position] & _OPCODE
        start = position + 2 + _MASK_BYTES
        if data[position] != _FIN | opcode or data[position + 1] & _LENGTH > _MAX_CONTROL_PAYLOAD:
            self.ended = ProtocolViolationError("a control frame is fragmented, too long, or has reserved bits set")
        elif len(data) - position < size:
            return 0
        else:
            self.frames += 1
            payload = apply_mask(data[start : position + size], data[start - _MASK_BYTES : start])
            if opcode == _PING:
                self._replies.append(encode_frame(_PONG, payload))
            elif opcode == CLOSE:
                self._take_close(payload)
        return size

    def _take_close(self, payload: bytes) -> None:
        try:
            close = Close.parse(payload)
        except UnicodeDecodeError:
            self.ended = InvalidTextError("a close reason is not UTF-8")
        except ProtocolError as error:
            self.ended = ProtocolViolationError(str(error))
        else:
            self.ended = WebSocketDisconnect(int(close.code), close.reason)
            self._replies.append(encode_frame(CLOSE, payload))

    def _full_protocol(self) -> Protocol:
        if self._protocol is None:
            self._protocol = Protocol(Side.SERVER, max_size=self._max_bytes)
            self._protocol.extensions = list(self._extensions)
        return self._protocol

    def _take(self, frame: WireFrame) -> None:
        self.frames += 1
        if frame.opcode is not Opcode.CONT:
            self._fragments = []
            self._fragments_are_text = frame.opcode is Opcode.TEXT
        assert self._fragments is not None
        self._fragments.append(bytes(frame.data))
        if frame.fin:
            payload = b"".join(self._fragments)
            self._fragments = None
            if self._fragments_are_text:
                self._add_text(payload)
            else:
                self._messages.append(payload)

    def _add_text(self, payload: bytes) -> None:
        try:
            self._messages.append(payload.decode())
        except UnicodeDecodeError:
            self.ended = InvalidTextError("a text message is not UTF-8")


def _frame_size(data: bytes, position: int) -> int | None:
    """The size of the frame at `position`, header included; `None` while that cannot be told yet."""
    available = len(data) - position
    if available < 2:
        return None
    second = data[position + 1]
    mask = _MASK_BYTES if second & _MASKED else 0
    length = second & _LENGTH
    if length < 126:
        return 2 + mask + length
    width = 2 if length == 126 else 8
    if available < 2 + width:
        return None
    return 2 + width + mask + int.from_bytes(data[position + 2 : position + 2 + width], "big")


def _peer_error(cause: Exception) -> PeerError:
    """What `websockets` found wrong, as one of our own errors. Its text names no data of the peer."""
    if isinstance(cause, PayloadTooBig):
        return MessageTooBigError("a message is too big")
    return ProtocolViolationError(str(cause))
