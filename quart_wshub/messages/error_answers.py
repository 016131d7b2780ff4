"""The `error` answers to messages: from an exception, or from data that is not valid."""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from quart_wshub.connection.websocket_connection import session_of
from quart_wshub.protocol.error_codes import ErrorCode
from quart_wshub.protocol.errors import (
    InvalidTopicError,
    MessageError,
    PeerError,
    TopicLimitError,
    UnknownConnectionError,
    WebSocketDisconnect,
)
from quart_wshub.protocol.frame import Frame

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

    from quart_wshub.connection.websocket_connection import WebSocketConnection
    from quart_wshub.messages.hooks import ErrorHook, Hooks

__all__ = ["answer_to", "details_of", "error_frame", "internal_error", "only_leaf"]

log: logging.Logger = logging.getLogger("quart_wshub")

PEER_FAULTS: dict[type[PeerError], ErrorCode] = {
    TopicLimitError: ErrorCode.LIMIT_EXCEEDED,
    InvalidTopicError: ErrorCode.INVALID_DATA,
}

MAX_DETAILS = 20

MAX_ERRORS = 1000
"""Listing more than these takes too long, and the first are enough."""

MAX_KEY_LENGTH = 64
"""Of a key in a detail's `loc`, which the client may have chosen, as long as a message."""


def internal_error() -> MessageError:
    """All that a client is told of a failure of the server."""
    return MessageError(ErrorCode.INTERNAL, "the server failed to handle this message")


async def answer_to(error: Exception, what: str, connection: WebSocketConnection, hooks: Hooks) -> MessageError | None:
    """The error to answer with. What the server is to blame for is logged here, once.

    `None` for a `PeerError` that has no answer: as in a plain handler, it closes the connection with its close code.

    Args:
        error: what left the handler, as `only_leaf` returns it.
        what: was being handled, for the log.
    """
    if isinstance(error, MessageError):
        return error
    if isinstance(error, WebSocketDisconnect):
        return internal_error()  # from this socket: nobody gets the answer; from another: nothing to log
    hook = hooks.for_error(error)
    if hook is not None and (answer := await _call(hook, error, what, connection)) is not None:
        return answer
    if isinstance(error, PeerError):
        code = PEER_FAULTS.get(type(error))
        return None if code is None else MessageError(code, str(error))
    used_after_it_left = isinstance(error, UnknownConnectionError) and session_of(connection).ending is not None
    if not used_after_it_left:
        _log(error, what, connection)
    return internal_error()


def only_leaf(error: Exception) -> Exception:
    """The only exception in a group: what went wrong in a handler that has a nursery."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


async def _call(hook: ErrorHook, error: Exception, what: str, connection: WebSocketConnection) -> MessageError | None:
    try:
        answer = hook(error, connection)
        if inspect.isawaitable(answer):
            answer = await answer
        if answer is None or isinstance(answer, MessageError):
            return answer
        msg = f"error hook returned {type(answer).__name__}; it must return or raise a MessageError, or return None"
        raise TypeError(msg)
    except MessageError as answer:
        return answer
    except Exception as failure:
        _log(failure, f"{what}: error hook", connection)
        return internal_error()


def _log(error: Exception, what: str, connection: WebSocketConnection) -> None:
    log.error("%s failed: connection=%s user=%r", what, connection.connection_id, connection.user_id, exc_info=error)


def error_frame(
    code: str, message: str, details: Sequence[Mapping[str, Any]] = (), request_id: str | None = None
) -> Frame:
    """An error envelope.

    Raises:
        ValueError, TypeError: something in it cannot be serialised to JSON.
    """
    data = {"code": str(code), "message": message, "details": details}
    return Frame(to_json({"type": "error", "data": data, "request_id": request_id}, inf_nan_mode="null").decode())


def details_of(error: ValidationError) -> list[dict[str, Any]]:
    """Where data is not valid and why, without the values: ``{"loc", "message", "type"}`` each, at most 20."""
    count = error.error_count()
    if count > MAX_ERRORS:
        return [{"loc": [], "message": f"{count} errors", "type": "too_many_errors"}]
    listed = error.errors(include_url=False, include_input=False)
    return [
        {"loc": [_shorten(part) for part in item["loc"]], "message": _message(item), "type": item["type"]}
        for item in listed[:MAX_DETAILS]
    ]


def _shorten(part: int | str) -> int | str:
    return part if isinstance(part, int) or len(part) <= MAX_KEY_LENGTH else f"{part[:MAX_KEY_LENGTH]}…"


def _message(item: ErrorDetails) -> str:
    if item["type"] == "union_tag_invalid":  # pydantic's own text contains the tag that was sent
        return f"Input should have one of the tags {item.get('ctx', {}).get('expected_tags')}"
    return item["msg"]
