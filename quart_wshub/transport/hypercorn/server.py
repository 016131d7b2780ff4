"""Hypercorn's per-connection class on Trio, made safe, and able to hand a byte stream over.

`HubTCPServer` takes the place of `hypercorn.trio.tcp_server.TCPServer` at one name, `hypercorn.trio.run.TCPServer`,
which `worker_serve` looks up after the app is loaded. So `hypercorn -k trio`, `app.run()` and `hypercorn.trio.serve`
all use it. Nothing else of hypercorn is replaced.

What it adds:
  - an exception in one connection ends that connection; hypercorn lets it end the server (hypercorn#225 and others);
  - a WebSocket handshake has an `Upgrade` in its ASGI scope, through which the app can claim the byte stream;
  - a plain handshake for a hub's path is served without hypercorn's HTTP machinery.
"""

from __future__ import annotations

import logging
import os
import traceback
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Any

import trio
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol import ProtocolWrapper
from hypercorn.trio.tcp_server import MAX_RECV, TCPServer
from hypercorn.trio.worker_context import TrioSingleTask
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr

from quart_wshub.transport.hypercorn.direct import DirectUpgrade
from quart_wshub.transport.hypercorn.shutdown import Worker, worker_of
from quart_wshub.transport.hypercorn.task_group import UpgradingTaskGroup
from quart_wshub.transport.pipes import SocketPipe

if TYPE_CHECKING:
    from hypercorn.trio.task_group import TaskGroup

    from quart_wshub.transport.hypercorn.served_connection import Address

__all__ = ["HubTCPServer"]

log: logging.Logger = logging.getLogger("quart_wshub")

GONE = (trio.BrokenResourceError, trio.BusyResourceError, trio.ClosedResourceError)
"""What sending raises when the client has gone, or when the connection is being closed just then (busy)."""


