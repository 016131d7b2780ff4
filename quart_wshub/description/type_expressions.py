"""From a JSON schema, as `Schemas` writes it, to a TypeScript type.

What TypeScript cannot express (lengths, patterns, ranges) is left out, and what is not understood becomes `unknown`: a
type is never narrower than its schema.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from quart_wshub.description.schemas import Schema

__all__ = ["Expressions", "comment", "index_signature", "property_name", "quoted", "union"]

PRIMITIVES = {"boolean": "boolean", "integer": "number", "null": "null", "number": "number", "string": "string"}

_IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_NAME = re.compile(r"[\w$]+")

EMPTY = "{ [key: string]: never }"
"""An object without keys. `{}` would be any value but null and undefined."""


class Expressions:
    """Writes the types of schemas.

    Args:
        names: the type name of each definition, by the reference to it.
        definitions: the definitions, by reference.
    """

    def __init__(self, names: Mapping[str, str], definitions: Mapping[str, Schema]) -> None:
        self._names = names
        self._definitions = definitions

    def of(self, schema: Any) -> str:
        """The type of what `schema` accepts."""
        if not isinstance(schema, dict):
            return "never" if schema is False else "unknown"
        if "$ref" in schema:
            return self._names[schema["$ref"]]
        if "const" in schema:
            return literal(schema["const"])
        if "enum" in schema:
            return union(map(literal, schema["enum"]))
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                return union(map(self.of, schema[keyword]))
        return self._of_all(schema) if "allOf" in schema else self._of_types(schema)

    def members(self, schema: Schema) -> list[tuple[str, str, Schema]]:
        """The properties of an object: the declaration, ``name`` or ``name?``, the type and the schema of each."""
        required = schema.get("required", ())
        return [
            (property_name(name) + ("" if name in required else "?"), self.of(member), member)
            for name, member in schema.get("properties", {}).items()
        ]

    def _of_all(self, schema: Schema) -> str:
        """An intersection. A key that is required here may be optional in its parts, so it is declared again."""
        schemas = schema["allOf"]
        parts = [self.of(part) for part in schemas]
        required = [f"{property_name(name)}: {self._of_key(name, schemas)}" for name in schema.get("required", ())]
        if required:
            parts.append(f"{{ {'; '.join(required)} }}")
        distinct = dict.fromkeys(parts)
        return " & ".join(map(_in_parentheses, distinct)) if len(distinct) > 1 else parts[0]

    def _of_key(self, name: str, schemas: Iterable[Any]) -> str:
        """The type of a key in the first of these schemas that has it."""
        for schema in map(self._resolve, schemas):
            if name in schema.get("properties", {}):
                return self.of(schema["properties"][name])
        return "unknown"

    def _resolve(self, schema: Any) -> Schema:
        """The schema a reference refers to; any other schema as it is."""
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
            keys = self._resolve(schema["propertyNames"])
            values = keys.get("enum", [keys["const"]] if "const" in keys else [])
            if values:
                value = self.of(schema.get("additionalProperties", True))
                return f"{{ [key in {union(map(literal, values))}]?: {value} }}"
        members += index_signature(schema, self.of)
        return f"{{ {'; '.join(members)} }}" if members else EMPTY


def index_signature(schema: Schema, write: Callable[[Any], str]) -> list[str]:
    """What an object may have besides its `properties`: one index signature, or none."""
    patterns = schema.get("patternProperties", {})
    others = schema.get("additionalProperties", "properties" not in schema and not patterns)
    kinds = [*patterns.values(), *([others] if others is not False else [])]
    # An index signature applies to the properties as well, so its type must include theirs.
    value = "unknown" if schema.get("properties") else union(map(write, kinds))
    return [f"[key: string]: {value}"] if kinds else []


def union(expressions: Iterable[str]) -> str:
    """The union of these types."""
    distinct = dict.fromkeys(expressions)
    if "unknown" in distinct:
        return "unknown"
    options = [option for option in distinct if option != "never"]
    return " | ".join(options) or "never"


def literal(value: Any) -> str:
    """The type of exactly this JSON value."""
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
    """A key, quoted unless it is an identifier."""
    return name if _IDENTIFIER.fullmatch(name) else quoted(name)


def comment(schema: Any, indent: str = "") -> str:
    """The JSDoc comment for a schema, with its line break; empty if there is nothing to say."""
    if not isinstance(schema, dict):
        return ""
    lines = str(schema.get("description", "")).splitlines()
    lines += [f"@format {schema['format']}"] if "format" in schema else []
    lines += [f"@default {json.dumps(schema['default'])}"] if schema.get("default") is not None else []
    lines += ["@deprecated"] if schema.get("deprecated") else []
    # An app's description may contain the end of a comment, or lone surrogates, which cannot be encoded.
    shown = [line.replace("*/", "*\\/").encode("utf-8", "replace").decode() for line in lines]
    if len(shown) == 1:
        return f"{indent}/** {shown[0].strip()} */\n"
    body = "".join(f"{indent} * {line}".rstrip() + "\n" for line in shown)
    return f"{indent}/**\n{body}{indent} */\n" if shown else ""


def _implied_type(schema: Schema) -> str | list[str]:
    if schema.keys() & {"properties", "additionalProperties", "patternProperties"}:
        return "object"
    return "array" if "items" in schema else ["unknown"]


def _array_of(item: str) -> str:
    return f"{item}[]" if _NAME.fullmatch(item) else f"Array<{item}>"


def _in_parentheses(expression: str) -> str:
    return f"({expression})" if " | " in expression or " & " in expression else expression
