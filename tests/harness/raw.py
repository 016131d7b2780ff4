"""A WebSocket client on a bare socket, for what a well-behaved one does not do."""

from __future__ import annotations

import base64
import os
import socket
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.harness.server import Server

__all__ = [
    "BINARY",
    "CLOSE",
    "CONTINUATION",
    "PING",
    "PONG",
    "TEXT",
    "Frame",
    "RawClient",
    "frame",
    "raw_client",
    "upgrade",
]

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

MASK_KEY = b"\x12\x34\x56\x78"


class Frame(NamedTuple):
    opcode: int
    payload: bytes

    @property
    def close_code(self) -> int:
        assert self.opcode == CLOSE
        code: int = struct.unpack("!H", self.payload[:2])[0]
        return code


def upgrade(path: str, headers: Mapping[str, str | bytes] | None = None) -> bytes:
    """An upgrade request. Header values may hold any bytes."""
    fields: dict[str, str | bytes] = {
        "Host": "127.0.0.1",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        **(headers or {}),
    }
    lines = [f"GET {path} HTTP/1.1".encode()]
    for name, value in fields.items():
        lines.append(name.encode() + b": " + (value if isinstance(value, bytes) else value.encode()))
    return b"\r\n".join([*lines, b"", b""])


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """A masked frame, as a client sends it."""
    size = len(payload)
    if size < 126:
        length = struct.pack("!B", 0x80 | size)
    elif size < 1 << 16:
        length = struct.pack("!BH", 0x80 | 126, size)
    else:
        length = struct.pack("!BQ", 0x80 | 127, size)
    key = int.from_bytes((MASK_KEY * (size // 4 + 1))[:size], "big")
    masked = (int.from_bytes(payload, "big") ^ key).to_bytes(size, "big")
    return bytes([(0x80 if fin else 0) | opcode]) + length + MASK_KEY + masked


class RawClient:
    """A TCP connection to the server. Every wait has the socket's timeout."""

    def __init__(self, server: Server, *, timeout: float = 10, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout)
        self.socket.connect(("127.0.0.1", server.port))
        self._buffer = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def send_frame(self, opcode: int, payload: bytes = b"", *, fin: bool = True) -> None:
        self.send(frame(opcode, payload, fin=fin))

    def open(self, path: str, headers: Mapping[str, str | bytes] | None = None) -> int:
        """Request the upgrade; returns the HTTP status."""
        self.send(upgrade(path, headers))
        return self.read_response()

    def read_response(self) -> int:
        """Read the head of an HTTP response; returns the status."""
        while b"\r\n\r\n" not in self._buffer:
            self._fill()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1])

    def read_frame(self) -> Frame:
        """The next frame. Raises `EOFError` at the end of the stream."""
        first, second = self._take(2)
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", self._take(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self._take(8))
        return Frame(first & 0x0F, self._take(size))

    def read_close(self) -> Frame:
        """The close frame; frames before it are dropped."""
        while (received := self.read_frame()).opcode != CLOSE:
            pass
        return received

    def finish(self, code: int) -> None:
        """Read the server's close frame, which has this code, answer it, and see the connection end without a reset."""
        assert self.read_close().close_code == code
        self.send_frame(CLOSE, code.to_bytes(2, "big"))
        assert self.read_to_end()

    def read_to_end(self) -> bool:
        """Read until the connection ends; returns whether it ends without a reset."""
        try:
            while True:
                self._fill()
                self._buffer = b""
        except EOFError:
            return True
        except ConnectionResetError:
            return False

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        """End the connection, with a FIN if all input was read."""
        self.socket.close()

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._fill()
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def _fill(self) -> None:
        data = self.socket.recv(1 << 16)
        if not data:
            raise EOFError
        self._buffer += data


@contextmanager
def raw_client(
    server: Server, path: str | None = None, *, timeout: float = 10, receive_buffer: int | None = None
) -> Iterator[RawClient]:
    """A raw client that is closed at the end; with `path`, it is upgraded, but its `hello` not read."""
    client = RawClient(server, timeout=timeout, receive_buffer=receive_buffer)
    try:
        if path is not None:
            assert client.open(path) == 101
        yield client
    finally:
        client.close()
