"""What an exception that left a message handler means: which error is answered, and what is logged."""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from quart_wshub.connection.websocket_connection import WebSocketConnection
    from quart_wshub.messages.hooks import ErrorHook, Hooks

__all__ = ["answer_to", "internal_error", "only_leaf"]

log: logging.Logger = logging.getLogger("quart_wshub")

PEER_FAULTS: dict[type[PeerError], ErrorCode] = {
    TopicLimitError: ErrorCode.LIMIT_EXCEEDED,
    InvalidTopicError: ErrorCode.INVALID_DATA,
}


def internal_error() -> MessageError:
    """What a client is told of a failure of the server: nothing else."""
    return MessageError(ErrorCode.INTERNAL, "the server failed to handle this message")


async def answer_to(error: Exception, what: str, connection: WebSocketConnection, hooks: Hooks) -> MessageError | None:
    """The error to answer with. What the server is to blame for is logged here, once.

    `None` for a `PeerError` that has no answer: as in a plain handler, it ends the connection with its close code.

    Args:
        error: what left the handler, as `only_leaf` gives it.
        what: was being handled; for the log.
    """
    if isinstance(error, MessageError):
        return error
    if isinstance(error, WebSocketDisconnect):
        return internal_error()  # if it is this socket, nobody will hear that; if another, it is no news
    hook = hooks.for_error(error)
    if hook is not None and (answer := await _ask(hook, error, what, connection)) is not None:
        return answer
    if isinstance(error, PeerError):
        code = PEER_FAULTS.get(type(error))
        return None if code is None else MessageError(code, str(error))
    asked_after_it_had_left = isinstance(error, UnknownConnectionError) and session_of(connection).ending is not None
    if not asked_after_it_had_left:
        _log(error, what, connection)
    return internal_error()


def only_leaf(error: Exception) -> Exception:
    """What a group that holds one exception holds: a handler with a nursery means the one thing that went wrong."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


async def _ask(hook: ErrorHook, error: Exception, what: str, connection: WebSocketConnection) -> MessageError | None:
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
