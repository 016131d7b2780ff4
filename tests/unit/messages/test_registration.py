"""Registration with a `MessageRouter`: what is accepted, what is refused, and introspection."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping  # noqa: TC003 - read at run time, as in any app
from typing import TYPE_CHECKING, Any, Optional
from uuid import UUID  # noqa: TC003

import pytest
from pydantic import BaseModel, RootModel

from quart_wshub import (
    ConfigurationError,
    ErrorCode,
    MessageError,
    MessageRouter,
    Route,
    Sent,
    WebSocketConnection,
    WebSocketDisconnect,
    WebSocketHub,
    WSEnvelope,
    make_websocket_blueprint,
)
from tests.unit.memory import make_app, make_settings, token_is_the_user

if TYPE_CHECKING:
    from fractions import Fraction

    from quart_wshub import WebSocketHub as OnlyForTypeCheckers


class Say(BaseModel):
    text: str = ""


class Said(BaseModel):
    id: int = 0


class Listed(RootModel[list[int]]):
    pass


def only(messages: MessageRouter) -> Route:
    [route] = messages.routes.values()
    return route


# Signatures


def test_the_facts_of_a_route() -> None:
    messages = MessageRouter()

    @messages.on("say", timeout=2, concurrent=True, errors=["too_loud", ErrorCode.FORBIDDEN])
    async def say(message: Say, connection: WebSocketConnection, hub: WebSocketHub) -> Said:
        """Say something
        to everyone.

        More about it.
        """
        return Said()

    assert messages.routes == {
        "say": Route(
            type="say",
            data_model=Say,
            reply_model=Said,
            timeout=2,
            concurrent=True,
            description="Say something to everyone.",
            errors=("too_loud", "forbidden"),
        )
    }
    assert say.__name__ == "say", "the function itself stays what it was"


def test_a_route_without_anything_special() -> None:
    messages = MessageRouter()

    @messages.on("say")
    async def say(message: WSEnvelope) -> None: ...

    assert only(messages) == Route("say", None, None)


async def none(message: Say) -> None: ...
async def unannotated(message: Say): ...  # type: ignore[no-untyped-def]
async def a_dict(message: Say) -> dict[str, int]:
    return {}


async def a_mapping(message: Say) -> Mapping[str, Any]:
    return {}


async def anything(message: Say) -> Any: ...
async def a_model(message: Say) -> Said:
    return Said()


async def a_model_or_nothing(message: Say) -> Said | None: ...
async def an_optional_model(message: Say) -> Optional[Said]: ...  # noqa: UP045 - the older spelling
@pytest.mark.parametrize(
    ("handler", "model"),
    [
        (none, None),
        (unannotated, None),
        (a_dict, None),
        (a_mapping, None),
        (anything, None),
        (a_model, Said),
        (a_model_or_nothing, Said),
        (an_optional_model, Said),
    ],
)
def test_the_model_of_the_reply(handler: Any, model: type[BaseModel] | None) -> None:
    messages = MessageRouter()
    messages.on("say")(handler)

    assert only(messages).reply_model is model


def test_an_envelope_may_be_imported_for_type_checkers_only_but_another_of_its_name_is_another() -> None:
    messages = MessageRouter()
    globals_of_its_module: dict[str, Any] = {}
    exec("async def raw(message: WSEnvelope) -> None: ...", globals_of_its_module)
    globals_of_another: dict[str, Any] = {"WSEnvelope": Say}
    exec("async def model(message: WSEnvelope) -> None: ...", globals_of_another)
    messages.on("raw")(globals_of_its_module["raw"])
    messages.on("model")(globals_of_another["model"])

    assert messages.routes["raw"].data_model is None
    assert messages.routes["model"].data_model is Say


class Handlers:
    async def method(self, message: Say, hub: WebSocketHub) -> None: ...

    async def __call__(self, message: Say) -> None: ...


def logged(function: Any) -> Any:
    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    return wrapper


@logged
async def decorated(message: Say, hub: OnlyForTypeCheckers) -> None: ...
async def for_type_checkers(message: Say, node: OnlyForTypeCheckers) -> None: ...
async def two(first: int, message: Say) -> None: ...


@pytest.mark.parametrize("handler", [Handlers().method, Handlers(), functools.partial(two, 1), none, decorated])
def test_any_kind_of_async_function_is_accepted(handler: Any) -> None:
    messages = MessageRouter()
    messages.on("say")(handler)

    assert only(messages).data_model is Say


def test_a_local_model_in_a_string_annotation_is_refused_and_the_error_says_what_to_do() -> None:
    class Local(BaseModel):
        number: int

    messages = MessageRouter()

    @messages.on("say")
    async def say(message: Local) -> None: ...

    with pytest.raises(ConfigurationError, match=r"'Local' is not defined.*Define models at module level"):
        _ = messages.routes


def test_a_local_model_is_accepted_if_the_annotation_is_the_class_itself() -> None:
    class Local(BaseModel):
        number: int

    async def say(message: object) -> None: ...

    say.__annotations__["message"] = Local  # as without `from __future__ import annotations`
    messages = MessageRouter()
    messages.on("say")(say)

    assert only(messages).data_model is Local


def test_a_model_may_be_defined_later() -> None:
    messages = MessageRouter()

    @messages.on("say")
    async def say(message: Later) -> None: ...

    @messages.on("other")
    async def other(message: Say) -> None: ...

    class TheLater(BaseModel):
        pass

    globals()["Later"] = TheLater
    try:
        assert messages.routes["say"].data_model is TheLater
    finally:
        del globals()["Later"]


if TYPE_CHECKING:
    Later = Say


# Refused handlers


async def no_parameters() -> None: ...
async def no_annotation(message, connection, hub) -> None: ...  # type: ignore[no-untyped-def]
async def no_model(message: dict[str, Any]) -> None: ...
async def a_union(message: Say | Said) -> None: ...
async def the_base(message: BaseModel) -> None: ...
async def an_envelope_of_its_own(message: Enveloped) -> None: ...
async def connection_first(connection: WebSocketConnection, message: Say) -> None: ...
async def a_stranger(message: Say, user: UUID) -> None: ...
async def a_nameless_stranger(message: Say, user) -> None: ...  # type: ignore[no-untyped-def]
async def keyword_only(*, message: Say) -> None: ...
async def variadic(*messages: Say) -> None: ...
async def a_list_back(message: Say) -> list[int]: ...  # type: ignore[empty-body]
async def an_envelope_back(message: Say) -> WSEnvelope: ...  # type: ignore[empty-body]
async def a_root_model_back(message: Say) -> Listed: ...  # type: ignore[empty-body]
async def two_models_back(message: Say) -> Say | Said: ...  # type: ignore[empty-body]
async def nonsense(message: "3 +") -> None: ...  # type: ignore[valid-type]  # noqa: F722
def not_async(message: Say) -> None: ...


class Enveloped(WSEnvelope):
    pass


@pytest.mark.parametrize(
    ("handler", "why"),
    [
        (not_async, "must be an async function: async def handler"),
        (None, "must be an async function"),
        (3, "must be an async function"),
        (no_parameters, "takes no message: async def handler"),
        (keyword_only, "takes no message"),
        (variadic, "takes no message"),
        (no_annotation, "needs an annotation on 'message': a pydantic model"),
        (no_model, "which is no pydantic model"),
        (a_union, "which is no pydantic model"),
        (the_base, "which is no pydantic model"),
        (an_envelope_of_its_own, "which is no pydantic model"),
        (connection_first, "must take the message first"),
        (a_stranger, "wants 'user', which is neither the connection nor the hub"),
        (a_nameless_stranger, "wants 'user', which is neither"),
        (a_list_back, "the data of a reply is one pydantic model, a dict, or None"),
        (an_envelope_back, "the data of a reply is"),
        (a_root_model_back, "the data of a reply is"),
        (two_models_back, "the data of a reply is"),
        (nonsense, "cannot be evaluated"),
    ],
)
def test_a_handler_that_cannot_work_is_refused_at_once_and_the_message_says_which_and_why(
    handler: Any, why: str
) -> None:
    messages = MessageRouter()

    with pytest.raises(ConfigurationError) as caught:
        messages.on("say")(handler)

    assert str(caught.value).startswith("message type 'say': handler ")
    assert why in str(caught.value)
    assert getattr(handler, "__name__", "") in str(caught.value)
    assert messages.routes == {}


@pytest.mark.parametrize(
    "reserved",
    [
        "ping",
        "pong",
        "hello",
        "subscribe",
        "unsubscribe",
        "auth.refresh",
        "auth.expiring",
        "error",
        "gap",
        "chat.send.reply",
    ],
)
def test_a_reserved_type_is_refused(reserved: str) -> None:
    messages = MessageRouter()

    with pytest.raises(ConfigurationError, match=rf"message type '{reserved}' is reserved"):
        messages.on(reserved)
    with pytest.raises(ConfigurationError, match=rf"message type '{reserved}' is reserved"):
        messages.sends(reserved, Say)


@pytest.mark.parametrize("wrong", ["", None, 3, a_model])
def test_an_invalid_type_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="a message type is a non-empty string, not"):
        MessageRouter().on(wrong)


@pytest.mark.parametrize("timeout", [0, -1, math.nan, math.inf, True, "5"])
def test_an_invalid_timeout_is_refused(timeout: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"timeout=.* of 'say' must be a number of seconds greater than 0"):
        MessageRouter().on("say", timeout=timeout)


def test_errors_are_a_sequence() -> None:
    with pytest.raises(ConfigurationError, match="errors='too_loud' of 'say' must be a sequence"):
        MessageRouter().on("say", errors="too_loud")


def test_two_handlers_for_one_type_are_refused() -> None:
    messages = MessageRouter()
    messages.on("say")(none)

    with pytest.raises(ConfigurationError, match=r"'say' has two handlers: none\(\) and a_model\(\)"):
        messages.on("say")(a_model)


async def undefined(message: Undefined) -> None: ...  # type: ignore[name-defined]  # noqa: F821
async def hidden(message: Fraction) -> None: ...


@pytest.mark.parametrize("handler", [undefined, hidden])
def test_a_model_that_is_never_defined_is_refused_when_the_blueprint_is_made(handler: Any) -> None:
    messages = MessageRouter()
    messages.on("say")(handler)

    with pytest.raises(ConfigurationError, match="handler of 'say' has an annotation that is not defined"):
        make_websocket_blueprint(
            messages, hub=WebSocketHub(), bearer_resolver=token_is_the_user, settings=make_settings()
        )
    with pytest.raises(ConfigurationError, match="not defined"):
        _ = messages.routes
    with pytest.raises(ConfigurationError, match="'say' has two handlers"):
        messages.on("say")(none)


async def test_what_is_registered_later_is_refused_when_the_app_starts() -> None:
    messages = MessageRouter()
    app = make_app(messages, WebSocketHub())
    messages.on("say")(undefined)

    with pytest.raises(ConfigurationError, match="handler of 'say' has an annotation that is not defined"):
        await app.startup()


def test_the_class_of_an_extra_may_be_imported_for_type_checkers_only() -> None:
    messages = MessageRouter()
    globals_of_a_strict_module: dict[str, Any] = {"Say": Say}
    source = "async def handler(message: 'Say', c: 'WebSocketConnection', h: 'wshub.WebSocketHub') -> None: ..."
    exec(source, globals_of_a_strict_module)
    messages.on("say")(globals_of_a_strict_module["handler"])

    assert only(messages).data_model is Say


# Hooks and policies


async def one_argument(connection: object) -> None: ...
async def connect_hook(connection: object, hub: object) -> None: ...
async def disconnect_hook(connection: object, hub: object, close: object) -> None: ...


@pytest.mark.parametrize("name", ["on_connect", "on_disconnect", "on_binary"])
@pytest.mark.parametrize(("hook", "why"), [(not_async, "must be an async function"), (one_argument, "arguments")])
def test_a_hook_that_cannot_work_is_refused(name: str, hook: Any, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        getattr(MessageRouter(), name)(hook)


def test_binary_messages_have_one_handler() -> None:
    messages = MessageRouter()
    messages.on_binary(disconnect_hook)
    messages.on_binary(disconnect_hook)

    async def another(message: object, connection: object, hub: object) -> None: ...

    with pytest.raises(ConfigurationError, match="binary messages have two handlers"):
        messages.on_binary(another)


@pytest.mark.parametrize("error_type", [3, "LookupError", BaseException, MessageError, WebSocketDisconnect])
def test_an_error_hook_needs_a_suitable_type_of_exception(error_type: Any) -> None:
    with pytest.raises(ConfigurationError, match="on_error"):
        MessageRouter().on_error(error_type)


def test_an_exception_has_one_error_hook_of_two_arguments() -> None:
    messages = MessageRouter()
    messages.on_error(LookupError)(lambda error, connection: None)

    with pytest.raises(ConfigurationError, match="LookupError has two error hooks"):
        messages.on_error(LookupError)(lambda error, connection: None)
    with pytest.raises(ConfigurationError, match="must take 2 arguments"):
        messages.on_error(KeyError)(lambda error: None)


@pytest.mark.parametrize("policy", [3, lambda connection: True])
def test_a_policy_that_cannot_work_is_refused(policy: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"must be a function of two arguments: \(connection, topic\) -> bool"):
        MessageRouter(authorize_subscribe=policy)
    with pytest.raises(ConfigurationError, match="two arguments"):
        MessageRouter().authorize("chat:")(policy)


def yes(connection: WebSocketConnection, topic: str) -> bool:
    return True


def no(connection: WebSocketConnection, topic: str) -> bool:
    return False


def test_a_prefix_is_not_empty_and_has_one_policy() -> None:
    messages = MessageRouter()
    messages.authorize("chat:")(yes)

    with pytest.raises(ConfigurationError, match="topic prefix 'chat:' has two policies"):
        messages.authorize("chat:")(no)
    with pytest.raises(ConfigurationError, match="a topic prefix is a non-empty string"):
        messages.authorize("")(yes)


# What the server sends


def test_what_the_server_sends_is_declared() -> None:
    messages = MessageRouter()
    messages.sends("said", Said, description="Somebody said something.")

    assert messages.sent == {"said": Sent("said", Said, "Somebody said something.")}
    with pytest.raises(ConfigurationError, match=r"sends\('said', …\) was declared already, with Said"):
        messages.sends("said", Say)
    with pytest.raises(ConfigurationError, match="needs a pydantic model"):
        messages.sends("other", dict)  # type: ignore[arg-type]


# Included routers


def test_including_a_router_adds_everything_registered_with_it() -> None:
    rooms, messages = MessageRouter(), MessageRouter()
    rooms.on("join", timeout=3)(a_model)
    rooms.sends("joined", Said)
    messages.on("join")(none)
    messages.include(rooms, prefix="room.")

    assert messages.routes["room.join"] == Route("room.join", Say, Said, timeout=3)
    assert messages.routes["join"] == Route("join", Say, None)
    assert messages.sent == {"room.joined": Sent("room.joined", Said)}
    assert set(rooms.routes) == {"join"}


def test_a_router_may_be_included_twice_under_different_prefixes() -> None:
    rooms, messages = MessageRouter(authorize_subscribe=yes), MessageRouter()
    rooms.on("join")(none)
    rooms.authorize("room:")(yes)
    rooms.on_binary(disconnect_hook)
    messages.include(rooms, prefix="a.")
    messages.include(rooms, prefix="b.")

    assert set(messages.routes) == {"a.join", "b.join"}


def with_route(handler: Any) -> MessageRouter:
    router = MessageRouter()
    router.on("say")(handler)
    return router


def with_sent(model: type[BaseModel]) -> MessageRouter:
    router = MessageRouter()
    router.sends("said", model)
    return router


def with_policy(policy: Any) -> MessageRouter:
    router = MessageRouter()
    router.authorize("chat:")(policy)
    return router


def with_error_hook(hook: Any) -> MessageRouter:
    router = MessageRouter()
    router.on_error(KeyError)(hook)
    return router


def with_binary(handler: Any) -> MessageRouter:
    router = MessageRouter()
    router.on_binary(handler)
    return router


async def disconnect_hook_2(connection: object, hub: object, close: object) -> None: ...


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        (with_route(none), with_route(a_model), "'say' has two handlers"),
        (with_sent(Say), with_sent(Said), "'said'.* was declared already"),
        (with_policy(yes), with_policy(no), "'chat:' has two policies"),
        (MessageRouter(authorize_subscribe=yes), MessageRouter(authorize_subscribe=no), "authorize_subscribe is given"),
        (with_error_hook(connect_hook), with_error_hook(one_argument_more := lambda e, c: None), "two error hooks"),
        (with_binary(disconnect_hook), with_binary(disconnect_hook_2), "two handlers"),
    ],
)
def test_conflicts_between_included_routers_are_refused(one: MessageRouter, other: MessageRouter, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        one.include(other)


def test_a_prefix_must_not_make_a_reserved_type() -> None:
    child = MessageRouter()
    child.on("refresh")(none)

    with pytest.raises(ConfigurationError, match=r"'auth\.refresh' is reserved"):
        MessageRouter().include(child, prefix="auth.")


def test_only_another_router_can_be_included() -> None:
    messages = MessageRouter()
    for wrong in (messages, none, None):
        with pytest.raises(ConfigurationError, match=r"include\(\) takes another MessageRouter"):
            messages.include(wrong)  # type: ignore[arg-type]


def test_an_included_router_can_register_nothing_more() -> None:
    child = MessageRouter()
    MessageRouter().include(child)

    for register in (
        lambda: child.on("say")(none),
        lambda: child.sends("said", Said),
        lambda: child.on_connect(connect_hook),
        lambda: child.on_disconnect(disconnect_hook),
        lambda: child.on_binary(disconnect_hook),
        lambda: child.on_error(KeyError)(connect_hook),
        lambda: child.authorize("chat:")(yes),
        lambda: child.include(MessageRouter()),
    ):
        with pytest.raises(ConfigurationError, match="too late to register anything with this router: it was included"):
            register()


def test_the_repr_names_the_types() -> None:
    messages = MessageRouter()
    assert repr(messages) == "<MessageRouter empty>"
    messages.on("say")(none)
    messages.on("other")(undefined)
    assert repr(messages) == "<MessageRouter say, other>"
