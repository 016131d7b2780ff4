"""One connection's loop: takes its messages one by one, hands each to its route, and answers."""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio
from pydantic import ValidationError

from quart_wshub.connection.ending import EndingKind
from quart_wshub.connection.failures import close_code_for, log_failure
from quart_wshub.connection.websocket_connection import session_of
from quart_wshub.hub.websocket_hub import runtime_of
from quart_wshub.messages.error_answers import answer_to, internal_error, only_leaf
from quart_wshub.messages.rate_limit import TokenBucket
from quart_wshub.messages.replies import details_of, error_frame
from quart_wshub.protocol.close_codes import CloseCode
from quart_wshub.protocol.envelope import WSEnvelope, is_answer
from quart_wshub.protocol.error_codes import ErrorCode
from quart_wshub.protocol.errors import InvalidEnvelopeError, InvalidJSONError, MessageError, WebSocketDisconnect
from quart_wshub.protocol.inbound import loads, read_envelope

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from quart_wshub.auth.identity import UserId
    from quart_wshub.connection.session import Session
    from quart_wshub.connection.websocket_connection import WebSocketConnection
    from quart_wshub.hub.websocket_hub import WebSocketHub
    from quart_wshub.messages.hooks import BinaryHandler, Hooks
    from quart_wshub.messages.route import BoundRoute
    from quart_wshub.protocol.frame import Frame
    from quart_wshub.settings import WebSocketSettings

__all__ = ["Dispatcher", "Plan"]

log: logging.Logger = logging.getLogger("quart_wshub")

FORGIVEN_AFTER_SECONDS = 60
"""In which time all of `WS_MAX_BAD_MESSAGES` grow back."""

REFUSED: dict[str, CloseCode] = {
    ErrorCode.INTERNAL: CloseCode.INTERNAL_ERROR,
    ErrorCode.RATE_LIMITED: CloseCode.POLICY_VIOLATION,
    ErrorCode.LIMIT_EXCEEDED: CloseCode.POLICY_VIOLATION,
}
"""With which code a connection ends whose `on_connect` raised `MessageError`; for any other code it is 4403."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All that the connections of one blueprint share.

    Attributes:
        needs_nursery: whether some route is concurrent.
    """

    routes: Mapping[str, BoundRoute]
    hooks: Hooks
    settings: WebSocketSettings
    needs_nursery: bool


