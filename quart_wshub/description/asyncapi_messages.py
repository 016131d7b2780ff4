"""The messages of an AsyncAPI document: components, and the operations that use them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from quart_wshub.description.builtin_messages import ErrorData
from quart_wshub.description.schemas import REF_PREFIX, Schema, Schemas

if TYPE_CHECKING:
    from collections.abc import Iterable

    from quart_wshub.description.catalog import Catalog, Message

__all__ = ["CHANNEL", "MessageWriter"]

Json = dict[str, Any]

CHANNEL = "ws"
"""The key of the one channel there is."""

_NOT_IN_KEYS = re.compile(r"[^A-Za-z0-9._-]")


class MessageWriter:
    """Writes the messages of a catalog."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._messages = _keyed(catalog.messages)
        self._key_of: dict[tuple[str, str], str] = {
            (message.sender, message.type): key for key, message in self._messages.items()
        }
        self._schemas = Schemas(catalog.uses)

    def schemas(self) -> Json:
        """Every model; that of errors lists the codes there are."""
        name = self._schemas.of(ErrorData, "serialization")["$ref"].removeprefix(REF_PREFIX)
        schema = self._schemas.definitions[name]
        code = {"type": "string", "enum": [*self._catalog.error_codes]}
        return {**self._schemas.definitions, name: {**schema, "properties": {**schema["properties"], "code": code}}}

    def messages(self) -> Json:
        """Every message with its envelope, by a key of letters, digits, `.`, `-` and `_`."""
        return {key: self._message(message) for key, message in sorted(self._messages.items())}

    def operations(self, common: Json) -> Json:
        """What the server does: it receives what clients send, and sends what is not a reply.

        Args:
            common: what every operation has besides.
        """
        messages = sorted(self._catalog.client + self._catalog.server, key=self._key)
        return {self._key(message): {**self._operation(message), **common} for message in messages}

    def _key(self, message: Message) -> str:
        return self._key_of[message.sender, message.type]

    def _message(self, message: Message) -> Json:
        data = self._schemas.of(message.model, message.mode)
        return {
            "name": message.type,
            **_description(message),
            "correlationId": {"$ref": "#/components/correlationIds/requestId"},
            "payload": {
                "type": "object",
                "properties": {
                    "type": {"const": message.type},
                    "data": data,
                    "request_id": {"type": "string" if message in self._catalog.replies else ["string", "null"]},
                },
                "required": ["type", "data", "request_id"] if message.sender == "server" else self._must_send(data),
            },
        }

    def _must_send(self, data: Schema) -> list[str]:
        """What a client may not leave out: its data only where some of it is required."""
        return ["type", "data"] if self._schemas.resolve(data).get("required") else ["type"]

    def _operation(self, message: Message) -> Json:
        channel = {"$ref": f"#/channels/{CHANNEL}"}
        peer = "server" if message.sender == "client" else "client"
        answers = [] if message.answer is None else [self._key_of[peer, message.answer]]
        if message.is_request:
            answers.append(self._key_of["server", "error"])
        return {
            "action": "receive" if message.sender == "client" else "send",
            "channel": channel,
            **_description(message),
            "messages": [_in_channel(self._key(message))],
            **({"reply": {"channel": channel, "messages": [*map(_in_channel, answers)]}} if answers else {}),
            **({"x-error-codes": [*message.errors]} if message.errors else {}),
        }


def _keyed(messages: Iterable[Message]) -> dict[str, Message]:
    """Each by a key made from its type; where that takes a replacement of characters, the key may need a number."""
    keyed: dict[str, Message] = {}
    for message in sorted(messages, key=lambda message: _NOT_IN_KEYS.search(message.type) is not None):
        stem = f"{message.sender}.{_NOT_IN_KEYS.sub('_', message.type)}"
        key, number = stem, 1
        while key in keyed:
            number += 1
            key = f"{stem}_{number}"
        keyed[key] = message
    return keyed


def _description(message: Message) -> Json:
    return {"description": message.description} if message.description else {}


def _in_channel(key: str) -> Json:
    return {"$ref": f"#/channels/{CHANNEL}/messages/{key}"}
