"""JSON schemas of models in draft 7, the dialect of AsyncAPI, which the TypeScript writer reads too.

Pydantic writes draft 2020-12 with OpenAPI's discriminator. This module knows nothing of messages.
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

UNNAMED = frozenset(
    {"additionalItems", "additionalProperties", "contains", "contentSchema", "items", "not", "propertyNames"}
    | {"allOf", "anyOf", "oneOf", "prefixItems"}
)
NAMED = frozenset({"patternProperties", "properties"})
"""The keywords that hold a schema or a list of them, and those that hold schemas by name."""


class Schemas:
    """The schemas of models.

    Attributes:
        definitions: schemas by name, sorted; each name is unique, also among models of the same name.
    """

    def __init__(self, uses: Iterable[Use]) -> None:
        """
        Raises:
            ConfigurationError: a model has no JSON schema; the message names it.
        """
        by_use, definitions = _generate(list(dict.fromkeys(uses)))
        self._by_use = {use: _normalised(schema, definitions) for use, schema in by_use.items()}
        self.definitions: Mapping[str, Schema] = {
            name: _normalised(schema, definitions) for name, schema in sorted(definitions.items())
        }

    def of(self, model: type[BaseModel] | None, mode: Mode) -> Schema:
        """The schema of a model, mostly a reference into `definitions`; for `None` that of any JSON object."""
        return {"type": "object", "additionalProperties": True} if model is None else self._by_use[model, mode]

    def resolve(self, schema: Schema) -> Schema:
        """The schema a reference refers to; any other schema as it is."""
        return _resolve(schema, self.definitions)


class _Generator(GenerateJsonSchema):
    """Differs from pydantic's in one thing: a field with a default is required in what is serialised."""

    def field_is_required(self, field: Any, total: bool) -> bool:
        if self.mode == "serialization" and field["type"] != "typed-dict-field":
            return not field.get("serialization_exclude") and "serialization_exclude_if" not in field
        return super().field_is_required(field, total)


def _generate(uses: list[Use]) -> tuple[dict[Use, Schema], dict[str, Schema]]:
    try:
        by_use, document = models_json_schema(uses, ref_template=REF_PREFIX + "{model}", schema_generator=_Generator)
    except PydanticUserError as error:
        model, why = next(filter(None, map(_failure, uses)), (None, error))
        name = "a model" if model is None else f"{model.__module__}.{model.__qualname__}"
        msg = f"{name} has no JSON schema: {why.message}"
        raise ConfigurationError(msg) from error
    return by_use, document.get("$defs", {})  # type: ignore[return-value]  # its keys may be dataclasses, ours are not


def _failure(use: Use) -> tuple[type[BaseModel], PydanticUserError] | None:
    try:
        use[0].model_json_schema(mode=use[1], schema_generator=_Generator)
    except PydanticUserError as error:
        return use[0], error
    return None


def _normalised(schema: Any, definitions: Mapping[str, Schema]) -> Any:
    if isinstance(schema, list):
        return [_normalised(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema  # true or false
    result = {keyword: _normalised_value(keyword, value, definitions) for keyword, value in schema.items()}
    _sort_default(result)
    _tag_options(result, definitions)
    _spell_out_tuple(result)
    _make_keys_strings(result, definitions)
    return _wrap_reference(result)


def _normalised_value(keyword: str, value: Any, definitions: Mapping[str, Schema]) -> Any:
    if keyword in NAMED:
        return {name: _normalised(item, definitions) for name, item in value.items()}
    return _normalised(value, definitions) if keyword in UNNAMED else value


def _sort_default(schema: Schema) -> None:
    """Sort the default of a set, whose order otherwise differs from process to process with older pydantics."""
    if schema.get("uniqueItems") and isinstance(schema.get("default"), list):
        schema["default"] = sorted(schema["default"], key=json.dumps)


def _tag_options(schema: Schema, definitions: Mapping[str, Schema]) -> None:
    """Replace a discriminator by plain JSON Schema: each option requires the tag, even if that has a default."""
    discriminator = schema.pop("discriminator", None)
    if not isinstance(discriminator, dict):
        return
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
    """Describe number keys, such as those of an `IntEnum`, as strings, which they are in JSON; pydantic does not."""
    if "propertyNames" not in schema:
        return
    keys = _resolve(schema["propertyNames"], definitions)
    values = keys.get("enum", [keys["const"]] if "const" in keys else [])
    if not all(isinstance(value, str) for value in values):
        schema["propertyNames"] = {"enum": [value if isinstance(value, str) else json.dumps(value) for value in values]}
    elif not values and keys.get("type", "string") != "string":
        del schema["propertyNames"]


def _wrap_reference(schema: Schema) -> Schema:
    """Wrap a reference that has other keywords beside it, which draft 7 would ignore."""
    if "$ref" in schema and len(schema) > 1:
        schema = {"allOf": [{"$ref": schema.pop("$ref")}], **schema}
    return schema
