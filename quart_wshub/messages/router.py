"""`MessageRouter`: handlers registered by message type. A `Dispatcher` per connection runs them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from pydantic import BaseModel

from quart_wshub.description.asyncapi import asyncapi
from quart_wshub.description.route import Route, Sent
from quart_wshub.messages.builtin_routes import BuiltIns
from quart_wshub.messages.dispatcher import Dispatcher, Plan
from quart_wshub.messages.hooks import (
    BinaryHandler,
    ConnectHook,
    DisconnectHook,
    Hooks,
    check_arguments,
    check_error_type,
    check_hook,
)
from quart_wshub.messages.route import BoundRoute, check_options, check_type, make_route
from quart_wshub.messages.signature import show
from quart_wshub.messages.topic_policy import SubscribePolicy, TopicPolicies
from quart_wshub.protocol.errors import ConfigurationError

if TYPE_CHECKING:
    from quart_wshub.auth.identity import BearerResolver
    from quart_wshub.connection.websocket import WebSocket
    from quart_wshub.connection.websocket_connection import WebSocketConnection
    from quart_wshub.description.asyncapi import AsyncAPIOptions
    from quart_wshub.hub.handler import Handler
    from quart_wshub.hub.websocket_hub import WebSocketHub
    from quart_wshub.settings import WebSocketSettings

__all__ = ["MessageRouter", "bind"]

F = TypeVar("F", bound=Callable[..., Any])
H = TypeVar("H", bound=Callable[..., Awaitable[Any]])
C = TypeVar("C", bound=ConnectHook)
D = TypeVar("D", bound=DisconnectHook)
B = TypeVar("B", bound=BinaryHandler)
P = TypeVar("P", bound=SubscribePolicy)


class MessageRouter:
    """Validates each envelope and passes it to the handler registered for its type.

    Give it to one or more `make_websocket_blueprint` in place of a handler. Everything must be registered before the
    first connection.

    Args:
        authorize_subscribe: who may subscribe to a topic that matches no `authorize` prefix; see `SubscribePolicy`.
            Without any policy nobody may.

    Raises:
        ConfigurationError: the policy cannot be called.
    """

    def __init__(self, *, authorize_subscribe: SubscribePolicy | None = None) -> None:
        self._routes: dict[str, BoundRoute] = {}
        self._unresolved: dict[str, Callable[[], BoundRoute]] = {}
        self._sent: dict[str, Sent] = {}
        self._hooks = Hooks()
        self._policies = TopicPolicies(authorize_subscribe)
        self._sealed_by: str | None = None

    # Registration

    def on(
        self,
        envelope_type: str,
        *,
        timeout: float | None = None,
        concurrent: bool = False,
        errors: Sequence[str] = (),
    ) -> Callable[[H], H]:
        """Register an async function as the handler of one type.

        Its first parameter is the message: annotated with a pydantic model, it gets `data` validated into that; with
        `WSEnvelope`, the whole envelope. It may also take the `WebSocketConnection` and the `WebSocketHub`, in any
        order, by annotation or by the names `connection` and `hub`. What it returns is the reply's data: a model, a
        dict, or `None` for ``{}``; a reply is sent if the request has a `request_id`. A model in the return annotation
        validates and serialises it.

        Args:
            envelope_type: the `type` it handles.
            timeout: seconds after which it is cancelled, and the answer is `timeout`.
            concurrent: other messages of the same connection need not wait for it, nor it for them.
            errors: its own error codes, for descriptions of the app.

        Raises:
            ConfigurationError: the type is taken or reserved, or the function cannot handle it.
        """
        check_type(envelope_type)
        check_options(envelope_type, timeout, errors)

        def register(handler: H) -> H:
            make = partial(make_route, envelope_type, handler, timeout=timeout, concurrent=concurrent, errors=errors)
            self._check_open()
            self._check_free(envelope_type, handler)
            try:
                self._routes[envelope_type] = make()
            except NameError:
                self._unresolved[envelope_type] = make
            return handler

        return register

    def on_connect(self, hook: C) -> C:
        """Call ``async def hook(connection, hub)`` before a connection's first message.

        If one raises, the error is answered as for a message and the socket is closed: with 4403, or 1008 for
        `rate_limited` and `limit_exceeded`, or 1011 for `internal` and unexpected exceptions.

        Raises:
            ConfigurationError: it is no such function.
        """
        self._check_open()
        check_hook(hook, "async def hook(connection, hub)")
        self._hooks.on_connect.append(hook)
        return hook

    def on_disconnect(self, hook: D) -> D:
        """Call ``async def hook(connection, hub, close)`` when a connection is over, however it ended.

        `close` has the `code` and the `reason`. The connection is no longer registered. The hook runs only if every
        `on_connect` hook returned; it is shielded from cancellation, and cancelled after `WS_CLOSE_TIMEOUT_SECONDS`.
        What it raises is logged.

        Raises:
            ConfigurationError: it is no such function.
        """
        self._check_open()
        check_hook(hook, "async def hook(connection, hub, close)")
        self._hooks.on_disconnect.append(hook)
        return hook

    def on_binary(self, handler: B) -> B:
        """Call ``async def handler(message, connection, hub)`` for binary messages; without it they close with 1003.

        Raises:
            ConfigurationError: it is no such function, or there is one already.
        """
        self._check_open()
        check_hook(handler, "async def handler(message, connection, hub)")
        self._hooks.set_binary(handler)
        return handler

    def on_error(self, error_type: type[Exception]) -> Callable[[F], F]:
        """Call ``hook(error, connection)``, sync or async, for what leaves a handler or an `on_connect` hook.

        It returns or raises the `MessageError` to answer with; for `None` the error is logged, and the answer is
        `internal`. Only the hook of the nearest class is called.

        Raises:
            ConfigurationError: it is no such function, or the type has a hook, or can have none.
        """
        check_error_type(error_type)

        def register(hook: F) -> F:
            self._check_open()
            check_arguments(hook, "def hook(error, connection)")
            self._hooks.add_error(error_type, hook)
            return hook

        return register

    def authorize(self, prefix: str) -> Callable[[P], P]:
        """Let a `SubscribePolicy` decide on topics that begin with `prefix`; the longest matching prefix decides alone.

        Raises:
            ConfigurationError: it is no such function, or the prefix is empty or taken.
        """

        def register(policy: P) -> P:
            self._check_open()
            self._policies.add(prefix, policy)
            return policy

        return register

    def sends(self, envelope_type: str, data_model: type[BaseModel], *, description: str = "") -> None:
        """Declare a message that the server sends, for descriptions of the app only; nothing is checked by it.

        Raises:
            ConfigurationError: the type is reserved or was declared already, or the model is not a pydantic model.
        """
        self._check_open()
        check_type(envelope_type)
        if not isinstance(data_model, type) or not issubclass(data_model, BaseModel):
            msg = f"sends({envelope_type!r}, …) needs a pydantic model of `data`, not {data_model!r}"
            raise ConfigurationError(msg)
        self._declare(Sent(envelope_type, data_model, description))

    def include(self, router: MessageRouter, *, prefix: str = "") -> None:
        """Add everything registered with another router, which is closed to registration from then on.

        Args:
            prefix: put before the types of its messages, in both directions; not before topics.

        Raises:
            ConfigurationError: both have something of which there can be one only.
        """
        self._check_open()
        if not isinstance(router, MessageRouter) or router is self:
            msg = f"include() takes another MessageRouter, not {router!r}"
            raise ConfigurationError(msg)
        router._seal("it was included in another router")
        for envelope_type, route in router._routes.items():
            check_type(prefix + envelope_type)
            self._check_free(prefix + envelope_type, route.handler)
            self._routes[prefix + envelope_type] = route.renamed(prefix + envelope_type)
        for sent in router._sent.values():
            check_type(prefix + sent.type)
            self._declare(Sent(prefix + sent.type, sent.data_model, sent.description))
        self._hooks.include(router._hooks)
        self._policies.include(router._policies)

    # Introspection

    @property
    def routes(self) -> Mapping[str, Route]:
        """What clients may send, by type, without the built-in messages.

        Raises:
            ConfigurationError: an annotation names something that is still not defined.
        """
        self._resolve()
        return MappingProxyType({envelope_type: route.facts for envelope_type, route in self._routes.items()})

    @property
    def sent(self) -> Mapping[str, Sent]:
        """What was declared by `sends`, by type."""
        return MappingProxyType(dict(self._sent))

    def asyncapi(
        self, *, path: str = "/ws", settings: WebSocketSettings | None = None, **options: Unpack[AsyncAPIOptions]
    ) -> dict[str, Any]:
        """All messages, including the built-in ones, as an AsyncAPI 3.0.0 document, ready for `json.dump`.

        Args:
            path: of the WebSocket route, in Quart's syntax: ``/ws/<room>``.
            settings: what they switch off is left out, such as `?token=`. `None`: the defaults.
            options: further fields: `title`, `version`, `description`, `host`, `secure`.

        Raises:
            ConfigurationError: a model has no JSON schema, or an annotation names something that is not defined.
        """
        return asyncapi(self, path=path, settings=settings, **options)

    def __repr__(self) -> str:
        return f"<MessageRouter {', '.join([*self._routes, *self._unresolved]) or 'empty'}>"

    # For the library

    def _bind(self, settings: WebSocketSettings, resolver: BearerResolver) -> Handler:
        self._resolve()
        plan: Plan | None = None

        async def handler(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
            nonlocal plan
            if plan is None:
                plan = self._plan(settings, resolver)
            await Dispatcher(plan, connection, hub).run()

        return handler

    def _plan(self, settings: WebSocketSettings, resolver: BearerResolver) -> Plan:
        self._seal("connections were made already")
        routes = {**BuiltIns(self._policies, resolver, settings).routes(), **self._routes}
        needs_nursery = any(route.concurrent for route in routes.values())
        return Plan(MappingProxyType(routes), self._hooks, settings, needs_nursery)

    # Checks

    def _declare(self, sent: Sent) -> None:
        if sent.type in self._sent:
            msg = f"sends({sent.type!r}, …) was declared already, with {self._sent[sent.type].data_model.__name__}"
            raise ConfigurationError(msg)
        self._sent[sent.type] = sent

    def _check_free(self, envelope_type: str, handler: Callable[..., Any]) -> None:
        if envelope_type in self._routes:
            other = show(self._routes[envelope_type].handler)
        elif envelope_type in self._unresolved:
            other = "one whose annotations are not defined yet"
        else:
            return
        msg = f"message type {envelope_type!r} has two handlers: {other} and {show(handler)}"
        raise ConfigurationError(msg)

    def _check_open(self) -> None:
        if self._sealed_by is not None:
            msg = f"too late to register anything with this router: {self._sealed_by}"
            raise ConfigurationError(msg)

    def _seal(self, why: str) -> None:
        self._resolve()
        self._sealed_by = self._sealed_by or why

    def _resolve(self) -> None:
        """Read the handlers whose annotations were not defined yet when they were registered."""
        for envelope_type, make in list(self._unresolved.items()):
            try:
                self._routes[envelope_type] = make()
            except NameError as error:
                msg = (
                    f"the handler of {envelope_type!r} has an annotation that is not defined: {error}. "
                    "Define models at module level, and import them at run time, not under TYPE_CHECKING"
                )
                raise ConfigurationError(msg) from None
            del self._unresolved[envelope_type]


def bind(router: MessageRouter, settings: WebSocketSettings, resolver: BearerResolver) -> Handler:
    """The handler that one blueprint runs. The router keeps no reference to it.

    Raises:
        ConfigurationError: an annotation names something that is still not defined.
    """
    return router._bind(settings, resolver)
