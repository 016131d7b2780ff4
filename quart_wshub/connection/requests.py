"""Requests that the server makes of a client: who waits for which reply, on one connection.

A client can answer, and nothing else: entries are made by the server alone, and every one ends with the call that made
it. While there is something to take, the receive task offers every message to `Requests.take` before the handler's
inbox, so a reply arrives also while the handler is busy, or waits for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from quart_wshub.protocol.envelope import WSEnvelope, is_answer
from quart_wshub.protocol.errors import (
    RequestFailedError,
    RequestLimitError,
    RequestTimeoutError,
    UsageError,
    WebSocketDisconnect,
    WSHubError,
)
from quart_wshub.protocol.inbound import find_envelope

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MARK", "MAX_PENDING", "Requests", "check_timeout", "no_reply"]

MAX_PENDING = 64
"""Requests that may wait for one client at a time; and how many of those given up on are remembered."""

MARK = "wshub-"
"""How the ids of these requests begin, so that nearly every other message is told apart without parsing it."""


class _Request:
    """One request, and what came of it."""

    __slots__ = ("answered", "outcome", "reply_type")

    def __init__(self, request_type: str) -> None:
        self.reply_type: str = f"{request_type}.reply"
        self.answered: trio.Event = trio.Event()
        self.outcome: WSEnvelope | WSHubError | None = None

    def end(self, outcome: WSEnvelope | WSHubError) -> None:
        """The first outcome counts."""
        if self.outcome is None:
            self.outcome = outcome
            self.answered.set()


class Requests:
    """The requests one client has yet to answer."""

    __slots__ = ("_given_up", "_waiting")

    def __init__(self) -> None:
        self._waiting: dict[str, _Request] = {}
        self._given_up: dict[str, None] = {}

    def __len__(self) -> int:
        """What is kept: requests that wait, and those given up on whose reply may still come."""
        return len(self._waiting) + len(self._given_up)

    def begin(self, request_id: str, request_type: str) -> _Request:
        """Enter a request.

        Raises:
            RequestLimitError: `MAX_PENDING` wait already.
        """
        if len(self._waiting) >= MAX_PENDING:
            msg = f"{MAX_PENDING} requests wait for this client already"
            raise RequestLimitError(msg)
        request = self._waiting[request_id] = _Request(request_type)
        return request

    def end(self, request_id: str) -> None:
        """Nobody waits any more. Where no reply came, one that comes late is dropped, and not taken for a message."""
        if self._waiting.pop(request_id).outcome is None:
            self._given_up[request_id] = None
            if len(self._given_up) > MAX_PENDING:
                del self._given_up[next(iter(self._given_up))]

    def take(self, text: str) -> bool:
        """Whether this message was a reply to one of the requests, and has been dealt with."""
        parts = find_envelope(text, MARK)
        if parts is None:
            return False
        kind, data, request_id = parts
        if request_id is None:
            return False
        request = self._waiting.get(request_id)
        if request is not None and kind in {request.reply_type, "error"}:
            envelope = WSEnvelope(type=kind, data=data, request_id=request_id)
            request.end(_failure(data) if kind == "error" else envelope)
            return True
        if request_id in self._given_up and is_answer(kind):
            del self._given_up[request_id]
            return True
        return False

    def close(self, code: int, reason: str) -> None:
        """The connection ends: no reply will come."""
        for request in self._waiting.values():
            request.end(WebSocketDisconnect(code, reason))


def _failure(data: Mapping[str, Any]) -> RequestFailedError:
    code, message = (_text(data.get(key)) for key in ("code", "message"))
    return RequestFailedError(code, message, data.get("details"))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def check_timeout(timeout: float) -> None:
    """Check that this is a time to wait.

    Raises:
        UsageError: it is negative or not a number.
    """
    if not timeout >= 0:
        msg = f"timeout={timeout!r} must be a number of seconds, at least 0"
        raise UsageError(msg)


def no_reply(request_type: str, timeout: float) -> RequestTimeoutError:
    """The error of a request that was not answered in time."""
    return RequestTimeoutError(f"no reply to {request_type!r} within {timeout:g} s")
