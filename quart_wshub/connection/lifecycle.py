"""One connection's nursery, and its close.

    nursery
      receiver    reads messages, whatever the handler does; then does the closing handshake
      ping        sends the heartbeat
      watchdog    closes with 4408 when the peer has been silent for too long
      handler     the app's
      token watch while there is an expiry: announces it, and closes with 4401
      writer      while something waits to be written

When one of them ends, all end. Every end goes through `Session.begin_close`, whoever calls it: that is synchronous,
takes the session out of the registry, and calls `begin_closing` here, which cancels what has to stop. Cancelling the
nursery closes the socket with 1012. The closing handshake is shielded, and has a deadline from the moment it begins.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

import trio

from quart_wshub.auth.identity import utc_now
from quart_wshub.connection.ending import EndingKind
from quart_wshub.connection.expiry import TokenWatch
from quart_wshub.connection.failures import close_after_fault, close_code_for, log_failure
from quart_wshub.protocol.close_codes import ABNORMAL_CLOSURE, CloseCode
from quart_wshub.protocol.errors import PeerError, WebSocketDisconnect
from quart_wshub.protocol.heartbeat import PING, pong_frame
from quart_wshub.protocol.inbound import heartbeat_in

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from quart_wshub.auth.identity import WallClock
    from quart_wshub.connection.session import Session
    from quart_wshub.settings import WebSocketSettings
    from quart_wshub.transport.base import Transport

__all__ = ["Lifecycle"]

log: logging.Logger = logging.getLogger("quart_wshub")

MAX_CLOSE_SECONDS = {EndingKind.CANCELLED: 0.5, EndingKind.OVERFLOWED: 1.0}
"""Upper bounds for the closing handshake besides `WS_CLOSE_TIMEOUT_SECONDS`: the server will not wait, or the peer has
shown that it does not read."""


class Lifecycle:
    """Runs one accepted, registered connection to its end.

    Args:
        handle: calls the app's handler.
        announce_expiry: whether `auth.expiring` is sent before the token expires.
        wall_clock: by which tokens expire.
    """

    __slots__ = (
        "_close_deadline",
        "_handle",
        "_notice",
        "_nursery",
        "_paused",
        "_receiving",
        "_session",
        "_settings",
        "_token",
        "_transport",
        "_wall_clock",
        "_writing",
        "_written",
    )

    def __init__(
        self,
        transport: Transport,
        session: Session,
        handle: Callable[[], Awaitable[None]],
        settings: WebSocketSettings,
        *,
        announce_expiry: bool = False,
        wall_clock: WallClock = utc_now,
    ) -> None:
        self._transport = transport
        self._session = session
        self._handle = handle
        self._settings = settings
        self._notice = settings.WS_EXPIRY_NOTICE_SECONDS if announce_expiry else None
        self._wall_clock = wall_clock
        self._token: TokenWatch | None = None
        self._nursery: trio.Nursery
        self._receiving = trio.CancelScope()
        self._close_deadline = math.inf
        self._writing: trio.CancelScope | None = None
        self._written: trio.Event | None = None
        self._paused = False

    async def run(self) -> None:
        """Return when the connection is over and nothing of it is left.

        Cancellation closes the socket with 1012 and gives that half a second.
        """
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._receiver)
                self._nursery.start_soon(self._ping)
                self._nursery.start_soon(self._watchdog)
                self._nursery.start_soon(self._handler)
                self._attach()
        except* Exception:
            log.exception("internal error: connection=%s", self._session.connection_id)

    def _attach(self) -> None:
        """Have the session start the tasks that are needed only at times, and begin the close."""
        session = self._session
        session.runner = session.outbox.starter = self
        self.watch_token()
        if not session.outbox.idle:  # `hello` waits already
            self.start_writer()
        if session.ending is not None:  # evicted before it ran
            self.begin_closing()

    # The tasks

    async def _receiver(self) -> None:
        try:
            with self._receiving:
                await self._receive()
        except WebSocketDisconnect as gone:
            self._session.peer_left(gone)
        except PeerError as error:
            log.info("closing with %d: %r: %s", error.close_code, self._session, error)
            self._session.close(error.close_code)
        except Exception:
            close_after_fault(self._session)
        finally:
            await self._close_socket()

    async def _ping(self) -> None:
        session = self._session
        try:
            while session.ending is None:
                await trio.sleep_until(trio.current_time() + self._settings.WS_HEARTBEAT_SECONDS)
                if trio.current_time() >= self._silence_deadline():
                    return  # the watchdog's turn
                session.ping_sent()
                if not session.offer(PING) and self._paused:
                    # Nobody reads, so nobody else would find out that the peer has gone.
                    session.peer_left(WebSocketDisconnect(ABNORMAL_CLOSURE))
        except Exception:
            close_after_fault(session)

    async def _watchdog(self) -> None:
        try:
            while (deadline := self._silence_deadline()) > trio.current_time():  # noqa: ASYNC110 - frames put it off
                await trio.sleep_until(deadline)
            if self._token is not None:
                self._token.check()  # where both are due, the expiry counts
            self._session.close(CloseCode.HEARTBEAT_TIMEOUT)
        except Exception:
            close_after_fault(self._session)

    async def _handler(self) -> None:
        code: CloseCode = CloseCode.NORMAL
        try:
            await self._handle()
        except (Exception, BaseExceptionGroup) as error:
            # The rest is `Cancelled`, which belongs to Trio, or a request to exit.
            failure, rest = error.split(Exception) if isinstance(error, BaseExceptionGroup) else (error, None)
            if failure is not None:
                code = close_code_for(failure)
                log_failure(self._session, failure, code)
            if rest is not None:
                raise rest from None
        self._session.close(code)
        # Where the peer had left already, the siblings were waiting for nothing but this handler.
        self._nursery.cancel_scope.cancel()

    def watch_token(self) -> None:
        """Start the token watch where there is an expiry, or tell it of the new identity."""
        if self._token is not None:
            self._token.identity_changed()
        elif self._session.identity.expires_at is not None:
            self._token = TokenWatch(self._session, notice=self._notice, wall_clock=self._wall_clock)
            self._nursery.start_soon(self._token.run)

    # Receiving

    async def _receive(self) -> None:
        """Read whatever the handler does, so that a disconnect and heartbeats are always noticed."""
        session = self._session
        while True:
            if not session.inbox.has_room():
                await self._wait_for_handler()
            messages = await self._transport.receive()
            session.received(messages)
            for message in messages:
                heartbeat = heartbeat_in(message) if isinstance(message, str) else None
                if heartbeat is None:
                    session.take(message)
                elif heartbeat[0] == "ping":
                    session.offer(pong_frame(heartbeat[1]))
                else:
                    session.pong_received()

    async def _wait_for_handler(self) -> None:
        """Stop reading while the handler is behind, so that TCP holds the peer back.

        While nothing is read the peer does not count as silent, and a disconnect goes unnoticed; hence a timeout.
        """
        self._paused = True
        with trio.move_on_after(self._settings.WS_HEARTBEAT_TIMEOUT_SECONDS) as timeout:
            await self._session.inbox.wait_for_room()
        self._paused = False
        self._session.last_seen = trio.current_time()
        if timeout.cancelled_caught:
            self._session.close(CloseCode.POLICY_VIOLATION, "handler too slow")

    def _silence_deadline(self) -> float:
        """When a peer that sends nothing more times out. It does not count as silent while reading is paused."""
        since = trio.current_time() if self._paused else self._session.last_seen
        return since + self._settings.WS_HEARTBEAT_TIMEOUT_SECONDS

    # Writing

    def start_writer(self) -> None:
        # Shielded: cancelled in the middle of a frame, nothing could follow it, not even the close frame.
        self._writing = trio.CancelScope(shield=True, deadline=self._close_deadline)
        self._written = trio.Event()
        self._nursery.start_soon(self._write, self._writing, self._written)

    async def _write(self, scope: trio.CancelScope, written: trio.Event) -> None:
        """Write until nothing waits. A peer that takes longer for a batch than the heartbeat timeout is dropped."""
        outbox = self._session.outbox
        failure: WebSocketDisconnect | None = None
        try:
            with scope:
                while batch := outbox.take():
                    if self._session.ending is None:
                        scope.deadline = trio.current_time() + self._settings.WS_HEARTBEAT_TIMEOUT_SECONDS
                    await self._transport.send(batch)
        except WebSocketDisconnect as gone:
            failure = gone
            outbox.discard()
        finally:
            self._writing = None
            written.set()
        if scope.cancelled_caught:
            self._session.begin_close(CloseCode.TRY_AGAIN_LATER, "too slow", kind=EndingKind.OVERFLOWED)
            self._transport.abort()
        elif failure is not None:
            # The receiver is about to notice too, with the true code, and may have messages to read before that.
            await trio.sleep(self._settings.WS_CLOSE_TIMEOUT_SECONDS)
            self._session.peer_left(failure)

    # The end

    def begin_closing(self) -> None:
        """Cancel what has to stop. Synchronous: called in the middle of `Session.begin_close`."""
        ending = self._session.ending
        assert ending is not None
        kind = ending.kind
        now = trio.current_time()
        timeout = self._settings.WS_CLOSE_TIMEOUT_SECONDS
        self._receiving.cancel()
        self._close_deadline = min(now + min(timeout, MAX_CLOSE_SECONDS.get(kind, timeout)), ending.deadline)
        if self._writing is not None:
            self._writing.deadline = min(self._writing.deadline, self._close_deadline)
        if kind in {EndingKind.PEER_LEFT, EndingKind.HANDLER_CLOSED}:
            self._nursery.cancel_scope.deadline = now + timeout
        else:
            self._nursery.cancel_scope.cancel()

    async def _close_socket(self) -> None:
        """Let what is queued go out, then do the closing handshake."""
        # Where nothing else began the close, the server cancelled this.
        self._session.begin_close(CloseCode.SERVICE_RESTART, kind=EndingKind.CANCELLED)
        ending = self._session.ending
        assert ending is not None
        with trio.CancelScope(shield=True, deadline=self._close_deadline) as closing:
            if self._written is not None:
                await self._written.wait()
            await self._transport.close(ending.code, ending.reason)
        if closing.cancelled_caught:
            self._transport.abort()
