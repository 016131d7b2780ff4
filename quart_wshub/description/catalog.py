"""Every message of an app in both directions, its own and the built-in ones: the facts that all descriptions share.

It needs of a `MessageRouter` only what `Described` names, and knows nothing of any output format.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, runtime_checkable

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
    from collections.abc import Iterable, Mapping

    from quart_wshub.description.route import Model, Route, Sent

__all__ = ["Catalog", "Described", "Message", "make_catalog"]


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
        type: the envelope's `type`.
        model: its `data`; `None` for any JSON object.
        description: what it is for; may be empty.
        answer: the type of what answers it, `None` where nothing does.
        answer_model: that answer's `data`, as `model`.
        errors: the error codes an app's handler adds to the built-in ones.
        builtin: whether this library defines it, and not the app.
    """

    type: str
    model: Model | None
    description: str
    answer: str | None = None
    answer_model: Model | None = None
    errors: tuple[str, ...] = ()
    builtin: bool = False

    @property
    def is_request(self) -> bool:
        """Whether a reply, or an `error` in its place, answers it."""
        return self.answer == self.type + REPLY_SUFFIX


@dataclass(frozen=True, slots=True)
class Catalog:
    """All messages, each direction sorted by type.

    Attributes:
        client: what clients send.
        server: what the server sends of itself; the replies are in `client`, with what they answer.
        error_codes: every code an `error` may carry, the built-in ones first.
    """

    client: tuple[Message, ...]
    server: tuple[Message, ...]
    error_codes: tuple[str, ...]


def make_catalog(messages: Described, *, hello: bool = True) -> Catalog:
    """Collect the messages of a router, and the built-in ones; `hello` may be switched off."""
    own = sorted({code for route in messages.routes.values() for code in route.errors} - set(ERROR_CODES))
    return Catalog(
        client=_sorted([*map(_from_route, messages.routes.values()), *CLIENT_BUILTINS]),
        server=_sorted(
            [*map(_from_sent, messages.sent.values()), *(SERVER_BUILTINS if hello else SERVER_BUILTINS[1:])]
        ),
        error_codes=(*ERROR_CODES, *own),
    )


def _sorted(messages: Iterable[Message]) -> tuple[Message, ...]:
    return tuple(sorted(messages, key=lambda message: message.type))


def _from_route(route: Route) -> Message:
    answer = route.type + REPLY_SUFFIX
    errors = tuple(sorted(set(route.errors) - set(ERROR_CODES)))
    return Message(route.type, route.data_model, route.description, answer, route.reply_model, errors)


def _from_sent(sent: Sent) -> Message:
    return Message(sent.type, sent.data_model, sent.description)


ERROR_CODES = tuple(code.value for code in ErrorCode)

CLIENT_BUILTINS = (
    Message("ping", EmptyData, "Ask for a pong with the same `request_id`.", answer="pong", builtin=True),
    Message("pong", EmptyData, "The answer to the server's ping.", builtin=True),
    *(replace(_from_route(route), builtin=True) for route in BUILTIN_ROUTES.values()),
)

SERVER_BUILTINS = (
    Message("hello", HelloData, "The first message on a socket.", builtin=True),
    Message("ping", EmptyData, "The heartbeat: answer with `pong`.", answer="pong", builtin=True),
    Message("pong", EmptyData, "The answer to a client's ping.", builtin=True),
    Message("error", ErrorData, "A message was refused; `request_id` is that of the message.", builtin=True),
    Message("auth.expiring", ExpiringData, "The token is about to expire: send `auth.refresh`.", builtin=True),
    Message("gap", GapData, "Messages may have been missed: load again what depends on them.", builtin=True),
)
