"""From a JSON schema to a TypeScript type: what `Schemas` gives, which is what pydantic emits, in draft 7.

What TypeScript cannot say (lengths, patterns, ranges) is left out, and what is not understood becomes `unknown`: a type
is never narrower than its schema.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from quart_wshub.description.schemas import Schema

__all__ = ["Expressions", "comment", "index_signature", "property_name", "quoted", "union"]

PRIMITIVES = {"boolean": "boolean", "integer": "number", "null": "null", "number": "number", "string": "string"}

_IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_NAME = re.compile(r"[\w$]+")

EMPTY = "{ [key: string]: never }"
"""An object without any keys. `{}` would be anything but null."""


class Expressions:
    """Writes the types of schemas.

    Args:
        names: the type names of definitions, by the reference to them.
        definitions: the definitions, by the same.
    """

    def __init__(self, names: Mapping[str, str], definitions: Mapping[str, Schema]) -> None:
        self._names = names
        self._definitions = definitions

    def of(self, schema: Any) -> str:
        """The type of whatever is valid by `schema`."""
        if not isinstance(schema, dict):
            return "never" if schema is False else "unknown"
        for keyword, write in self._by_keyword():
            if keyword in schema:
                return write(schema)
        return self._of_types(schema)

    def members(self, schema: Schema) -> list[tuple[str, str, Schema]]:
        """The properties of an object: how each is declared, ``name`` or ``name?``, its type, its schema."""
        required = schema.get("required", ())
        return [
            (property_name(name) + ("" if name in required else "?"), self.of(member), member)
            for name, member in schema.get("properties", {}).items()
        ]

    def _by_keyword(self) -> Sequence[tuple[str, Callable[[Schema], str]]]:
        """The keywords that decide by themselves, in this order."""
        return (
            ("$ref", lambda schema: self._names[schema["$ref"]]),
            ("const", lambda schema: literal(schema["const"])),
            ("enum", lambda schema: union(map(literal, schema["enum"]))),
            ("anyOf", lambda schema: union(map(self.of, schema["anyOf"]))),
            ("oneOf", lambda schema: union(map(self.of, schema["oneOf"]))),
            ("allOf", self._of_all),
        )

    def _of_all(self, schema: Schema) -> str:
        """An intersection. A key that is required besides may be optional in what it is required of."""
        parts = [self.of(part) for part in schema["allOf"]]
        required = [
            f"{property_name(name)}: {self._of_key(name, schema['allOf'])}" for name in schema.get("required", ())
        ]
        distinct = dict.fromkeys([*parts, *([f"{{ {'; '.join(required)} }}"] if required else [])])
        return " & ".join(map(_in_parentheses, distinct)) if len(distinct) > 1 else parts[0]

    def _of_key(self, name: str, schemas: Iterable[Any]) -> str:
        """The type of a key in the first of these schemas that has it."""
        for schema in map(self._resolve, schemas):
            if name in schema.get("properties", {}):
                return self.of(schema["properties"][name])
        return "unknown"

    def _resolve(self, schema: Any) -> Schema:
        """What a reference refers to; any other schema as it is."""
        return self._definitions.get(schema.get("$ref", ""), schema) if isinstance(schema, dict) else {}

    def _of_types(self, schema: Schema) -> str:
        types = schema.get("type", _implied_type(schema))
        return union(self._of_type(name, schema) for name in ([types] if isinstance(types, str) else types))

    def _of_type(self, name: str, schema: Schema) -> str:
        if name == "array":
            return self._of_array(schema)
        return self._of_object(schema) if name == "object" else PRIMITIVES.get(name, "unknown")

    def _of_array(self, schema: Schema) -> str:
        items = schema.get("items", True)
        if isinstance(items, list):
            return self._of_tuple(items, schema)
        return "[]" if schema.get("maxItems") == 0 else _array_of(self.of(items))

    def _of_tuple(self, items: list[Schema], schema: Schema) -> str:
        needed = schema.get("minItems", 0)
        parts = [self.of(item) if position < needed else f"({self.of(item)})?" for position, item in enumerate(items)]
        rest = schema.get("additionalItems", True)
        return f"[{', '.join(parts if rest is False else [*parts, f'...{_array_of(self.of(rest))}'])}]"

    def _of_object(self, schema: Schema) -> str:
        members = [f"{declared}: {expression}" for declared, expression, _ in self.members(schema)]
        if "propertyNames" in schema and not members:
            keys = self._keys(schema["propertyNames"])
            if keys is not None:
                return f"{{ [key in {keys}]?: {self.of(schema.get('additionalProperties', True))} }}"
        signature = index_signature(schema, self.of)
        members += [signature] if signature is not None else []
        return f"{{ {'; '.join(members)} }}" if members else EMPTY

    def _keys(self, schema: Any) -> str | None:
        """The type of an object's keys, where there are just some that it may have."""
        resolved = self._resolve(schema)
        values = resolved.get("enum", [resolved["const"]] if "const" in resolved else [])
        return union(map(literal, values)) if values else None


