"""One connection to one Redis: opened within a deadline, then bytes out and replies in."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from quart_wshub.broker.redis.resp import RedisReplyError, ReplyParser, command

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from quart_wshub.broker.redis.url import RedisAddress, RedisTarget

__all__ = ["RedisConnection", "RedisDialer", "RedisLostError"]

READ_BYTES = 65_536

ENDED = "Redis ended the connection"


class RedisLostError(Exception):
    """The connection ended, or answers no more."""


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
            raise RedisLostError(_how_it_ended(error)) from error

    async def receive(self) -> list[Any]:
        """Wait for bytes; returns the replies they complete, perhaps none. Redis' errors are among them."""
        try:
            data = await self._stream.receive_some(READ_BYTES)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise RedisLostError(_how_it_ended(error)) from error
        if not data:
            raise RedisLostError(ENDED)
        try:
            return self._parser.feed(bytes(data))
        except Exception as error:
            raise RedisLostError("what answers there is not a Redis") from error

    async def ask(self, *parts: bytes) -> Any:
        """Send one command and wait for its reply, while nobody else uses the connection.

        Raises:
            RedisReplyError: Redis refused it.
        """
        await self.send(command(*parts))
        while not (replies := await self.receive()):
            pass
        if isinstance(replies[0], RedisReplyError):
            raise replies[0]
        return replies[0]


def _how_it_ended(error: Exception) -> str:
    """TLS' complaints are hidden one level deeper."""
    return f"TLS failed: {error.__cause__}" if isinstance(error.__cause__, ssl.SSLError) else ENDED


class RedisDialer:
    """Opens connections. Knows the password, and shows it nowhere."""

    def __init__(self, target: RedisTarget, *, name: str, ssl_context: ssl.SSLContext | None, timeout: float) -> None:
        self._target = target
        self._name = name.encode()
        self._ssl_context = ssl_context
        self._timeout = timeout

    @asynccontextmanager
    async def open(self, address: RedisAddress) -> AsyncIterator[RedisConnection]:
        """A connection that Redis has greeted; closed at once at the end of the block.

        Raises:
            OSError, RedisLostError, RedisReplyError, trio.TooSlowError: Redis is not there, refuses, or says nothing.
        """
        stream: trio.abc.Stream | None = None
        try:
            with trio.fail_after(self._timeout):
                stream = await self._connect(address)
                connection = RedisConnection(stream)
                await self._greet(connection)
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
        # Redis ends a connection without TLS' goodbye.
        return trio.SSLStream(stream, self._ssl_context, server_hostname=address.host, https_compatible=True)

    @staticmethod
    def _without_arguments(text: str) -> str:
        """A server that does not know the command (Redis 5) repeats its arguments, the password among them."""
        if "unknown command" in text.lower():
            return "it does not know HELLO; Redis 6.2 is the oldest that will do"
        return text

    async def _greet(self, connection: RedisConnection) -> None:
        target = self._target
        login: list[bytes] = []
        if target.password is not None or target.username is not None:
            login = [b"AUTH", (target.username or "default").encode(), (target.password or "").encode()]
        try:
            await connection.ask(b"HELLO", b"3", *login, b"SETNAME", self._name)
        except RedisReplyError as error:
            raise RedisReplyError(self._without_arguments(str(error))) from None
        if target.db:
            await connection.ask(b"SELECT", str(target.db).encode())
