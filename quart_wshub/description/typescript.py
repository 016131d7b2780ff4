"""An app's messages as a TypeScript module: an interface per model, and maps from message types to them.

The maps are what the JavaScript client's types are generic over. No well-kept generator for this runs without Node,
which no user of a Python server has to have; hence this one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from quart_wshub.description.builtin_messages import ErrorData
from quart_wshub.description.catalog import make_catalog
from quart_wshub.description.schemas import REF_PREFIX, Schemas
from quart_wshub.description.type_expressions import Expressions, comment, index_signature, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pydantic import BaseModel

    from quart_wshub.description.catalog import Catalog, Described, Message
    from quart_wshub.description.schemas import Mode, Schema, Use

__all__ = ["typescript"]

HEADER = """\
// Written by `quart-wshub types`. Do not edit: change the models, and write it again.
/* eslint-disable */
"""

OWN_NAMES = frozenset({"Array", "ClientMessages", "ErrorCode", "Protocol", "Replies", "ServerMessages"})
"""What the text itself declares, or relies on."""

RESERVED_NAME = re.compile(
    "any|await|bigint|boolean|break|case|catch|class|const|continue|debugger|default|delete|do|else|enum|export|extends|"
    "false|finally|for|function|if|implements|import|in|instanceof|interface|let|never|new|null|number|object|package|"
    "private|protected|public|return|static|string|super|switch|symbol|this|throw|true|try|typeof|undefined|unknown|var|"
    "void|while|with|yield"
)
"""What TypeScript lets no interface of a module be called."""


def typescript(messages: Described) -> str:
    """The types of an app's messages, and of the built-in ones, as the text of a TypeScript module.

    `ClientMessages` and `ServerMessages` map each message type to its data, `Replies` each request to its reply's, and
    `Protocol` is all three, for ``new WSHubClient<Protocol>(…)``. The same models give the same text.

    Args:
        messages: the app's `MessageRouter`.

    Raises:
        ConfigurationError: a model has no JSON schema; the message names it.
    """
    catalog = make_catalog(messages)
    writer = _Writer(catalog)
    parts = [HEADER, *writer.declarations(), *writer.maps(), PROTOCOL]
    return "\n".join(parts)


PROTOCOL = """\
/** All of it, for `new WSHubClient<Protocol>(…)`. */
export interface Protocol {
  client: ClientMessages;
  server: ServerMessages;
  replies: Replies;
}
"""


class _Writer:
    """Writes the declarations of one module."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._requests = [message for message in catalog.client if message.is_request]
        self._schemas = Schemas(_uses(catalog))
        self._error_data = self._schemas.of(ErrorData, "serialization")["$ref"].removeprefix(REF_PREFIX)
        definitions = self._schemas.definitions
        self._names = _type_names(definitions)
        by_reference = {REF_PREFIX + name: schema for name, schema in definitions.items()}
        references = {REF_PREFIX + name: type_name for name, type_name in self._names.items()}
        self._expressions = Expressions(references, by_reference)

    def declarations(self) -> Iterable[str]:
        """One for each model, by name, and the error codes."""
        for name, schema in sorted(self._schemas.definitions.items(), key=lambda item: self._names[item[0]]):
            yield comment(schema) + self._declaration(name, schema)
        codes = "".join(f"\n  | {quoted(code)}" for code in self._catalog.error_codes)
        yield f"/** Why a message was refused. */\nexport type ErrorCode ={codes};\n"

    def maps(self) -> Iterable[str]:
        """From message types to their data, in each direction, and to that of replies."""
        yield self._map(
            "ClientMessages", "What clients send: the data of each type.", self._catalog.client, "validation"
        )
        yield self._map(
            "ServerMessages", "What the server sends: the data of each type.", self._catalog.server, "serialization"
        )
        rows = [
            f"  {quoted(request.type)}: {self._data(request.answer_model, 'serialization')};\n"
            for request in self._requests
        ]
        yield _interface("Replies", "What the server replies: the data, by the type of the request.", rows)

    def _map(self, name: str, text: str, messages: Iterable[Message], mode: Mode) -> str:
        rows = (
            f"{comment({'description': message.description}, '  ')}"
            f"  {quoted(message.type)}: {self._data(message.model, mode)};\n"
            for message in messages
        )
        return _interface(name, text, rows)

    def _data(self, model: type[BaseModel] | None, mode: Mode) -> str:
        return self._expressions.of(self._schemas.of(model, mode))

    def _declaration(self, name: str, schema: Schema) -> str:
        if schema.get("type") != "object" or not schema.get("properties"):
            return f"export type {self._names[name]} = {self._expressions.of(schema)};\n"
        members = [
            f"{comment(member, '  ')}  {declared}: {self._member(name, declared, expression)};\n"
            for declared, expression, member in self._expressions.members(schema)
        ]
        signature = index_signature(schema, self._expressions.of)
        members += [f"  {signature};\n"] if signature is not None else []
        return f"export interface {self._names[name]} {{\n{''.join(members)}}}\n"

    def _member(self, name: str, declared: str, expression: str) -> str:
        return "ErrorCode" if (name, declared) == (self._error_data, "code") else expression


def _uses(catalog: Catalog) -> Iterator[Use]:
    """Every model, as what clients send or as what they get."""
    requests = [message for message in catalog.client if message.is_request]
    sent = [*(message.model for message in catalog.server), *(request.answer_model for request in requests)]
    yield from ((message.model, "validation") for message in catalog.client if message.model is not None)
    yield from ((model, "serialization") for model in sent if model is not None)


def _interface(name: str, text: str, rows: Iterable[str]) -> str:
    return f"/** {text} */\nexport interface {name} {{\n{''.join(rows)}}}\n"


def _type_names(definitions: Mapping[str, Schema]) -> dict[str, str]:
    """A type name for each definition: `Chat-Input` becomes `ChatInput`, and none hides what the module relies on."""
    names: dict[str, str] = {}
    for definition in sorted(definitions):
        stem = re.sub(r"[^A-Za-z0-9_]", "_", re.sub(r"-(Input|Output)\b", r"\1", definition))
        stem = f"_{stem}" if stem[:1].isdigit() else stem
        name, number = stem, 1
        while name in OWN_NAMES or RESERVED_NAME.fullmatch(name) or name in names.values():
            number += 1
            name = f"{stem}{number}"
        names[definition] = name
    return names
