"""One connection's nursery: receive, write, ping, watchdog, token expiry and handler; and its close.

When one of the tasks ends, all end. Every end goes through `WebSocketConnection.begin_close`, whoever calls it: that
is synchronous, takes the connection out of the registry, and calls `_begin_closing` here, which cancels what has to
stop. The body of the nursery is the writer. It is shielded, so that it can still say goodbye while its siblings are
cancelled; from the moment closing begins it has a deadline.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import trio

from quart_wshub import heartbeat
from quart_wshub.close_codes import CloseCode
from quart_wshub.connection import EndingKind, WebSocketConnection
from quart_wshub.errors import PeerError, WebSocketDisconnect
from quart_wshub.failures import log_failure, verdict

if TYPE_CHECKING:
    from quart_wshub.hub import WebSocketHub
    from quart_wshub.settings import WebSocketSettings
    from quart_wshub.transport.base import Transport
    from quart_wshub.websocket import WebSocket

__all__ = ["Handler", "Lifecycle"]

log = logging.getLogger("quart_wshub")

Handler = Callable[["WebSocket", WebSocketConnection, "WebSocketHub"], Awaitable[None]]

LAST_WORD_SECONDS = 0.5
"""How long a connection that is cancelled from outside may take to send its close frame."""


class Lifecycle:
    """Runs one accepted, registered connection to its end."""

    def __init__(
        self,
        transport: Transport,
        connection: WebSocketConnection,
        hub: WebSocketHub,
        handler: Handler,
        settings: WebSocketSettings,
    ) -> None:
        self._transport = transport
        self._connection = connection
        self._hub = hub
        self._handler = handler
        self._settings = settings
        self._nursery: trio.Nursery
        self._goodbye = trio.CancelScope(shield=True)
        self._receiving = trio.CancelScope()
        self._receiver_done = trio.Event()
        self._paused = False

    async def run(self) -> None:
        """Return when the connection is over and nothing of it is left.

        Cancellation closes the socket with 1012 and gives that half a second.
        """
        async with trio.open_nursery() as self._nursery:
            self._connection.on_closing.append(self._begin_closing)
            if self._connection.ending is not None:  # evicted before it ran
                self._begin_closing(self._connection)
            for task in (self._receive, self._ping, self._watch, self._expire, self._handle):
                self._nursery.start_soon(self._sibling, task)
            with self._goodbye:
                await self._write()
                await self._close()
            if self._goodbye.cancelled_caught:
                self._transport.abort()

    async def _sibling(self, task: Callable[[], Awaitable[None]]) -> None:
        """Run a task so that every way it can end, ends the connection."""
        try:
            await task()
        except trio.Cancelled:
            self._connection.begin_close(CloseCode.SERVICE_RESTART, kind=EndingKind.CANCELLED)
            raise
        except Exception:
            log.exception("internal error: connection=%s", self._connection.connection_id)
            self._connection.begin_close(CloseCode.INTERNAL_ERROR, kind=EndingKind.SERVER_CLOSED)

    def _begin_closing(self, connection: WebSocketConnection) -> None:
        """Stop what has to stop. Synchronous: called in the middle of whatever ended the connection."""
        assert connection.ending is not None
        kind = connection.ending.kind
        now = trio.current_time()
        grace = self._settings.WS_CLOSE_TIMEOUT_SECONDS
        patience = min(grace, LAST_WORD_SECONDS) if kind is EndingKind.CANCELLED else grace
        self._receiving.cancel()
        self._goodbye.deadline = min(now + patience, connection.ending.deadline)
        if kind in {EndingKind.PEER_LEFT, EndingKind.HANDLER_CLOSED}:
            self._nursery.cancel_scope.deadline = now + grace
        else:
            self._nursery.cancel_scope.cancel()

    async def _receive(self) -> None:
        """Read whatever the handler does, so that a disconnect and heartbeats are always noticed."""
        try:
            with self._receiving:
                while True:
                    await self._receive_some()
        except WebSocketDisconnect as gone:
            self._connection.peer_left(gone)
        except PeerError as error:
            log.info("closing with %d: %r: %s", error.close_code, self._connection, error)
            self._connection.begin_close(error.close_code, kind=EndingKind.SERVER_CLOSED)
        finally:
            self._receiver_done.set()

    async def _receive_some(self) -> None:
        connection = self._connection
        if not connection.inbox.has_room():
            await self._wait_for_handler()
        messages = await self._transport.receive()
        connection.received(messages)
        for message in messages:
            if isinstance(message, str) and (beat := heartbeat.classify(message)) is not None:
                self._answer(*beat)
            else:
                connection.inbox.put(message)

    def _answer(self, kind: str, request_id: str | None) -> None:
        if kind == "ping":
            self._connection.offer(heartbeat.pong_frame(request_id))
        else:
            self._connection.pong_received()

    async def _wait_for_handler(self) -> None:
        """Let the peer wait while the handler is behind: it is held up by TCP, and not held dead meanwhile.

        While nothing is read a disconnect goes unnoticed, so this too has an end.
        """
        self._paused = True
        with trio.move_on_after(self._settings.WS_HEARTBEAT_TIMEOUT_SECONDS) as patience:
            await self._connection.inbox.wait_for_room()
        self._paused = False
        self._connection.last_seen = trio.current_time()
        if patience.cancelled_caught:
            self._connection.begin_close(
                CloseCode.POLICY_VIOLATION, "more messages than are read here", kind=EndingKind.SERVER_CLOSED
            )

    async def _write(self) -> None:
        try:
            while batch := await self._connection.outbox.take():
                with trio.fail_after(self._settings.WS_HEARTBEAT_TIMEOUT_SECONDS):
                    await self._transport.send(batch)
        except trio.TooSlowError:
            self._connection.begin_close(CloseCode.TRY_AGAIN_LATER, "too slow", kind=EndingKind.OVERFLOWED)
        except WebSocketDisconnect as gone:
            # What the peer had sent before may still be unread; the receive task finds the end, and the true code.
            with trio.move_on_after(self._settings.WS_CLOSE_TIMEOUT_SECONDS):
                await self._receiver_done.wait()
            self._connection.peer_left(gone)

    async def _close(self) -> None:
        ending = self._connection.ending
        assert ending is not None
        await self._receiver_done.wait()
        await self._transport.close(ending.code, ending.reason)

    async def _ping(self) -> None:
        while True:
            await trio.sleep(self._settings.WS_HEARTBEAT_SECONDS)
            self._connection.ping_sent()
            self._connection.offer(heartbeat.PING)

    async def _watch(self) -> None:
        timeout = self._settings.WS_HEARTBEAT_TIMEOUT_SECONDS
        while True:
            silence = 0 if self._paused else trio.current_time() - self._connection.last_seen
            if silence >= timeout:
                self._connection.begin_close(CloseCode.HEARTBEAT_TIMEOUT, kind=EndingKind.SERVER_CLOSED)
                return
            await trio.sleep(timeout - silence)

    async def _expire(self) -> None:
        remaining = self._connection.identity.expires_in()
        if remaining is not None:
            await trio.sleep(max(remaining, 0))
            self._connection.begin_close(CloseCode.UNAUTHORIZED, "token expired", kind=EndingKind.SERVER_CLOSED)

    async def _handle(self) -> None:
        code: CloseCode = CloseCode.NORMAL
        try:
            await self._handler(self._connection.ws, self._connection, self._hub)
        except (Exception, BaseExceptionGroup) as error:
            cancelled, failure = _split_cancelled(error)
            if failure is not None:
                code = verdict(failure)
                log_failure(self._connection, failure, code)
            if cancelled is not None:
                raise cancelled from None
        self._connection.begin_close(code, kind=EndingKind.SERVER_CLOSED)
        # Where the peer had left already, the siblings were waiting for nothing but this handler.
        self._nursery.cancel_scope.cancel()


def _split_cancelled(error: BaseException) -> tuple[BaseException | None, BaseException | None]:
    """Part `Cancelled`, which belongs to Trio, from the rest of what left a handler, which must not vanish with it."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(trio.Cancelled)
    return None, error
