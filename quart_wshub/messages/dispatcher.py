"""One connection's message loop: takes messages one by one, hands each to its route, and answers."""

from __future__ import annotations

import logging
import math
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio
from pydantic import ValidationError

from quart_wshub.connection.ending import EndingKind
from quart_wshub.connection.failures import close_code_for, log_failure
from quart_wshub.connection.websocket_connection import session_of
from quart_wshub.hub.websocket_hub import runtime_of
from quart_wshub.messages.error_answers import answer_to, details_of, error_frame, internal_error, only_leaf
from quart_wshub.messages.rate_limit import TokenBucket
from quart_wshub.protocol.close_codes import CloseCode
from quart_wshub.protocol.envelope import WSEnvelope, is_answer
from quart_wshub.protocol.error_codes import ErrorCode
from quart_wshub.protocol.errors import InvalidEnvelopeError, InvalidJSONError, MessageError, WebSocketDisconnect
from quart_wshub.protocol.inbound import loads, read_envelope

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from uuid import UUID

    from quart_wshub.auth.identity import UserId
    from quart_wshub.connection.session import Session
    from quart_wshub.connection.websocket_connection import WebSocketConnection
    from quart_wshub.hub.websocket_hub import WebSocketHub
    from quart_wshub.messages.hooks import Hooks
    from quart_wshub.messages.route import BoundRoute
    from quart_wshub.protocol.frame import Frame
    from quart_wshub.settings import WebSocketSettings

__all__ = ["Dispatcher", "Plan"]

log: logging.Logger = logging.getLogger("quart_wshub")

REFILL_SECONDS = 60
"""In which an exhausted `WS_MAX_BAD_MESSAGES` is full again."""

