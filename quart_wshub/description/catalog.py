"""Every message of an app in both directions, the app's own and the built-in ones: what all descriptions are made from.

It needs of a `MessageRouter` only what `Described` names, and knows nothing of any output format.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from quart_wshub.description.builtin_messages import (
    BUILTIN_ROUTES,
    EmptyData,
    ErrorData,
    ExpiringData,
    GapData,
    HelloData,
)
from quart_wshub.protocol.envelope import REPLY_SUFFIX
from quart_wshub.protocol.error_codes import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from quart_wshub.description.route import Model, Route, Sent
    from quart_wshub.description.schemas import Mode, Use

__all__ = ["Catalog", "Described", "Message", "make_catalog"]

BY_TYPE = attrgetter("type")


@runtime_checkable
class Described(Protocol):
    """What can be described: a `MessageRouter`."""

    @property
    def routes(self) -> Mapping[str, Route]: ...

    @property
    def sent(self) -> Mapping[str, Sent]: ...


@dataclass(frozen=True, slots=True)
class Message:
    """One type of message in one direction.

    Attributes:
        sender: who sends it.
        type: the envelope's `type`.
        model: its `data`; `None` for any JSON object.
        description: what it is for; may be empty.
        answer: the type of its answer; `None` where there is none.
        errors: the error codes an app's handler adds to the built-in ones.
    """

    sender: Literal["client", "server"]
    type: str
    model: Model | None
    description: str
    answer: str | None = None
    errors: tuple[str, ...] = ()

    @property
    def mode(self) -> Mode:
        """What clients send is described as it is validated, what they receive as it is serialised."""
        return "validation" if self.sender == "client" else "serialization"

    @property
    def is_request(self) -> bool:
        """Whether it is answered by a reply, or by an `error` in its place."""
        return self.answer == self.type + REPLY_SUFFIX


@dataclass(frozen=True, slots=True)
class Catalog:
    """All messages, each group sorted by type.

    Attributes:
        client: what clients send.
        server: what the server sends by itself.
        replies: what the server replies to requests.
        error_codes: every code an `error` may carry, the built-in ones first.
    """

    client: tuple[Message, ...]
    server: tuple[Message, ...]
    replies: tuple[Message, ...]
    error_codes: tuple[str, ...]

    @property
    def messages(self) -> tuple[Message, ...]:
        """All of them."""
        return self.client + self.server + self.replies

    @property
    def uses(self) -> list[Use]:
        """The models, as clients send or receive them."""
        return [(message.model, message.mode) for message in self.messages if message.model is not None]


def make_catalog(messages: Described, *, hello: bool = True) -> Catalog:
    """Collect the messages of a router and the built-in ones, with or without `hello`."""
    routes = [*messages.routes.values(), *BUILTIN_ROUTES.values()]
    server = [Message("server", sent.type, sent.data_model, sent.description) for sent in messages.sent.values()]
    server += [message for message in SERVER_BUILTINS if hello or message.type != "hello"]
    return Catalog(
        client=tuple(sorted([*map(_request, routes), *CLIENT_BUILTINS], key=BY_TYPE)),
        server=tuple(sorted(server, key=BY_TYPE)),
        replies=tuple(sorted(map(_reply, routes), key=BY_TYPE)),
        error_codes=(*ERROR_CODES, *sorted({code for route in routes for code in _own_errors(route)})),
    )


def _request(route: Route) -> Message:
    answer, errors = route.type + REPLY_SUFFIX, tuple(sorted(_own_errors(route)))
    return Message("client", route.type, route.data_model, route.description, answer, errors)


def _reply(route: Route) -> Message:
    return Message("server", route.type + REPLY_SUFFIX, route.reply_model, f"The reply to `{route.type}`.")


def _own_errors(route: Route) -> set[str]:
    return {*route.errors}.difference(ERROR_CODES)


ERROR_CODES = tuple(code.value for code in ErrorCode)

CLIENT_BUILTINS = (
    Message("client", "ping", EmptyData, "Ask for a pong with the same `request_id`.", answer="pong"),
    Message("client", "pong", EmptyData, "The answer to the server's ping."),
)

SERVER_BUILTINS = (
    Message("server", "hello", HelloData, "The first message on a socket."),
    Message("server", "ping", EmptyData, "The heartbeat: answer with `pong`.", answer="pong"),
    Message("server", "pong", EmptyData, "The answer to a client's ping."),
    Message("server", "error", ErrorData, "A message was refused; `request_id` is that of the message."),
    Message("server", "auth.expiring", ExpiringData, "The token is about to expire: send `auth.refresh`."),
    Message("server", "gap", GapData, "Messages may have been missed: load again what depends on them."),
)
