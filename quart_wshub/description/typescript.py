"""An app's messages as a TypeScript module: an interface per model, and maps from message types to them.

The JavaScript client's types are generic over these maps. There is a generator here because no maintained one runs
without Node, which users of a Python server need not have.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from quart_wshub.description.builtin_messages import ErrorData
from quart_wshub.description.catalog import make_catalog
from quart_wshub.description.schemas import REF_PREFIX, Schemas
from quart_wshub.description.type_expressions import Expressions, comment, index_signature, quoted
from quart_wshub.protocol.envelope import REPLY_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from quart_wshub.description.catalog import Catalog, Described, Message
    from quart_wshub.description.schemas import Schema

__all__ = ["typescript"]

HEADER = """\
// Written by `quart-wshub types`. Do not edit: change the models, and write it again.
/* eslint-disable */
"""

OWN_NAMES = frozenset({"Array", "ClientMessages", "ErrorCode", "Protocol", "Replies", "ServerMessages"})
"""What the module itself declares or relies on."""

RESERVED_NAME = re.compile(
    "any|await|bigint|boolean|break|case|catch|class|const|continue|debugger|default|delete|do|else|enum|export|extends|"
    "false|finally|for|function|if|implements|import|in|instanceof|interface|let|never|new|null|number|object|package|"
    "private|protected|public|return|static|string|super|switch|symbol|this|throw|true|try|typeof|undefined|unknown|var|"
    "void|while|with|yield"
)
"""What TypeScript does not accept as the name of an interface."""


def typescript(messages: Described) -> str:
    """The types of an app's messages and of the built-in ones, as the text of a TypeScript module.

    `ClientMessages` and `ServerMessages` map each message type to its data, `Replies` each request to the data of its
    reply, and `Protocol` is all three, for ``new WSHubClient<Protocol>(…)``. The same models give the same text.

    Args:
        messages: the app's `MessageRouter`.

    Raises:
        ConfigurationError: a model has no JSON schema; the message names it.
    """
    writer = _Writer(make_catalog(messages))
    return "\n".join([HEADER, *writer.declarations(), *writer.maps(), PROTOCOL])


PROTOCOL = """\
/** All three maps, for `new WSHubClient<Protocol>(…)`. */
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
        self._schemas = Schemas(catalog.uses)
        self._error_data = self._schemas.of(ErrorData, "serialization")["$ref"].removeprefix(REF_PREFIX)
        self._names = _type_names(self._schemas.definitions)
        self._expressions = Expressions(
            names={REF_PREFIX + name: type_name for name, type_name in self._names.items()},
            definitions={REF_PREFIX + name: schema for name, schema in self._schemas.definitions.items()},
        )

    def declarations(self) -> Iterable[str]:
        """One per model, sorted by name, and the error codes."""
        for name, schema in sorted(self._schemas.definitions.items(), key=lambda item: self._names[item[0]]):
            yield comment(schema) + self._declaration(name, schema)
        codes = "".join(f"\n  | {quoted(code)}" for code in self._catalog.error_codes)
        yield f"/** Why a message was refused. */\nexport type ErrorCode ={codes};\n"

    def maps(self) -> Iterable[str]:
        """From message types to their data, in each direction, and from requests to the data of their replies."""
        replies = [
            replace(reply, type=reply.type.removesuffix(REPLY_SUFFIX), description="")
            for reply in self._catalog.replies
        ]
        yield self._map("ClientMessages", "What clients send: the data of each type.", self._catalog.client)
        yield self._map("ServerMessages", "What the server sends: the data of each type.", self._catalog.server)
        yield self._map("Replies", "What the server replies: the data, by the type of the request.", replies)

    def _map(self, name: str, text: str, messages: Iterable[Message]) -> str:
        rows = (
            f"{comment({'description': message.description}, '  ')}"
            f"  {quoted(message.type)}: {self._expressions.of(self._schemas.of(message.model, message.mode))};\n"
            for message in messages
        )
        return f"/** {text} */\nexport interface {name} {{\n{''.join(rows)}}}\n"

    def _declaration(self, name: str, schema: Schema) -> str:
        if schema.get("type") != "object" or not schema.get("properties"):
            return f"export type {self._names[name]} = {self._expressions.of(schema)};\n"
        is_error = name == self._error_data
        members = [
            f"{comment(member, '  ')}  {declared}: {'ErrorCode' if is_error and declared == 'code' else expression};\n"
            for declared, expression, member in self._expressions.members(schema)
        ]
        members += [f"  {signature};\n" for signature in index_signature(schema, self._expressions.of)]
        return f"export interface {self._names[name]} {{\n{''.join(members)}}}\n"


def _type_names(definitions: Mapping[str, Schema]) -> dict[str, str]:
    """A valid and unique type name for each definition: `Chat-Input` becomes `ChatInput`."""
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
