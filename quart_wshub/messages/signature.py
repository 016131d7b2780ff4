"""The signature of a message handler: the models of its data and its reply, and the arguments it takes.

Every fault is a `ConfigurationError` that names the handler, except that a name that is not defined (yet) is a
`NameError`: the router tries again later.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from inspect import Parameter
from typing import Any, NoReturn

from pydantic import BaseModel, RootModel

from quart_wshub.auth.identity import is_async_callable
from quart_wshub.connection.websocket_connection import WebSocketConnection
from quart_wshub.hub.websocket_hub import WebSocketHub
from quart_wshub.protocol.envelope import WSEnvelope
from quart_wshub.protocol.errors import ConfigurationError

__all__ = ["Invoke", "Signature", "description_of", "read_signature", "require_callable", "show"]

Invoke = Callable[[Any, WebSocketConnection, WebSocketHub], Awaitable[object]]

WANTED = "async def handler(message: Model, connection: WebSocketConnection, hub: WebSocketHub)"

MESSAGE, CONNECTION, HUB = range(3)

EXTRAS: dict[type, int] = {WebSocketConnection: CONNECTION, WebSocketHub: HUB}
EXTRA_NAMES = {"connection": CONNECTION, "hub": HUB}

VARIADIC = {Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD}


@dataclass(frozen=True, slots=True)
class Signature:
    """What a handler takes and returns.

    Attributes:
        data_model: the model of `data`; `None` where the handler takes the whole `WSEnvelope`.
        reply_model: the model of the reply's data; `None` where the handler returns nothing or a plain dict.
        may_reply_nothing: whether it may return `None`, for a reply without data.
        invoke: calls the handler with those of (message, connection, hub) that it takes.
    """

    data_model: type[BaseModel] | None
    reply_model: type[BaseModel] | None
    may_reply_nothing: bool
    invoke: Invoke


def read_signature(handler: Callable[..., Any]) -> Signature:
    """Read a handler's signature.

    Raises:
        ConfigurationError: it cannot handle messages.
        NameError: an annotation names something that is not defined.
    """
    require_callable(handler, WANTED)
    signature = inspect.signature(handler)
    parameters = list(signature.parameters.values())
    if not parameters or parameters[0].kind in {*VARIADIC, Parameter.KEYWORD_ONLY}:
        _fail(handler, f"takes no message: {WANTED}")
    data_model = _read_message(handler, parameters[0])
    reply_model, may_reply_nothing = _read_reply(handler, _resolve(handler, signature.return_annotation))
    return Signature(data_model, reply_model, may_reply_nothing, _invoker(handler, parameters))


def require_callable(handler: Callable[..., Any], wanted: str) -> None:
    """Raise `ConfigurationError` unless this is an async function."""
    if not callable(handler) or not is_async_callable(handler):
        _fail(handler, f"must be an async function: {wanted}")


def description_of(handler: Callable[..., Any]) -> str:
    """The first paragraph of the docstring, as one line."""
    text = inspect.getdoc(_function(handler)) or ""
    return " ".join(text.split("\n\n")[0].split())


def show(handler: object) -> str:
    """The name of a handler for an error message."""
    name = getattr(handler, "__qualname__", None)
    return repr(handler) if name is None else f"{name}()"


def _fail(handler: object, why: str) -> NoReturn:
    msg = f"handler {show(handler)} {why}"
    raise ConfigurationError(msg)


def _function(handler: Callable[..., Any]) -> Callable[..., Any]:
    while isinstance(handler, functools.partial):
        handler = handler.func
    return handler if inspect.isroutine(handler) else type(handler).__call__


def _resolve(handler: Callable[..., Any], annotation: Any) -> Any:
    """Evaluate one annotation alone, so that one that exists for type checkers only does not break the others."""
    namespace: dict[str, Any] = getattr(inspect.unwrap(_function(handler)), "__globals__", {})
    holder = types.SimpleNamespace(__annotations__={"it": annotation})
    try:
        return typing.get_type_hints(holder, namespace)["it"]
    except (AttributeError, SyntaxError, TypeError) as error:
        _fail(handler, f"has the annotation {annotation!r}, which cannot be evaluated: {error}")


def _read_message(handler: Callable[..., Any], parameter: Parameter) -> type[BaseModel] | None:
    if parameter.annotation is Parameter.empty:
        _fail(handler, f"needs an annotation on {parameter.name!r}: a pydantic model of `data`, or WSEnvelope")
    try:
        model = _resolve(handler, parameter.annotation)
    except NameError:
        if not _is_named(parameter.annotation, WSEnvelope):
            raise
        return None
    if model is WSEnvelope:
        return None
    if model in EXTRAS:
        _fail(handler, f"must take the message first: {WANTED}")
    if not _is_model(model) or issubclass(model, WSEnvelope):
        why = f"annotates {parameter.name!r} with {model!r}, which is no pydantic model of `data` (or WSEnvelope)"
        _fail(handler, why)
    return typing.cast("type[BaseModel]", model)


def _read_reply(handler: object, annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    if annotation is Parameter.empty or annotation in (None, type(None), Any):
        return None, True
    is_union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    options = list(typing.get_args(annotation)) if is_union else [annotation]
    may_reply_nothing = type(None) in options
    models = [option for option in options if option is not type(None)]
    if len(models) == 1:
        [model] = models
        if _is_model(model) and not issubclass(model, (RootModel, WSEnvelope)):
            return model, may_reply_nothing
        if (typing.get_origin(model) or model) in (dict, Mapping):
            return None, may_reply_nothing
    _fail(handler, f"returns {annotation!r}; the data of a reply is one pydantic model, a dict, or None")


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation is not BaseModel


def _invoker(handler: Callable[..., Any], parameters: list[Parameter]) -> Invoke:
    """The handler itself where it takes all three in order, which is fastest; else a function that reorders them."""
    positions: list[int] = [MESSAGE]
    names: dict[str, int] = {}
    for index, parameter in enumerate(parameters[1:], 1):
        wanted = _which_extra(handler, parameter)
        if wanted is None:
            continue
        if parameter.kind is Parameter.KEYWORD_ONLY or len(positions) < index:
            names[parameter.name] = wanted
        else:
            positions.append(wanted)
    if (positions, names) == ([MESSAGE, CONNECTION, HUB], {}):
        return handler

    def invoke(*given: Any) -> Awaitable[object]:
        result: Awaitable[object] = handler(
            *[given[which] for which in positions], **{name: given[which] for name, which in names.items()}
        )
        return result

    return invoke


def _which_extra(handler: Callable[..., Any], parameter: Parameter) -> int | None:
    """Which of the extras a parameter gets: by annotation, else by name. `None`: its default, or nothing."""
    if parameter.kind in VARIADIC:
        return None
    by_name = EXTRA_NAMES.get(parameter.name)
    is_required = parameter.default is Parameter.empty
    try:
        annotation = _resolve(handler, parameter.annotation)
    except NameError:  # often its class was imported for type checkers only
        named = (which for extra, which in EXTRAS.items() if _is_named(parameter.annotation, extra))
        wanted = next(named, by_name)
        if wanted is None and is_required:
            raise
        return wanted
    if annotation in (Any, object, Parameter.empty):
        wanted = by_name
    else:
        wanted = EXTRAS.get(annotation) if isinstance(annotation, type) else None
    if wanted is None and is_required:
        _fail(handler, f"wants {parameter.name!r}, which is neither the connection nor the hub: {WANTED}")
    return wanted


def _is_named(annotation: object, known: type) -> bool:
    """Whether an annotation that cannot be evaluated names this class."""
    return isinstance(annotation, str) and annotation.strip("'\"").rpartition(".")[2] == known.__name__