class HubTCPServer(TCPServer):
    """One connection of the server: HTTP/1.1, HTTP/2 or a WebSocket over either. A `ServedConnection`."""

    nursery: trio.Nursery
    worker: Worker
    secure: bool
    client: Address
    local: Address
    handed_over: bool = False

    # These exist while hypercorn serves HTTP.
    protocol: ProtocolWrapper
    send_lock: trio.Lock
    idle_task: TrioSingleTask
    _reading_ended: trio.Event

    _reading: trio.CancelScope | None = None
    _waits_for_a_request = True
    _unread = b""

    def __init__(self, app: Any, config: Any, context: Any, state: Any, stream: Any) -> None:
        # `TCPServer.__init__`, without what only HTTP needs.
        self.app = app
        self.config = config
        self.context = context
        self.state = state
        self.stream = stream

    async def run(self) -> None:
        """Serve the connection; whatever goes wrong in it ends here, in one line of the log."""
        nursery = trio.lowlevel.current_task().parent_nursery
        assert nursery is not None, "a connection is served by a task of a nursery"
        self.nursery = nursery
        self.worker = worker_of(self.context, self.config)
        self.worker.enter(self)
        try:
            await self._serve()
        except BaseException as error:
            self.drop(error)
        finally:
            self.worker.leave(self)

    def drop(self, error: BaseException) -> None:
        failures, others = BaseExceptionGroup("", [error]).split(Exception)
        if failures is not None:
            self._log_failure(failures)
            self.abort()
        if others is not None:
            raise (error if failures is None else others) from None

    def _log_failure(self, error: BaseException) -> None:
        # Neither the text nor the values of a peer's making: a line that an attacker can trigger, but not write.
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        where = traceback.extract_tb(error.__traceback__)[-1]
        log.error(
            "a connection failed and was dropped: %s in %s:%s", type(error).__name__, where.filename, where.lineno
        )
        log.debug("the connection failed with:", exc_info=error)

    async def _serve(self) -> None:
        """`TCPServer.run` of hypercorn 0.18, but for the task group, which intercepts WebSocket handshakes."""
        alpn_protocol = "http/1.1"
        self.secure = isinstance(self.stream, trio.SSLStream)
        if self.secure:
            try:
                with trio.fail_after(self.config.ssl_handshake_timeout):
                    await self.stream.do_handshake()
            except (trio.BrokenResourceError, trio.TooSlowError):
                return
            alpn_protocol = self.stream.selected_alpn_protocol() or alpn_protocol
        socket = self._tcp_stream.socket
        try:
            self.client = parse_socket_addr(socket.family, socket.getpeername())
            self.local = parse_socket_addr(socket.family, socket.getsockname())
            upgrade, first = await self._receive_first() if alpn_protocol == "http/1.1" else (None, None)
            if upgrade is not None:
                await upgrade.serve()
            elif first != b"":
                await self.serve_http(UpgradingTaskGroup(self), alpn_protocol, first)
        except OSError:
            pass
        finally:
            await self._close()

    async def _receive_first(self) -> tuple[DirectUpgrade | None, bytes | None]:
        """The handshake that can be served directly, or what came first; empty where nothing came in time."""
        first = self._read_what_is_there() or await self._read_in_time(self._patience()) or b""
        upgrade = DirectUpgrade.recognise(self, first)
        if upgrade is not None:
            self._waits_for_a_request = False
            return upgrade, None
        return None, first

    async def serve_http(self, task_group: TaskGroup, alpn_protocol: str, first: bytes | None) -> None:
        self.send_lock = trio.Lock()
        self.idle_task = TrioSingleTask()
        self._reading_ended = trio.Event()
        self._handling = trio.CancelScope()
        async with task_group:
            self._task_group = task_group
            self.protocol = ProtocolWrapper(
                self.app,
                self.config,
                self.context,
                task_group,
                ConnectionState(self.state),
                self.secure,
                self.client,
                self.local,
                self.protocol_send,
                alpn_protocol,
            )
            await self.protocol.initiate()
            await self._read_requests(first)

    def _patience(self) -> float:
        """Seconds until the first request is late.

        Hypercorn starts a task that waits for that. That is what a deadline is for; only for what comes in pieces, and
        between requests, its task is started.
        """
        return min(self.config.keep_alive_timeout, self._read_timeout)

    @property
    def _read_timeout(self) -> float:
        return self.config.read_timeout or inf

    async def _read_requests(self, first: bytes | None) -> None:
        try:
            await self._read_for_hypercorn(first)
        finally:
            self._reading = None
            self._reading_ended.set()
        if not self.handed_over:
            await self.protocol.handle(Closed())
            if not self.handed_over:  # meanwhile too
                await self.idle_task.stop()  # else it would keep the socket for `keep_alive_timeout`

    async def _read_for_hypercorn(self, first: bytes | None) -> None:
        """`TCPServer._read_data` of hypercorn 0.18, until the connection ends or is handed over."""
        data = await self._read_in_time(self._patience()) if first is None else first
        while data is not None:
            if self.handed_over:
                self._unread = data
                return
            with trio.CancelScope() as self._handling:
                await self.protocol.handle(RawData(data))
            if self._handling.cancelled_caught or data == b"" or self.handed_over:
                return
            if self._waits_for_a_request:
                self._waits_for_a_request = False
                await self.idle_task.restart(self._task_group, self._idle_timeout)
            data = await self._read_in_time(self._read_timeout)

    def _read_what_is_there(self) -> bytes:
        """The request mostly comes along with the connection. That spares a deadline and a turn of the event loop."""
        if not self.secure:
            with suppress(OSError):
                return os.read(self._tcp_stream.socket.fileno(), MAX_RECV)
        return b""

    async def _read_in_time(self, patience: float) -> bytes | None:
        """Read once; `None` where that takes longer, where it is called off, or where the client has gone."""
        data = b""
        try:
            with trio.CancelScope(deadline=trio.current_time() + patience) as self._reading:
                data = bytes(await self.stream.receive_some(MAX_RECV))
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            return None
        return None if self._reading.cancelled_caught else data

    async def protocol_send(self, event: Event) -> None:
        if isinstance(event, Updated) and not event.idle and self._waits_for_a_request:
            self._waits_for_a_request = False
        elif isinstance(event, RawData):
            await self._send(event.data)
        elif isinstance(event, Closed):
            await super().protocol_send(event)
            self._handling.cancel()
        elif not self._reading_ended.is_set():
            # Quart-Trio cancels its request when the response is out, which is where hypercorn starts to wait for the
            # next one. Cancelled there, an idle connection has no timeout, and holds up the shutdown.
            with trio.CancelScope(shield=True):
                await super().protocol_send(event)

    async def _send(self, data: bytes) -> None:
        """`TCPServer.protocol_send` of hypercorn 0.18, but where the client has gone the reading ends too.

        Hypercorn leaves it waiting for the end of a response that is not sent any more, and the socket open for good.
        """
        async with self.send_lock:
            try:
                with trio.CancelScope(shield=True):
                    await self.stream.send_all(data)
            except GONE:
                await self.protocol.handle(Closed())
                self._handling.cancel()

    async def _close(self) -> None:
        if self._tcp_stream.socket.fileno() != -1:  # else whoever claimed the stream has closed it
            await super()._close()

    @property
    def _tcp_stream(self) -> trio.SocketStream:
        """The stream, or the one below TLS."""
        stream: Any = self.stream
        below: trio.SocketStream = getattr(stream, "transport_stream", stream)
        return below

    def stop_waiting(self) -> None:
        """The server is shutting down: end a connection that has not asked for anything yet."""
        if self._waits_for_a_request and self._reading is not None:
            self._reading.cancel()

    async def hand_over(self) -> bytes:
        self.handed_over = True
        if self._reading is not None:
            self._reading.cancel()
        await self._reading_ended.wait()
        return self._unread

    def forget_http(self) -> None:
        del self.protocol, self.idle_task, self.send_lock, self._handling, self._reading_ended

    def abort(self) -> None:
        SocketPipe(self._tcp_stream).abort()
