"""`BoundRoute`: one registered route with its handler, ready for dispatch."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic_core import to_json

from quart_wshub.description.route import Route
from quart_wshub.messages.signature import description_of, read_signature, show
from quart_wshub.protocol.envelope import REPLY_SUFFIX, is_reserved
from quart_wshub.protocol.errors import ConfigurationError
from quart_wshub.protocol.frame import Frame

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from quart_wshub.messages.signature import Invoke

__all__ = ["BoundRoute", "check_options", "check_type", "make_route"]


class BoundRoute:
    """A route with its handler. Some attributes are copies of `facts`, for the hot path."""

    __slots__ = (
        "_may_reply_nothing",
        "_model",
        "_reply_start",
        "concurrent",
        "facts",
        "handler",
        "invoke",
        "raw",
        "timeout",
    )

    def __init__(
        self, facts: Route, handler: Callable[..., Any], invoke: Invoke, *, may_reply_nothing: bool = True
    ) -> None:
        self.facts: Route = facts
        self.handler: Callable[..., Any] = handler
        self.invoke: Invoke = invoke
        self.timeout: float | None = facts.timeout
        self.concurrent: bool = facts.concurrent
        self.raw: bool = facts.data_model is None
        self._model = facts.data_model
        self._may_reply_nothing = may_reply_nothing
        self._reply_start = b'{"type":' + to_json(facts.type + REPLY_SUFFIX) + b',"data":'

    def renamed(self, new_type: str) -> BoundRoute:
        """The same route for another type."""
        facts = replace(self.facts, type=new_type)
        return BoundRoute(facts, self.handler, self.invoke, may_reply_nothing=self._may_reply_nothing)

    def read(self, data: dict[str, Any]) -> BaseModel:
        """Validate `data`, which came from JSON, as pydantic does JSON.

        Raises:
            ValidationError: it is not valid. Validators of the app may raise anything.
        """
        assert self._model is not None
        # Back to JSON, because Python values mean something else to strict models and to unions such as `UUID | str`.
        # The validator is looked up each time: pydantic replaces it when a model that refers to later ones is complete.
        model: BaseModel = self._model.__pydantic_validator__.validate_json(to_json(data))
        return model

    def reply(self, result: object, request_id: str) -> Frame:
        """The reply with a handler's result as its data, which a declared model validates and serialises.

        Raises:
            TypeError, ValueError: it cannot be a reply's data.
        """
        data = self._encode(result)
        return Frame((self._reply_start + data + b',"request_id":' + to_json(request_id) + b"}").decode())

    def _encode(self, result: object) -> bytes:
        if result is None and self._may_reply_nothing:
            return b"{}"
        model = self.facts.reply_model
        if model is not None:
            return _json_of(model, model.__pydantic_validator__.validate_python(result))
        if isinstance(result, BaseModel):
            return _json_of(type(result), result)
        if isinstance(result, dict):
            return to_json(result, inf_nan_mode="null")
        what = type(result).__name__
        msg = f"{show(self.handler)} returned {what}; the data of a reply is a pydantic model, a dict, or None"
        raise TypeError(msg)


def _json_of(model: type[BaseModel], value: object) -> bytes:
    """By alias, as in the model's JSON schema; of a subclass only the fields of the model itself."""
    return model.__pydantic_serializer__.to_json(value, by_alias=True)


def make_route(
    envelope_type: str,
    handler: Callable[..., Any],
    *,
    timeout: float | None,
    concurrent: bool,
    errors: Sequence[str],
) -> BoundRoute:
    """Make the route of a handler from its signature and docstring.

    Raises:
        ConfigurationError: it cannot handle messages.
        NameError: an annotation names something that is not defined (yet).
    """
    try:
        signature = read_signature(handler)
    except ConfigurationError as error:
        msg = f"message type {envelope_type!r}: {error}"
        raise ConfigurationError(msg) from None
    facts = Route(
        type=envelope_type,
        data_model=signature.data_model,
        reply_model=signature.reply_model,
        timeout=timeout,
        concurrent=concurrent,
        description=description_of(handler),
        errors=tuple(str(code) for code in errors),
    )
    return BoundRoute(facts, handler, signature.invoke, may_reply_nothing=signature.may_reply_nothing)


def check_type(envelope_type: object) -> None:
    """Raise `ConfigurationError` for a type that an app may not use."""
    if not isinstance(envelope_type, str) or not envelope_type:
        shown = show(envelope_type) if callable(envelope_type) else repr(envelope_type)
        msg = f'a message type is a non-empty string, not {shown}: @messages.on("chat.send")'
        raise ConfigurationError(msg)
    if is_reserved(envelope_type):
        msg = f"message type {envelope_type!r} is reserved for the protocol; choose another"
        raise ConfigurationError(msg)


def check_options(envelope_type: str, timeout: object, errors: object) -> None:
    """Raise `ConfigurationError` for options of a registration that cannot work."""
    is_duration = isinstance(timeout, (int, float)) and not isinstance(timeout, bool) and 0 < timeout < math.inf
    if timeout is not None and not is_duration:
        msg = f"timeout={timeout!r} of {envelope_type!r} must be a number of seconds greater than 0, or None"
        raise ConfigurationError(msg)
    if isinstance(errors, str):
        msg = f"errors={errors!r} of {envelope_type!r} must be a sequence of codes: [{errors!r}]"
        raise ConfigurationError(msg)
