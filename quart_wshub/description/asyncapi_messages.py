"""The messages of an AsyncAPI document: components, and the operations that use them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from quart_wshub.description.builtin_messages import ErrorData
from quart_wshub.description.schemas import REF_PREFIX, Schema, Schemas

if TYPE_CHECKING:
    from collections.abc import Iterable

    from quart_wshub.description.catalog import Catalog, Message
    from quart_wshub.description.route import Model
    from quart_wshub.description.schemas import Mode

__all__ = ["CHANNEL", "MessageWriter"]

Json = dict[str, Any]
Sender = Literal["client", "server"]

CHANNEL = "ws"
"""The key of the one channel there is."""

MODES: dict[Sender, Mode] = {"client": "validation", "server": "serialization"}

_NO_KEY = re.compile(r"[^A-Za-z0-9._-]")

NULLABLE_STRING = {"type": ["string", "null"]}


@dataclass(frozen=True, slots=True)
class _Component:
    """A type of message on the wire; to a document a reply is one too."""

    sender: Sender
    type: str
    description: str
    model: Model | None
    is_reply: bool = False


class MessageWriter:
    """Writes what a catalog holds."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        components = [
            *(_Component("client", message.type, message.description, message.model) for message in catalog.client),
            *(_Component("server", message.type, message.description, message.model) for message in catalog.server),
            *(_reply_to(message) for message in catalog.client if message.is_request),
        ]
        self._components = _keyed(components)
        self._key_of = {(component.sender, component.type): key for key, component in self._components.items()}
        self._schemas = Schemas((item.model, MODES[item.sender]) for item in components if item.model is not None)

    def keys(self) -> list[str]:
        """What each message is called in the document: letters, digits, `.`, `-` and `_`."""
        return sorted(self._components)

    def schemas(self) -> Json:
        """Every model, and the error codes there are in place of any string."""
        schemas = dict(self._schemas.definitions)
        name = self._schemas.of(ErrorData, "serialization")["$ref"].removeprefix(REF_PREFIX)
        code = {"type": "string", "enum": list(self._catalog.error_codes)}
        schemas[name] = {**schemas[name], "properties": {**schemas[name]["properties"], "code": code}}
        return schemas

    def messages(self) -> Json:
        """Every message with its envelope."""
        return {key: self._message(self._components[key]) for key in self.keys()}

    def operations(self, common: Json) -> Json:
        """What the server does with each: it receives what clients send, and sends what is not a reply."""
        operations = {
            **{self._key_of["client", message.type]: self._receive(message) for message in self._catalog.client},
            **{self._key_of["server", message.type]: self._send(message) for message in self._catalog.server},
        }
        return {key: {**operation, **common} for key, operation in sorted(operations.items())}

    def _message(self, component: _Component) -> Json:
        data = self._schemas.of(component.model, MODES[component.sender])
        return {
            "name": component.type,
            **_description(component.description),
            "correlationId": {"$ref": "#/components/correlationIds/requestId"},
            "payload": {
                "type": "object",
                "properties": {
                    "type": {"const": component.type},
                    "data": data,
                    "request_id": {"type": "string"} if component.is_reply else NULLABLE_STRING,
                },
                "required": ["type", "data", "request_id"] if component.sender == "server" else self._must_send(data),
            },
        }

    def _must_send(self, data: Schema) -> list[str]:
        """What a client may not leave out: its data only where some of it is required."""
        return ["type", "data"] if self._schemas.resolve(data).get("required") else ["type"]

    def _receive(self, message: Message) -> Json:
        answers = [] if message.answer is None else [self._key_of["server", message.answer]]
        if message.is_request:
            answers.append(self._key_of["server", "error"])
        operation = self._operation("receive", message, self._key_of["client", message.type], answers)
        return {**operation, **({"x-error-codes": list(message.errors)} if message.errors else {})}

    def _send(self, message: Message) -> Json:
        answers = [] if message.answer is None else [self._key_of["client", message.answer]]
        return self._operation("send", message, self._key_of["server", message.type], answers)

    def _operation(self, action: Literal["receive", "send"], message: Message, key: str, answers: list[str]) -> Json:
        channel = {"$ref": f"#/channels/{CHANNEL}"}
        return {
            "action": action,
            "channel": channel,
            **_description(message.description),
            "messages": [_in_channel(key)],
            **({"reply": {"channel": channel, "messages": [*map(_in_channel, answers)]}} if answers else {}),
        }


def _reply_to(message: Message) -> _Component:
    assert message.answer is not None
    text = f"The reply to `{message.type}`."
    return _Component("server", message.answer, text, message.answer_model, is_reply=True)


def _keyed(components: Iterable[_Component]) -> dict[str, _Component]:
    """Each under a key made from its type. A type may have characters that a key may not; the others choose first."""
    keyed: dict[str, _Component] = {}
    for component in sorted(components, key=lambda component: _NO_KEY.search(component.type) is not None):
        stem = f"{component.sender}.{_NO_KEY.sub('_', component.type)}"
        key, number = stem, 1
        while key in keyed:
            number += 1
            key = f"{stem}_{number}"
        keyed[key] = component
    return keyed


def _description(text: str) -> Json:
    return {"description": text} if text else {}


def _in_channel(key: str) -> Json:
    return {"$ref": f"#/channels/{CHANNEL}/messages/{key}"}
