"""A connection to one Redis: opened within a timeout, then bytes out and replies in."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from quart_wshub.broker.redis.wire import RedisLostError, RedisReplyError, ReplyParser, command

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from quart_wshub.broker.redis.target import RedisAddress, RedisTarget

__all__ = ["CONNECTION_FAILURES", "RedisConnection", "RedisDialer", "Writer"]

READ_BYTES = 65_536

CONNECTION_FAILURES = (OSError, RedisLostError, RedisReplyError, trio.TooSlowError)
"""Expected while Redis is away or unwell. Anything else is a bug."""


class RedisConnection:
    """One task may send and another receive. Both raise `RedisLostError` at the end of the connection."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._parser = ReplyParser()

    async def send(self, data: bytes) -> None:
        """Write commands."""
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise _lost(error) from error

    async def receive(self) -> list[Any]:
        """Wait for bytes; returns the replies they complete, perhaps none. Error replies are returned, not raised."""
        try:
            data = await self._stream.receive_some(READ_BYTES)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise _lost(error) from error
        if not data:
            raise _lost()
        return self._parser.feed(bytes(data))

    async def ask(self, *parts: bytes) -> Any:
        """Send one command and wait for its reply; no other task may use the connection meanwhile.

        Raises:
            RedisReplyError: Redis refused it.
        """
        await self.send(command(*parts))
        while not (replies := await self.receive()):
            pass
        if isinstance(replies[0], RedisReplyError):
            raise replies[0]
        return replies[0]


def _lost(error: Exception | None = None) -> RedisLostError:
    """Trio chains TLS errors, such as a refused certificate, to its own."""
    if error is not None and isinstance(error.__cause__, ssl.SSLError):
        return RedisLostError(f"TLS failed: {error.__cause__}")
    return RedisLostError("Redis ended the connection")


class Writer:
    """Sends what `next_write` returns; while that is nothing, it waits for `wake`."""

    def __init__(self, next_write: Callable[[], bytes]) -> None:
        self._next_write = next_write
        self._woken = trio.Event()

    def wake(self) -> None:
        """Call `next_write` again."""
        self._woken.set()

    async def run(self, connection: RedisConnection) -> None:
        """Send until the connection ends, which raises `RedisLostError`."""
        while True:
            if data := self._next_write():
                await connection.send(data)
            else:
                self._woken = trio.Event()
                await self._woken.wait()


class RedisDialer:
    """Opens connections. The password is in no text that it raises or logs."""

    def __init__(self, target: RedisTarget, *, name: str, ssl_context: ssl.SSLContext | None, timeout: float) -> None:
        self._target = target
        self._name = name.encode()
        self._ssl_context = ssl_context
        self._timeout = timeout

    @asynccontextmanager
    async def open(self, address: RedisAddress) -> AsyncIterator[RedisConnection]:
        """A connection on which HELLO has succeeded; closed abruptly at the end of the block.

        Raises:
            OSError, RedisLostError, RedisReplyError, trio.TooSlowError: Redis is away, refuses, or does not answer
                within the timeout.
        """
        stream: trio.abc.Stream | None = None
        try:
            with trio.fail_after(self._timeout):
                stream = await self._connect(address)
                connection = RedisConnection(stream)
                await self._log_in(connection)
            yield connection
        finally:
            if stream is not None:
                await trio.aclose_forcefully(stream)

    async def _connect(self, address: RedisAddress) -> trio.abc.Stream:
        if address.path:
            return await trio.open_unix_socket(address.path)
        stream = await trio.open_tcp_stream(address.host, address.port)
        if self._ssl_context is None:
            return stream
        # Redis ends a TLS connection without close_notify.
        return trio.SSLStream(stream, self._ssl_context, server_hostname=address.host, https_compatible=True)

    async def _log_in(self, connection: RedisConnection) -> None:
        target = self._target
        login: list[bytes] = []
        if target.password or target.username:
            login = [b"AUTH", (target.username or "default").encode(), (target.password or "").encode()]
        try:
            await connection.ask(b"HELLO", b"3", *login, b"SETNAME", self._name)
        except RedisReplyError as error:
            if "unknown command" not in str(error).lower():
                raise
            # Redis' own text repeats the arguments, including the password.
            raise RedisReplyError("it does not know HELLO; Redis 6.2 is the oldest that will do") from None
        if target.db:
            await connection.ask(b"SELECT", str(target.db).encode())