class Dispatcher:
    """Serves one connection. Whatever a message does, the next one is taken."""

    __slots__ = (
        "_bad",
        "_connection",
        "_hooks",
        "_hub",
        "_nursery",
        "_plan",
        "_rate",
        "_routes",
        "_running",
        "_session",
        "_settings",
    )

    def __init__(self, plan: Plan, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        self._plan = plan
        self._routes = plan.routes
        self._hooks = plan.hooks
        self._settings = plan.settings
        self._connection = connection
        self._session: Session = session_of(connection)
        self._hub = hub
        self._rate = _rate_limit(plan.settings)
        self._bad: TokenBucket | None = None
        self._nursery: trio.Nursery | None = None
        self._running = 0

    async def run(self) -> None:
        """From the first hook to the last. Returns, or is cancelled, when the connection has ended."""
        if not await self._connect():
            return
        try:
            await self._serve()
        except Exception as error:
            self._close(close_code_for(error))
            raise
        finally:
            # Where it was not the connection's end that cancelled this, it is the server's.
            self._session.begin_close(CloseCode.SERVICE_RESTART, kind=EndingKind.CANCELLED)
            await self._disconnect()

    # The edges

    async def _connect(self) -> bool:
        """Whether the hooks let it in."""
        try:
            for hook in self._hooks.on_connect:
                await hook(self._connection, self._hub)
        except WebSocketDisconnect:
            return False
        except Exception as error:
            answer = await self._failed(error, "on_connect", None)
            if answer is not None:
                self._close(REFUSED.get(answer.code, CloseCode.FORBIDDEN))
            return False
        return True

    async def _disconnect(self) -> None:
        """Run the hooks, come what may. The connection is out of the registry already."""
        ending = self._session.ending
        assert ending is not None
        close = WebSocketDisconnect(ending.code, ending.reason)
        for hook in self._hooks.on_disconnect:
            with runtime_of(self._hub).drain.cleanup(self._settings.WS_CLOSE_TIMEOUT_SECONDS) as scope:
                try:
                    with scope:
                        await hook(self._connection, self._hub, close)
                except Exception:
                    log.exception("on_disconnect failed: connection=%s user=%r", *self._who())
            if scope.cancelled_caught:
                log.error("on_disconnect took too long: connection=%s user=%r", *self._who())

    async def _serve(self) -> None:
        if not self._plan.needs_nursery:
            await self._take_all()
            return
        async with trio.open_nursery() as self._nursery:
            await self._take_all()

    async def _take_all(self) -> None:
        inbox = self._session.inbox
        with suppress(WebSocketDisconnect):
            while True:
                await self._take(await inbox.get())

    # One message

    async def _take(self, message: str | bytes) -> None:
        if self._rate is not None and (wait := self._rate.take(trio.current_time())):
            await self._refuse_for_a_while(message, wait)
        elif isinstance(message, str):
            await self._take_text(message)
        elif self._hooks.on_binary is not None:
            await self._take_binary(message, self._hooks.on_binary)
        else:
            self._close(CloseCode.UNSUPPORTED_DATA)

    async def _take_text(self, text: str) -> None:
        try:
            kind, data, request_id = read_envelope(text)
        except (InvalidJSONError, InvalidEnvelopeError) as error:
            await self._refuse_unreadable(text, error)
            return
        route = self._routes.get(kind)
        if route is None:
            if not is_answer(kind):  # one that came too late for `hub.request`, which waits no more
                await self._refuse(ErrorCode.UNKNOWN_TYPE, "nothing here takes messages of this type", (), request_id)
            return
        try:
            payload = WSEnvelope(type=kind, data=data, request_id=request_id) if route.raw else route.read(data)
        except Exception as error:
            await self._refuse_data(route, error, request_id)
            return
        if route.concurrent:
            await self._handle_aside(route, payload, request_id)
        else:
            await self._handle(route, payload, request_id)

    async def _handle(self, route: BoundRoute, payload: object, request_id: str | None) -> None:
        try:
            if route.timeout is None:
                result = await route.invoke(payload, self._connection, self._hub)
            else:
                result = await self._invoke_in_time(route, payload)
            if request_id is None:
                return
            reply = route.reply(result, request_id)
        except Exception as error:
            await self._failed(error, f"handler of {route.facts.type!r}", request_id)
        else:
            await self._send(reply)

    async def _invoke_in_time(self, route: BoundRoute, payload: object) -> object:
        assert route.timeout is not None
        with trio.move_on_after(route.timeout):
            return await route.invoke(payload, self._connection, self._hub)
        log.warning("handler of %r took too long: connection=%s user=%r", route.facts.type, *self._who())
        msg = f"handling this took longer than {route.timeout:g} s"
        raise MessageError(ErrorCode.TIMEOUT, msg)

    async def _handle_aside(self, route: BoundRoute, payload: object, request_id: str | None) -> None:
        assert self._nursery is not None
        most = self._settings.WS_MAX_CONCURRENT_MESSAGES
        if self._running >= most:
            msg = f"at most {most} messages are handled at a time"
            await self._answer(MessageError(ErrorCode.LIMIT_EXCEEDED, msg), request_id)
            return
        self._running += 1
        self._nursery.start_soon(self._aside, route, payload, request_id)

    async def _aside(self, route: BoundRoute, payload: object, request_id: str | None) -> None:
        try:
            await self._handle(route, payload, request_id)
        finally:
            self._running -= 1

    async def _take_binary(self, message: bytes, handler: BinaryHandler) -> None:
        try:
            await handler(message, self._connection, self._hub)
        except Exception as error:
            await self._failed(error, "on_binary", None)

    # What goes wrong

    async def _failed(self, error: Exception, what: str, request_id: str | None) -> MessageError | None:
        """Answer for an exception; returns the answer."""
        leaf = only_leaf(error)
        answer = await answer_to(leaf, what, self._connection, self._hooks)
        if answer is None:
            self._end_as_a_plain_handler_would(leaf)
        else:
            await self._answer(answer, request_id)
        return answer

    def _end_as_a_plain_handler_would(self, error: Exception) -> None:
        code = close_code_for(error)
        log_failure(self._session, error, code)
        self._close(code)

    async def _refuse_data(self, route: BoundRoute, error: Exception, request_id: str | None) -> None:
        if isinstance(error, ValidationError):
            await self._refuse(ErrorCode.INVALID_DATA, "data is not valid", details_of(error), request_id)
        else:  # a validator of the app's failed
            await self._failed(error, f"model of {route.facts.type!r}", request_id)

    async def _refuse_unreadable(self, text: str, error: Exception) -> None:
        if isinstance(error, InvalidJSONError):
            await self._refuse(ErrorCode.INVALID_JSON, str(error))
            return
        value = loads(text)
        try:
            WSEnvelope.model_validate(value)
        except ValidationError as why:
            await self._refuse(ErrorCode.INVALID_ENVELOPE, str(error), details_of(why), _request_id_of(value))

    async def _refuse_for_a_while(self, message: str | bytes, wait: float) -> None:
        request_id = None
        if isinstance(message, str):
            with suppress(InvalidJSONError):
                request_id = _request_id_of(loads(message))
        details = ({"retry_after_seconds": round(wait, 3)},)
        await self._refuse(ErrorCode.RATE_LIMITED, "too many messages", details, request_id)

    async def _refuse(
        self,
        code: ErrorCode,
        message: str,
        details: Sequence[Mapping[str, Any]] = (),
        request_id: str | None = None,
    ) -> None:
        """Answer with an error, and close where there were too many that count against the client."""
        await self._answer(MessageError(code, message, details=details), request_id)
        if code.counts_as_bad and self._is_too_bad():
            self._close(CloseCode.POLICY_VIOLATION, "too many bad messages")

    def _is_too_bad(self) -> bool:
        if self._bad is None:  # most clients never need one
            most = self._settings.WS_MAX_BAD_MESSAGES
            self._bad = TokenBucket(most / FORGIVEN_AFTER_SECONDS, most)
        return self._bad.take(trio.current_time()) > 0

    # Out

    async def _answer(self, error: MessageError, request_id: str | None) -> None:
        try:
            frame = error_frame(error.code, error.message, error.details, request_id)
        except (TypeError, ValueError):
            log.exception("an error answer has no JSON form: connection=%s user=%r", *self._who())
            frame = error_frame(ErrorCode.INTERNAL, internal_error().message, (), request_id)
        await self._send(frame)

    async def _send(self, frame: Frame) -> None:
        """Where the peer has gone, what it sent before is handled all the same."""
        with suppress(WebSocketDisconnect):
            await self._session.send(frame)

    def _close(self, code: CloseCode, reason: str | None = None) -> None:
        self._session.close(code, reason)

    def _who(self) -> tuple[UUID, UserId]:
        return self._connection.connection_id, self._connection.user_id


def _rate_limit(settings: WebSocketSettings) -> TokenBucket | None:
    per_second = settings.WS_RATE_LIMIT_PER_SECOND
    if per_second is None:
        return None
    return TokenBucket(per_second, settings.WS_RATE_LIMIT_BURST or math.ceil(per_second))


def _request_id_of(value: object) -> str | None:
    """What ties the answer to a request, even where the rest of the request is of no use."""
    request_id = value.get("request_id") if isinstance(value, dict) else None
    return request_id if isinstance(request_id, str) else None
