"""Byte streams below a WebSocket: a plain TCP socket, or any Trio stream such as TLS.

The plain socket is where the speed comes from: it writes without waiting, straight from whoever has something to say,
and reads when there is something to read. (Trio's own `receive_some` tries first, fails, waits and tries again.)
"""

from __future__ import annotations

import os
import socket
import struct
from contextlib import suppress
from typing import Protocol

import trio

__all__ = ["Pipe", "SocketPipe", "StreamPipe"]

READ_BYTES = 65536

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""`SO_LINGER` on, for 0 s: closing drops what the kernel still holds, so that a stuck peer leaves nothing behind."""


class Pipe(Protocol):
    """Bytes in and out. After either side has closed, reading gives `b""` and writing raises `BrokenResourceError`."""

    def try_write(self, data: bytes) -> int:
        """Write what fits without waiting; returns how much that was."""
        ...

    async def write(self, data: bytes) -> None:
        """Write everything. Cancelled, some of it may have been written."""
        ...

    async def read(self) -> bytes:
        """Wait for bytes; empty at the end. Cancellation loses nothing."""
        ...

    async def send_eof(self) -> None:
        """Say that nothing more will be written, where the stream can say that and go on reading."""
        ...

    async def finish(self) -> None:
        """End the stream once what was written is delivered."""
        ...

    def abort(self) -> None:
        """End the stream now, dropping what was not delivered. Idempotent."""
        ...


class SocketPipe:
    """A plain TCP (or Unix) socket, written to and read from without a stream in between."""

    __slots__ = ("_fileno", "_socket")

    def __init__(self, stream: trio.SocketStream) -> None:
        self._socket = stream.socket
        # Asked at every use: it turns -1 when Trio closes the socket, and a number kept could by then be someone
        # else's.
        self._fileno = stream.socket.fileno

    def try_write(self, data: bytes) -> int:
        try:
            return os.write(self._fileno(), data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise trio.BrokenResourceError from error

    async def write(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        written = self.try_write(data)
        if written == len(data):
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        rest = memoryview(data)[written:]
        while rest:
            await self._writable()
            rest = rest[self.try_write(rest) :]  # type: ignore[arg-type]  # any bytes-like will do

    async def _writable(self) -> None:
        try:
            await trio.lowlevel.wait_writable(self._fileno())
        except (trio.ClosedResourceError, OSError, ValueError) as error:
            raise trio.BrokenResourceError from error

    async def read(self) -> bytes:
        while True:
            try:
                await trio.lowlevel.wait_readable(self._fileno())
                return os.read(self._fileno(), READ_BYTES)
            except BlockingIOError:  # another reader was faster, or the kernel dropped a bad segment
                continue
            except (trio.ClosedResourceError, OSError, ValueError):
                return b""

    async def send_eof(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        await trio.lowlevel.checkpoint()

    async def finish(self) -> None:
        self._socket.close()
        await trio.lowlevel.checkpoint()

    def abort(self) -> None:
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        except OSError:  # closed already
            return
        self._socket.close()


class StreamPipe:
    """A Trio stream over a socket: TLS."""

    __slots__ = ("_socket", "_stream")

    def __init__(self, stream: trio.SSLStream[trio.SocketStream]) -> None:
        self._stream = stream
        self._socket = SocketPipe(stream.transport_stream)

    def try_write(self, data: bytes) -> int:
        return 0

    async def write(self, data: bytes) -> None:
        try:
            await self._stream.send_all(data)
        except trio.ClosedResourceError as error:
            raise trio.BrokenResourceError from error

    async def read(self) -> bytes:
        try:
            return bytes(await self._stream.receive_some(READ_BYTES))
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            return b""

    async def send_eof(self) -> None:
        """TLS has no half-close that peers understand; what follows is bounded by the caller's deadline."""
        await trio.lowlevel.checkpoint()

    async def finish(self) -> None:
        try:
            await self._stream.aclose()
        except trio.BrokenResourceError:
            self._socket.abort()

    def abort(self) -> None:
        self._socket.abort()