def index_signature(schema: Schema, write: Callable[[Any], str]) -> str | None:
    """What an object may have besides its `properties`; `None` where that is nothing, or nothing to know of."""
    patterns = schema.get("patternProperties", {})
    others = schema.get("additionalProperties", "properties" not in schema and not patterns)
    kinds = [*patterns.values(), *([others] if others is not False else [])]
    if not kinds:
        return None
    # It covers the properties too, whose types it therefore has to include.
    return f"[key: string]: {'unknown' if schema.get('properties') else union(map(write, kinds))}"


def union(expressions: Iterable[str]) -> str:
    """Any of these."""
    distinct = dict.fromkeys(expressions)
    if "unknown" in distinct:
        return "unknown"
    options = [option for option in distinct if option != "never"]
    return " | ".join(options) if options else "never"


def literal(value: Any) -> str:
    """The type that has this JSON value only."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, dict) and value:
        return f"{{ {'; '.join(f'{property_name(key)}: {literal(item)}' for key, item in value.items())} }}"
    if value == {}:
        return EMPTY
    if isinstance(value, float) and not math.isfinite(value):
        return "number"
    return json.dumps(value)


def quoted(text: str) -> str:
    """A string literal."""
    return json.dumps(text, ensure_ascii=not text.isprintable())


def property_name(name: str) -> str:
    """A key as TypeScript takes it: quoted, where it is no identifier."""
    return name if _IDENTIFIER.fullmatch(name) else quoted(name)


def comment(schema: Any, indent: str = "") -> str:
    """The JSDoc comment for a schema, with its line break; empty where there is nothing to say."""
    if not isinstance(schema, dict):
        return ""
    lines = str(schema.get("description", "")).splitlines()
    lines += [f"@format {schema['format']}"] if "format" in schema else []
    lines += [f"@default {json.dumps(schema['default'])}"] if schema.get("default") is not None else []
    lines += ["@deprecated"] if schema.get("deprecated") else []
    # What would end the comment, or be no text, comes from the app's own descriptions.
    shown = [line.replace("*/", "*\\/").encode("utf-8", "replace").decode() for line in lines]
    if len(shown) == 1:
        return f"{indent}/** {shown[0].strip()} */\n"
    body = "".join(f"{indent} * {line}".rstrip() + "\n" for line in shown)
    return f"{indent}/**\n{body}{indent} */\n" if shown else ""


def _implied_type(schema: Schema) -> str | list[str]:
    """What a schema without a type is about."""
    if schema.keys() & {"properties", "additionalProperties", "patternProperties"}:
        return "object"
    return "array" if "items" in schema else ["unknown"]


def _array_of(item: str) -> str:
    return f"{item}[]" if _NAME.fullmatch(item) else f"Array<{item}>"


def _in_parentheses(expression: str) -> str:
    return f"({expression})" if " | " in expression or " & " in expression else expression
