"""The hooks of an app: for connect and disconnect, for binary messages, and for errors."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from quart_wshub.connection.websocket_connection import WebSocketConnection
from quart_wshub.hub.websocket_hub import WebSocketHub
from quart_wshub.messages.signature import require_callable, show
from quart_wshub.protocol.errors import ConfigurationError, MessageError, WebSocketDisconnect

__all__ = ["BinaryHandler", "ConnectHook", "DisconnectHook", "ErrorHook", "Hooks"]

ConnectHook = Callable[[WebSocketConnection, WebSocketHub], Awaitable[None]]
"""`(connection, hub)`, before the first message."""

DisconnectHook = Callable[[WebSocketConnection, WebSocketHub, WebSocketDisconnect], Awaitable[None]]
"""`(connection, hub, close)`, after the last; `close` has the code and the reason."""

BinaryHandler = Callable[[bytes, WebSocketConnection, WebSocketHub], Awaitable[None]]
"""`(message, connection, hub)`, for every binary message."""

ErrorAnswer = MessageError | None

ErrorHook = (
    Callable[[Any, WebSocketConnection], ErrorAnswer] | Callable[[Any, WebSocketConnection], Awaitable[ErrorAnswer]]
)
"""`(error, connection)`, sync or async: returns or raises the `MessageError` to answer with; for `None` the error is
logged, and the answer is `internal`."""


class Hooks:
    """The hooks of one router, in the order of registration."""

    def __init__(self) -> None:
        self.on_connect: list[ConnectHook] = []
        self.on_disconnect: list[DisconnectHook] = []
        self.on_binary: BinaryHandler | None = None
        self._on_error: dict[type[Exception], ErrorHook] = {}

    def set_binary(self, handler: BinaryHandler) -> None:
        """Set the handler of binary messages.

        Raises:
            ConfigurationError: there is another.
        """
        if self.on_binary not in (None, handler):
            msg = f"binary messages have two handlers: {show(self.on_binary)} and {show(handler)}"
            raise ConfigurationError(msg)
        self.on_binary = handler

    def add_error(self, error_type: type[Exception], hook: ErrorHook) -> None:
        """Add the hook for one type of exception.

        Raises:
            ConfigurationError: it has another.
        """
        if self._on_error.setdefault(error_type, hook) is not hook:
            msg = f"{error_type.__name__} has two error hooks: {show(self._on_error[error_type])} and {show(hook)}"
            raise ConfigurationError(msg)

    def include(self, other: Hooks) -> None:
        """Add all hooks of another router.

        Raises:
            ConfigurationError: both have a hook of which there can be only one.
        """
        self.on_connect += other.on_connect
        self.on_disconnect += other.on_disconnect
        if other.on_binary is not None:
            self.set_binary(other.on_binary)
        for error_type, hook in other._on_error.items():
            self.add_error(error_type, hook)

    def for_error(self, error: BaseException) -> ErrorHook | None:
        """The hook for the exception's class, else for its nearest base class."""
        hooks = (self._on_error.get(error_type) for error_type in type(error).__mro__)
        return next((hook for hook in hooks if hook is not None), None)


def check_hook(hook: Callable[..., Any], wanted: str) -> None:
    """Raise `ConfigurationError` unless this is an async function of as many arguments as `wanted` shows."""
    require_callable(hook, wanted)
    check_arguments(hook, wanted)


def check_arguments(hook: Callable[..., Any], wanted: str) -> None:
    """Raise `ConfigurationError` unless this can be called with as many arguments as `wanted` shows."""
    count = wanted[wanted.index("(") :].count(",") + 1
    try:
        inspect.signature(hook).bind(*[None] * count)
    except TypeError:
        msg = f"{show(hook)} must take {count} arguments: {wanted}"
        raise ConfigurationError(msg) from None


def check_error_type(error_type: object) -> None:
    """Raise `ConfigurationError` unless this is a type of exception that may have a hook."""
    if not isinstance(error_type, type) or not issubclass(error_type, Exception):
        msg = f"on_error({error_type!r}) needs a type of exception: @messages.on_error(LookupError)"
        raise ConfigurationError(msg)
    if issubclass(error_type, (MessageError, WebSocketDisconnect)):
        msg = f"on_error({error_type.__name__}): these never reach a hook, because the library handles them"
        raise ConfigurationError(msg)