CONNECT_REFUSALS: dict[str, CloseCode] = {
    ErrorCode.INTERNAL: CloseCode.INTERNAL_ERROR,
    ErrorCode.RATE_LIMITED: CloseCode.POLICY_VIOLATION,
    ErrorCode.LIMIT_EXCEEDED: CloseCode.POLICY_VIOLATION,
}
"""The close code where `on_connect` raised `MessageError`, by its code; 4403 for any other."""


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
    """Serves one connection. Whatever happens with one message, the next one is taken."""

    __slots__ = ("_bad_budget", "_connection", "_hub", "_nursery", "_plan", "_rate_limit", "_running", "_session")

    def __init__(self, plan: Plan, connection: WebSocketConnection, hub: WebSocketHub) -> None:
        self._plan = plan
        self._connection = connection
        self._session: Session = session_of(connection)
        self._hub = hub
        self._rate_limit: TokenBucket | None = None
        if (per_second := plan.settings.WS_RATE_LIMIT_PER_SECOND) is not None:
            self._rate_limit = TokenBucket(per_second, plan.settings.WS_RATE_LIMIT_BURST or math.ceil(per_second))
        self._bad_budget: TokenBucket | None = None
        self._nursery: trio.Nursery | None = None
        self._running = 0

    async def run(self) -> None:
        """Run from `on_connect` to `on_disconnect`. Returns, or is cancelled, when the connection has closed."""
        if not await self._connect():
            return
        try:
            await self._serve()
        except Exception as error:
            self._session.close(close_code_for(error))
            raise
        finally:
            # Unless the connection's close cancelled this, the server did.
            self._session.begin_close(CloseCode.SERVICE_RESTART, kind=EndingKind.CANCELLED)
            await self._disconnect()

    # Connect and disconnect

    async def _connect(self) -> bool:
        """Run the hooks. Returns whether they let the connection in."""
        try:
            for hook in self._plan.hooks.on_connect:
                await hook(self._connection, self._hub)
        except WebSocketDisconnect:
            return False
        except Exception as error:
            answer = await self._failed(error, "on_connect", None)
            if answer is not None:
                self._session.close(CONNECT_REFUSALS.get(answer.code, CloseCode.FORBIDDEN))
            return False
        return True

    async def _disconnect(self) -> None:
        """Run every hook, each shielded and bounded in time. The connection is out of the registry already."""
        ending = self._session.ending
        assert ending is not None
        close = WebSocketDisconnect(ending.code, ending.reason)
        for hook in self._plan.hooks.on_disconnect:
            with runtime_of(self._hub).drain.cleanup(self._plan.settings.WS_CLOSE_TIMEOUT_SECONDS) as scope:
                try:
                    with scope:
                        await hook(self._connection, self._hub, close)
                except Exception:
                    log.exception("on_disconnect failed: connection=%s user=%r", *self._who())
            if scope.cancelled_caught:
                log.error("on_disconnect took too long: connection=%s user=%r", *self._who())

    # Messages

    async def _serve(self) -> None:
        nursery: AbstractAsyncContextManager[trio.Nursery | None]
        nursery = trio.open_nursery() if self._plan.needs_nursery else nullcontext()
        async with nursery as self._nursery:
            with suppress(WebSocketDisconnect):
                while True:
                    await self._take(await self._session.inbox.get())

    async def _take(self, message: str | bytes) -> None:
        if self._rate_limit is not None and (wait := self._rate_limit.take(trio.current_time())):
            await self._refuse_rate_limited(message, wait)
        elif isinstance(message, str):
            await self._take_text(message)
        elif self._plan.hooks.on_binary is not None:
            try:
                await self._plan.hooks.on_binary(message, self._connection, self._hub)
            except Exception as error:
                await self._failed(error, "on_binary", None)
        else:
            self._session.close(CloseCode.UNSUPPORTED_DATA)

    async def _take_text(self, text: str) -> None:
        try:
            kind, data, request_id = read_envelope(text)
        except (InvalidJSONError, InvalidEnvelopeError) as error:
            await self._refuse_unreadable(text, error)
            return
        route = self._plan.routes.get(kind)
        if route is None:
            if not is_answer(kind):  # an answer came too late for `hub.request`
                await self._refuse(ErrorCode.UNKNOWN_TYPE, "nothing here takes messages of this type", (), request_id)
            return
        try:
            payload = WSEnvelope(type=kind, data=data, request_id=request_id) if route.raw else route.read(data)
        except ValidationError as error:
            await self._refuse(ErrorCode.INVALID_DATA, "data is not valid", details_of(error), request_id)
        except Exception as error:  # from a validator of the app
            await self._failed(error, f"model of {kind!r}", request_id)
        else:
            handle = self._handle_concurrently if route.concurrent else self._handle
            await handle(route, payload, request_id)

    async def _handle(self, route: BoundRoute, payload: object, request_id: str | None) -> None:
        try:
            if route.timeout is None:
                result = await route.invoke(payload, self._connection, self._hub)
            else:
                result = await self._invoke_with_timeout(route, payload, route.timeout)
            if request_id is None:
                return
            reply = route.reply(result, request_id)
        except Exception as error:
            await self._failed(error, f"handler of {route.facts.type!r}", request_id)
        else:
            await self._send(reply)

    async def _invoke_with_timeout(self, route: BoundRoute, payload: object, timeout: float) -> object:
        with trio.move_on_after(timeout):
            return await route.invoke(payload, self._connection, self._hub)
        log.warning("handler of %r took too long: connection=%s user=%r", route.facts.type, *self._who())
        msg = f"handling this took longer than {timeout:g} s"
        raise MessageError(ErrorCode.TIMEOUT, msg)

    async def _handle_concurrently(self, route: BoundRoute, payload: object, request_id: str | None) -> None:
        assert self._nursery is not None
        most = self._plan.settings.WS_MAX_CONCURRENT_MESSAGES
        if self._running >= most:
            msg = f"at most {most} messages are handled at a time"
            await self._send_error(MessageError(ErrorCode.LIMIT_EXCEEDED, msg), request_id)
            return
        self._running += 1
        self._nursery.start_soon(self._handle_and_count, route, payload, request_id)

    async def _handle_and_count(self, route: BoundRoute, payload: object, request_id: str | None) -> None:
        try:
            await self._handle(route, payload, request_id)
        finally:
            self._running -= 1

    # Errors

    async def _failed(self, error: Exception, what: str, request_id: str | None) -> MessageError | None:
        """Answer an exception, and return the answer; without one, close as after an exception in a plain handler."""
        error = only_leaf(error)
        answer = await answer_to(error, what, self._connection, self._plan.hooks)
        if answer is not None:
            await self._send_error(answer, request_id)
        else:
            code = close_code_for(error)
            log_failure(self._session, error, code)
            self._session.close(code)
        return answer

    async def _refuse_unreadable(self, text: str, error: Exception) -> None:
        if isinstance(error, InvalidJSONError):
            await self._refuse(ErrorCode.INVALID_JSON, str(error))
            return
        value = loads(text)
        try:
            WSEnvelope.model_validate(value)
        except ValidationError as why:
            await self._refuse(ErrorCode.INVALID_ENVELOPE, str(error), details_of(why), _request_id_of(value))

    async def _refuse_rate_limited(self, message: str | bytes, wait: float) -> None:
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
        """Answer with an error; close when more of them count against the client than `WS_MAX_BAD_MESSAGES`."""
        await self._send_error(MessageError(code, message, details=details), request_id)
        if code.counts_as_bad:
            if self._bad_budget is None:  # most clients never need one
                most = self._plan.settings.WS_MAX_BAD_MESSAGES
                self._bad_budget = TokenBucket(most / REFILL_SECONDS, most)
            if self._bad_budget.take(trio.current_time()):
                self._session.close(CloseCode.POLICY_VIOLATION, "too many bad messages")

    async def _send_error(self, error: MessageError, request_id: str | None) -> None:
        try:
            frame = error_frame(error.code, error.message, error.details, request_id)
        except (TypeError, ValueError):
            log.exception("an error answer cannot be serialised to JSON: connection=%s user=%r", *self._who())
            frame = error_frame(ErrorCode.INTERNAL, internal_error().message, (), request_id)
        await self._send(frame)

    async def _send(self, frame: Frame) -> None:
        """Send, unless the peer has gone: what it sent before is handled all the same."""
        with suppress(WebSocketDisconnect):
            await self._session.send(frame)

    def _who(self) -> tuple[UUID, UserId]:
        return self._connection.connection_id, self._connection.user_id


def _request_id_of(value: object) -> str | None:
    """The `request_id` for the answer, even where the rest of the request is of no use."""
    request_id = value.get("request_id") if isinstance(value, dict) else None
    return request_id if isinstance(request_id, str) else None
