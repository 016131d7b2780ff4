"""What follows from an exception that left a handler: the close code, and the log line."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from quart_wshub.protocol.close_codes import CloseCode
from quart_wshub.protocol.envelope import is_envelope_error
from quart_wshub.protocol.errors import PeerError, UnknownConnectionError, WebSocketDisconnect
from quart_wshub.protocol.exception_groups import leaves

if TYPE_CHECKING:
    from quart_wshub.connection.session import Session

__all__ = ["close_after_fault", "close_code_for", "log_failure"]

log: logging.Logger = logging.getLogger("quart_wshub")


def close_code_for(error: BaseException) -> CloseCode:
    """The close code for what left a handler: that of a `PeerError` where only the peer is to blame, else 1011.

    `WebSocketDisconnect` is the normal end of a handler that did not expect the peer to leave, and so is
    `UnknownConnectionError`: another client left a moment before it was used.
    """
    codes = [code for leaf in leaves(error) if (code := _code(leaf)) is not None]
    if CloseCode.INTERNAL_ERROR in codes:
        return CloseCode.INTERNAL_ERROR
    return codes[0] if codes else CloseCode.NORMAL


def _code(leaf: BaseException) -> CloseCode | None:
    if isinstance(leaf, (WebSocketDisconnect, UnknownConnectionError)):
        return None
    if isinstance(leaf, PeerError):
        return leaf.close_code
    return CloseCode.INVALID_PAYLOAD if is_envelope_error(leaf) else CloseCode.INTERNAL_ERROR


def log_failure(session: Session, error: BaseException, code: CloseCode) -> None:
    """Log the failure: with a traceback where the server is to blame, in one line where the peer is."""
    who = (session.connection_id, session.user_id)
    if code is CloseCode.INTERNAL_ERROR:
        log.error("handler failed: connection=%s user=%r", *who, exc_info=error)
    elif code is not CloseCode.NORMAL:
        leaf = next(leaf for leaf in leaves(error) if _code(leaf) is code)
        what = "message is not an envelope" if is_envelope_error(leaf) else str(leaf)
        log.info("closing with %d: connection=%s user=%r: %s", code, *who, what)


def close_after_fault(session: Session) -> None:
    """Log the exception being handled, a fault of this library, and close the connection with 1011."""
    log.exception("internal error: connection=%s", session.connection_id)
    session.close(CloseCode.INTERNAL_ERROR)
