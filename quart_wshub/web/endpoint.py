"""What one blueprint's route does: from an upgrade request to a running connection."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import trio
from quart import Response, abort, websocket

from quart_wshub.auth.credentials import extract_credentials
from quart_wshub.auth.handshake import Refusal, authenticate, choose_subprotocol, origin_allowed
from quart_wshub.auth.identity import BearerResolver, Identity, WallClock, utc_now
from quart_wshub.connection.lifecycle import Lifecycle
from quart_wshub.connection.session import Session
from quart_wshub.connection.websocket import WebSocket
from quart_wshub.connection.websocket_connection import WebSocketConnection
from quart_wshub.hub.websocket_hub import runtime_of
from quart_wshub.protocol.close_codes import CloseCode
from quart_wshub.protocol.errors import WebSocketDisconnect
from quart_wshub.protocol.heartbeat import hello_frame
from quart_wshub.web.accept import open_transport
from quart_wshub.web.asgi_classes import takeover_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from werkzeug.datastructures import Headers

    from quart_wshub.auth.revocations import Admission
    from quart_wshub.hub.handler import Handler
    from quart_wshub.hub.slots import Slot
    from quart_wshub.hub.websocket_hub import WebSocketHub
    from quart_wshub.settings import WebSocketSettings
    from quart_wshub.transport.base import Transport

    Verdict = Identity | Refusal

__all__ = ["WALL_CLOCK", "Endpoint"]

WALL_CLOCK = "quart_wshub.wall_clock"
"""The ASGI scope extension that brings a wall clock of its own for tokens to expire by: `quart_wshub.testing` does."""

RETRY_AFTER_SECONDS = 5


class Endpoint:
    """What one blueprint's route does."""

    def __init__(
        self,
        handler: Handler,
        hub: WebSocketHub,
        bearer_resolver: BearerResolver,
        settings: WebSocketSettings,
        subprotocols: tuple[str, ...],
        announce_expiry: bool,
    ) -> None:
        self._handler = handler
        self._hub = hub
        self._runtime = runtime_of(hub)
        self._bearer_resolver = bearer_resolver
        self._settings = settings
        self._subprotocols = subprotocols
        self._announce_expiry = announce_expiry

    async def serve(self, **path_params: Any) -> Response | None:
        """The view. A response refuses the handshake; `None` says that the connection is over."""
        scope, headers = websocket.scope, websocket.headers  # each use of Quart's proxy takes a microsecond
        if not _is_below_root_path(scope):
            abort(404)
        if not origin_allowed(headers.get("Origin"), self._settings):
            return Response("this origin may not connect\n", 403)
        slot = None if self._runtime.drain.has_begun else self._runtime.slots.begin(self._settings)
        if slot is None:
            return _no_room()
        try:
            outcome = await self._admit(slot, scope, headers, path_params)
            if isinstance(outcome, Lifecycle):
                await outcome.run()
                return None
            return outcome
        finally:
            slot.release()

    async def _admit(
        self, slot: Slot, scope: Any, headers: Headers, path_params: dict[str, Any]
    ) -> Lifecycle | Response | None:
        """Answer the handshake. Returns the connection, ready to run, where it is accepted."""
        credentials = extract_credentials(
            scope.get("subprotocols", ()),
            headers.get("Authorization"),
            scope["query_string"],
            allow_query=self._settings.WS_ALLOW_QUERY_TOKEN,
        )
        clock: WallClock = (scope.get("extensions") or {}).get(WALL_CLOCK, utc_now)
        with self._runtime.revocations.admission() as admission:
            verdict = await authenticate(credentials, self._bearer_resolver, self._settings)
            verdict = _still_good(verdict, admission, clock)
            if isinstance(verdict, Refusal) and self._settings.WS_REJECT_WITH_HTTP:
                return _refuse_with_http(verdict)
            if isinstance(verdict, Identity) and not slot.admit(self._settings):
                return _no_room()
            subprotocol = choose_subprotocol(credentials, self._subprotocols)
            try:
                transport = await open_transport(scope, headers, self._runtime, self._settings, subprotocol)
            except WebSocketDisconnect:
                return None
            entered = await self._enter(transport, verdict, lambda it: _still_good(it, admission, clock))
        if isinstance(entered, Refusal):
            slot.refuse(transport, self._settings)
            await self._refuse_with_close(transport, entered)
            return None
        ws = WebSocket(entered, takeover_of(scope).masked_scope, path_params, subprotocol)
        return Lifecycle(
            transport,
            entered,
            partial(self._handler, ws, WebSocketConnection(entered, ws), self._hub),
            self._settings,
            announce_expiry=self._announce_expiry,
            wall_clock=clock,
        )

    async def _refuse_with_close(self, transport: Transport, refusal: Refusal) -> None:
        """Accepted, then closed: a browser sees no code of a handshake that fails."""
        with trio.move_on_after(self._settings.WS_CLOSE_TIMEOUT_SECONDS) as patience:
            await transport.close(refusal.code, refusal.reason)
        if patience.cancelled_caught:
            transport.abort()

    async def _enter(
        self, transport: Transport, verdict: Verdict, look_again: Callable[[Verdict], Verdict]
    ) -> Session | Refusal:
        """Register the session, once what other nodes send to its user arrives here; or say why not any more."""
        if isinstance(verdict, Refusal):
            return verdict
        try:
            async with self._runtime.expecting(verdict.user_id):
                # From this look to the registration nothing else runs.
                verdict = look_again(verdict)
                return verdict if isinstance(verdict, Refusal) else self._register(transport, verdict)
        except BaseException:  # cancelled while it waited
            transport.abort()
            raise

    def _register(self, transport: Transport, identity: Identity) -> Session:
        runtime = self._runtime
        session = Session(
            runtime.new_connection_id(),
            identity,
            registry=runtime.registry,
            fan_out=runtime.fan_out,
            closed=runtime.closed,
            transport=transport,
            settings=self._settings,
        )
        if self._settings.WS_HELLO:
            session.offer(hello_frame(session.connection_id, self._settings))
        runtime.register(session)
        return session


def _still_good(verdict: Identity | Refusal, admission: Admission, clock: WallClock) -> Identity | Refusal:
    """The verdict, unless something has happened to the token since its resolver was asked."""
    if isinstance(verdict, Refusal):
        return verdict
    if admission.is_revoked(verdict.user_id):
        return Refusal(CloseCode.UNAUTHORIZED, "token revoked", 401)
    if verdict.has_expired(clock()):
        return Refusal(CloseCode.UNAUTHORIZED, "token expired", 401)
    return verdict


def _no_room() -> Response:
    return Response("no room for another connection\n", 503, {"Retry-After": str(RETRY_AFTER_SECONDS)})


def _refuse_with_http(refusal: Refusal) -> Response:
    headers = {"WWW-Authenticate": "Bearer"} if refusal.http_status == 401 else None
    return Response(f"{refusal.reason}\n", refusal.http_status, headers)


def _is_below_root_path(scope: Any) -> bool:
    """Whether the path really starts with the prefix the app is mounted at.

    Quart-Trio cuts at the first place the prefix stands in the path, so `/x/pfx/ws` would pass for `/pfx/ws`.
    """
    root_path = scope.get("root_path", "").rstrip("/")
    return not root_path or scope["path"].startswith(f"{root_path}/")
