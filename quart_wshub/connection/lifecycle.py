"""One connection's nursery: receive, write, heartbeat, token expiry and handler; and its close.

When one of the tasks ends, all end. Every end goes through `WebSocketConnection.begin_close`, whoever calls it: that
is synchronous, takes the connection out of the registry, and calls `_begin_closing` here, which cancels what has to
stop. The body of the nursery receives, and says goodbye afterwards: shielded, and from the moment closing begins with a
deadline.

A connection that just sits there is three tasks: its body, its handler, and one that keeps time. A writer task exists
only while something waits to be written.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import trio

from quart_wshub.auth.identity import utc_now
from quart_wshub.connection.expiry import TokenWatch
from quart_wshub.connection.failures import log_failure, verdict
from quart_wshub.connection.session import EndingKind, WebSocketConnection
from quart_wshub.protocol import heartbeat
from quart_wshub.protocol.close_codes import ABNORMAL_CLOSURE, CloseCode
from quart_wshub.protocol.errors import PeerError, WebSocketDisconnect

if TYPE_CHECKING:
    from quart_wshub.auth.identity import WallClock
    from quart_wshub.connection.websocket import WebSocket
    from quart_wshub.hub.websocket_hub import WebSocketHub
    from quart_wshub.settings import WebSocketSettings
    from quart_wshub.transport.base import Transport

__all__ = ["Handler", "Lifecycle"]

log: logging.Logger = logging.getLogger("quart_wshub")

Handler = Callable[["WebSocket", WebSocketConnection, "WebSocketHub"], Awaitable[None]]

PATIENCE = {EndingKind.CANCELLED: 0.5, EndingKind.OVERFLOWED: 1.0}
"""Seconds that saying goodbye may take where that is less than `WS_CLOSE_TIMEOUT_SECONDS`: when the server will not
wait, and when the peer has shown that it does not read."""


class Lifecycle:
    """Runs one accepted, registered connection to its end.

    Args:
        announce_expiry: whether the client is told before its token expires.
        wall_clock: by which tokens expire.
    """

    __slots__ = (
        "_connection",
        "_goodbye_deadline",
        "_handler",
        "_hub",
        "_nap",
        "_nursery",
        "_paused",
        "_receiving",
        "_settings",
        "_token",
        "_transport",
        "_writing",
        "_written",
    )

    def __init__(
        self,
        transport: Transport,
        connection: WebSocketConnection,
        hub: WebSocketHub,
        handler: Handler,
        settings: WebSocketSettings,
        *,
        announce_expiry: bool = False,
        wall_clock: WallClock = utc_now,
    ) -> None:
        self._transport = transport
        self._connection = connection
        self._hub = hub
        self._handler = handler
        self._settings = settings
        notice = settings.WS_EXPIRY_NOTICE_SECONDS if announce_expiry else None
        self._token = TokenWatch(connection, notice=notice, wall_clock=wall_clock)
        self._nap: trio.CancelScope | None = None
        self._nursery: trio.Nursery
        self._receiving = trio.CancelScope()
        self._goodbye_deadline = math.inf
        self._writing: trio.CancelScope | None = None
        self._written: trio.Event | None = None
        self._paused = False

    async def run(self) -> None:
        """Return when the connection is over and nothing of it is left.

        Cancellation closes the socket with 1012 and gives that half a second.
        """
        connection = self._connection
        async with trio.open_nursery() as self._nursery:
            connection.on_closing.append(self._begin_closing)
            connection.on_refresh = self._wake_up
            connection.outbox.on_busy = self._start_writer
            if not connection.outbox.idle:  # `hello` waits already
                self._start_writer()
            if connection.ending is not None:  # evicted before it ran
                self._begin_closing(connection)
            self._nursery.start_soon(self._sibling, self._keep_time)
            self._nursery.start_soon(self._sibling, self._handle)
            try:
                with self._receiving:
                    await self._sibling(self._receive)
            finally:
                await self._say_goodbye()

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
        patience = min(grace, PATIENCE.get(kind, math.inf))
        self._receiving.cancel()
        self._goodbye_deadline = min(now + patience, connection.ending.deadline)
        if self._writing is not None:
            self._writing.deadline = min(self._writing.deadline, self._goodbye_deadline)
        if kind in {EndingKind.PEER_LEFT, EndingKind.HANDLER_CLOSED}:
            self._nursery.cancel_scope.deadline = now + grace
        else:
            self._nursery.cancel_scope.cancel()

    async def _say_goodbye(self) -> None:
        """Let what is queued go out, then do the closing handshake."""
        if self._connection.ending is None:  # neither an exception nor cancelled: the process is being interrupted
            self._connection.begin_close(CloseCode.SERVICE_RESTART, kind=EndingKind.CANCELLED)
        ending = self._connection.ending
        assert ending is not None
        with trio.CancelScope(shield=True, deadline=self._goodbye_deadline) as goodbye:
            if self._written is not None:
                await self._written.wait()
            await self._transport.close(ending.code, ending.reason)
        if goodbye.cancelled_caught:
            self._transport.abort()

    async def _receive(self) -> None:
        """Read whatever the handler does, so that a disconnect and heartbeats are always noticed."""
        try:
            while True:
                await self._receive_some()
        except WebSocketDisconnect as gone:
            self._connection.peer_left(gone)
        except PeerError as error:
            log.info("closing with %d: %r: %s", error.close_code, self._connection, error)
            self._connection.begin_close(error.close_code, kind=EndingKind.SERVER_CLOSED)

    async def _receive_some(self) -> None:
        connection = self._connection
        if not connection.inbox.has_room():
            await self._wait_for_handler()
        messages = await self._transport.receive()
        connection.received(messages)
        requests = connection.requests
        for message in messages:
            if isinstance(message, str) and (beat := heartbeat.classify(message)) is not None:
                self._answer(*beat)
            elif requests is None or not isinstance(message, str) or not requests.take(message):
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

    def _start_writer(self) -> None:
        # Shielded: cancelled in the middle of a frame, nothing could follow it, not even the close frame.
        self._writing = trio.CancelScope(shield=True)
        self._written = trio.Event()
        if self._connection.ending is not None:
            self._writing.deadline = self._goodbye_deadline
        self._nursery.start_soon(self._write, self._writing, self._written)

    async def _write(self, scope: trio.CancelScope, written: trio.Event) -> None:
        """Write until nothing waits. A peer that takes longer over a batch than it may be silent is given up on."""
        outbox = self._connection.outbox
        failure: WebSocketDisconnect | None = None
        try:
            with scope:
                while batch := outbox.take():
                    if self._connection.ending is None:
                        scope.deadline = trio.current_time() + self._settings.WS_HEARTBEAT_TIMEOUT_SECONDS
                    await self._transport.send(batch)
        except WebSocketDisconnect as gone:
            failure = gone
            outbox.discard()
        finally:
            self._writing = None
            written.set()
        if scope.cancelled_caught:
            self._connection.begin_close(CloseCode.TRY_AGAIN_LATER, "too slow", kind=EndingKind.OVERFLOWED)
            self._transport.abort()
        elif failure is not None:
            # The receiver is about to find out too, with the true code, and may have messages to take before that.
            await trio.sleep(self._settings.WS_CLOSE_TIMEOUT_SECONDS)
            self._connection.peer_left(failure)

    async def _keep_time(self) -> None:
        """Ping, watch for silence, and end the connection with its token: whichever is next."""
        connection, settings = self._connection, self._settings
        next_ping = trio.current_time() + settings.WS_HEARTBEAT_SECONDS
        look_at_token = trio.current_time() + self._token.look()
        while connection.ending is None:
            await self._sleep_until(min(next_ping, self._silence_ends(), look_at_token))
            look_at_token = trio.current_time() + self._token.look()
            now = trio.current_time()
            if now >= self._silence_ends():
                connection.begin_close(CloseCode.HEARTBEAT_TIMEOUT, kind=EndingKind.SERVER_CLOSED)
            elif now >= next_ping:
                connection.ping_sent()
                if not connection.offer(heartbeat.PING) and self._paused:
                    # Nobody reads, so nobody else would find out that the peer has gone.
                    connection.peer_left(WebSocketDisconnect(ABNORMAL_CLOSURE))
                next_ping = now + settings.WS_HEARTBEAT_SECONDS

    async def _sleep_until(self, deadline: float) -> None:
        """Sleep, unless `_wake_up` is called."""
        with trio.CancelScope(deadline=deadline) as self._nap:
            await trio.sleep_forever()

    def _wake_up(self) -> None:
        if self._nap is not None:
            self._nap.cancel()

    def _silence_ends(self) -> float:
        """When a peer that says nothing more has been silent for too long. While it is held up it is not silent."""
        since = trio.current_time() if self._paused else self._connection.last_seen
        return since + self._settings.WS_HEARTBEAT_TIMEOUT_SECONDS

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
