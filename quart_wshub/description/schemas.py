"""JSON schemas of models, in the one dialect that AsyncAPI and the TypeScript writer both read: draft 7.

Pydantic writes draft 2020-12 with OpenAPI's discriminator. What clients send is described as it is validated, what
they get as it is serialised. Only the schema counts here, not which message it is for.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, PydanticUserError
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from quart_wshub.protocol.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["REF_PREFIX", "Mode", "Schema", "Schemas", "Use"]

Schema = dict[str, Any]
Mode = Literal["validation", "serialization"]
Use = tuple[type[BaseModel], Mode]

REF_PREFIX = "#/components/schemas/"

ONE = frozenset(
    {"additionalItems", "additionalProperties", "contains", "contentSchema", "items", "not", "propertyNames"}
)
SEVERAL = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
NAMED = frozenset({"patternProperties", "properties"})
"""The keywords that hold one schema, a list of schemas, and schemas by name."""


class Schemas:
    """The schemas of some models.

    Attributes:
        definitions: schemas by name, sorted; each name is unique, also among models of the same name.
    """

    def __init__(self, uses: Iterable[Use]) -> None:
        """
        Raises:
            ConfigurationError: a model has no JSON schema; the message names it.
        """
        wanted = list(dict.fromkeys(uses))
        self._by_use, definitions = _generate(wanted)
        self.definitions: Mapping[str, Schema] = {
            name: _normalised(schema, definitions) for name, schema in sorted(definitions.items())
        }

    def of(self, model: type[BaseModel] | None, mode: Mode) -> Schema:
        """The schema of a model, mostly a reference into `definitions`; for `None` that of any JSON object."""
        if model is None:
            return {"type": "object", "additionalProperties": True}
        schema: Schema = _normalised(self._by_use[model, mode], self.definitions)
        return schema

    def resolve(self, schema: Schema) -> Schema:
        """What a reference refers to; any other schema as it is."""
        return _resolve(schema, self.definitions)


class _Generator(GenerateJsonSchema):
    """Pydantic's, but for one thing: what has a default is still always there once it is serialised."""

    def field_is_required(self, field: Any, total: bool) -> bool:
        if self.mode == "serialization" and field["type"] != "typed-dict-field":
            return not field.get("serialization_exclude") and "serialization_exclude_if" not in field
        return super().field_is_required(field, total)


def _generate(uses: list[Use]) -> tuple[dict[Use, Schema], dict[str, Schema]]:
    try:
        by_use, document = models_json_schema(uses, ref_template=REF_PREFIX + "{model}", schema_generator=_Generator)
    except PydanticUserError as error:
        model, why = next(filter(None, map(_why_not, uses)), (None, error))
        name = "a model" if model is None else f"{model.__module__}.{model.__qualname__}"
        msg = f"{name} has no JSON schema: {why.message}"
        raise ConfigurationError(msg) from error
    return by_use, document.get("$defs", {})  # type: ignore[return-value]  # its keys may be dataclasses, ours are not


def _why_not(use: Use) -> tuple[type[BaseModel], PydanticUserError] | None:
    try:
        use[0].model_json_schema(mode=use[1], schema_generator=_Generator)
    except PydanticUserError as error:
        return use[0], error
    return None


def _normalised(schema: Any, definitions: Mapping[str, Schema]) -> Any:
    if not isinstance(schema, dict):
        return schema  # true or false
    result = {keyword: _normalised_value(keyword, value, definitions) for keyword, value in schema.items()}
    _sort_default(result)
    _tag_options(result, definitions)
    _spell_out_tuple(result)
    _make_keys_strings(result, definitions)
    return _wrap_reference(result)


def _normalised_value(keyword: str, value: Any, definitions: Mapping[str, Schema]) -> Any:
    if keyword in SEVERAL or (keyword == "items" and isinstance(value, list)):
        return [_normalised(item, definitions) for item in value]
    if keyword in NAMED:
        return {name: _normalised(item, definitions) for name, item in value.items()}
    return _normalised(value, definitions) if keyword in ONE else value


def _sort_default(schema: Schema) -> None:
    """A set has no order of its own, and with older pydantics a new one in every process."""
    if schema.get("uniqueItems") and isinstance(schema.get("default"), list):
        schema["default"] = sorted(schema["default"], key=json.dumps)


def _tag_options(schema: Schema, definitions: Mapping[str, Schema]) -> None:
    """Say in plain JSON Schema what a discriminator says: each option needs its tag, also one that has a default."""
    discriminator = schema.get("discriminator")
    if not isinstance(discriminator, dict):
        return
    del schema["discriminator"]
    tag = discriminator["propertyName"]
    schema["oneOf"] = [
        option if tag in _resolve(option, definitions).get("required", ()) else {"allOf": [option], "required": [tag]}
        for option in schema["oneOf"]
    ]


def _resolve(schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
    return definitions[schema["$ref"].removeprefix(REF_PREFIX)] if "$ref" in schema else schema


def _spell_out_tuple(schema: Schema) -> None:
    if "prefixItems" in schema:
        rest = schema.get("items", schema.get("maxItems") != len(schema["prefixItems"]))
        schema["items"], schema["additionalItems"] = schema.pop("prefixItems"), rest


def _make_keys_strings(schema: Schema, definitions: Mapping[str, Schema]) -> None:
    """Keys of numbers, say of an `IntEnum`, are strings in JSON; pydantic describes them as numbers all the same."""
    if "propertyNames" not in schema:
        return
    keys = _resolve(schema["propertyNames"], definitions)
    values = keys.get("enum", [keys["const"]] if "const" in keys else [])
    if not all(isinstance(value, str) for value in values):
        schema["propertyNames"] = {"enum": [value if isinstance(value, str) else json.dumps(value) for value in values]}
    elif not values and keys.get("type", "string") != "string":
        del schema["propertyNames"]


def _wrap_reference(schema: Schema) -> Schema:
    """Draft 7 ignores whatever stands beside a reference."""
    if "$ref" not in schema or len(schema) == 1:
        return schema
    others = {keyword: value for keyword, value in schema.items() if keyword != "$ref"}
    return {"allOf": [{"$ref": schema["$ref"]}], **others}
