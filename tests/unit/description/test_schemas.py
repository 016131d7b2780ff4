"""Schemas in draft 7: names, modes, and what differs from pydantic's dialect."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from enum import IntEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, WithJsonSchema, create_model

from quart_wshub import ConfigurationError
from quart_wshub.description.schemas import REF_PREFIX, Schema, Schemas


class Size(IntEnum):
    SMALL = 1
    BIG = 2


class Plain(BaseModel):
    kind: Literal["plain"]


class Tagged(BaseModel):
    kind: Literal["tagged"] = "tagged"


def schema_of(kind: Any, mode: Literal["validation", "serialization"] = "validation", **field: Any) -> Schema:
    """The schema of one field."""
    model = create_model("Model", it=(kind, Field(**field)))
    schemas = Schemas([(model, mode)])
    schema: Schema = schemas.resolve(schemas.of(model, mode))["properties"]["it"]
    return {keyword: value for keyword, value in schema.items() if keyword != "title"}


def test_a_field_with_a_default_is_optional_as_input_and_required_as_output() -> None:
    model = create_model("Model", a=(int, 1), b=(int, ...), c=(int, Field(default_factory=int)))
    schemas = Schemas([(model, "validation"), (model, "serialization")])

    received, sent = (schemas.resolve(schemas.of(model, mode)) for mode in ("validation", "serialization"))
    assert received["required"] == ["b"]
    assert sent["required"] == ["a", "b", "c"]


def test_an_excluded_field_is_not_described() -> None:
    model = create_model("Model", shown=(int, 1), hidden=(int, Field(1, exclude=True)))
    schemas = Schemas([(model, "serialization")])

    assert list(schemas.resolve(schemas.of(model, "serialization"))["properties"]) == ["shown"]


def test_models_of_the_same_name_get_different_names() -> None:
    first = create_model("Item", __module__="one", a=(int, ...))
    second = create_model("Item", __module__="two", b=(int, ...))
    schemas = Schemas([(first, "validation"), (second, "validation")])

    assert schemas.of(first, "validation") == {"$ref": f"{REF_PREFIX}one__Item"}
    assert schemas.of(second, "validation") == {"$ref": f"{REF_PREFIX}two__Item"}
    assert list(schemas.definitions["two__Item"]["properties"]) == ["b"]


def test_without_a_model_any_object_is_valid() -> None:
    assert Schemas([]).of(None, "validation") == {"type": "object", "additionalProperties": True}


def test_a_model_without_a_schema_is_named() -> None:
    model = create_model("Bad", __module__="app", call=(Callable[[], int], ...))

    with pytest.raises(ConfigurationError, match=r"app\.Bad has no JSON schema: Cannot generate a JsonSchema"):
        Schemas([(Plain, "validation"), (model, "validation")])


def test_a_tuple_lists_its_items() -> None:
    assert schema_of(tuple[int, str]) == {
        "type": "array",
        "items": [{"type": "integer"}, {"type": "string"}],
        "additionalItems": False,
        "minItems": 2,
        "maxItems": 2,
    }


def test_a_reference_with_something_beside_it_is_wrapped() -> None:
    assert schema_of(Plain, description="It.") == {"allOf": [{"$ref": f"{REF_PREFIX}Plain"}], "description": "It."}
    assert schema_of(Plain) == {"$ref": f"{REF_PREFIX}Plain"}


def test_a_discriminator_becomes_a_requirement_where_there_is_none_yet() -> None:
    assert schema_of(Annotated[Plain | Tagged, Field(discriminator="kind")]) == {
        "oneOf": [
            {"$ref": f"{REF_PREFIX}Plain"},
            {"allOf": [{"$ref": f"{REF_PREFIX}Tagged"}], "required": ["kind"]},
        ]
    }


def test_keys_are_strings() -> None:
    cases: list[tuple[Schema, Schema | None]] = [
        ({"enum": [1, 2]}, {"enum": ["1", "2"]}),
        ({"const": 1}, {"enum": ["1"]}),
        ({"enum": ["a", "b"]}, {"enum": ["a", "b"]}),
        ({"format": "uuid"}, {"format": "uuid"}),
        ({"type": "string", "minLength": 1}, {"type": "string", "minLength": 1}),
        ({"type": "integer", "minimum": 1}, None),
    ]
    for keys, expected in cases:
        kind = Annotated[dict[Any, Any], WithJsonSchema({"type": "object", "propertyNames": keys})]

        assert schema_of(kind).get("propertyNames") == expected


def test_the_keys_of_an_enumeration_may_be_a_reference() -> None:
    schema = schema_of(dict[Size, int])

    # Older pydantics say nothing of these keys.
    assert schema.get("propertyNames") in (None, {"enum": ["1", "2"]})


def test_properties_called_like_keywords_are_properties() -> None:
    model = create_model("Model", discriminator=(int, ...), items=(int, ...), const=(int, ...))
    schemas = Schemas([(model, "validation")])

    properties = schemas.resolve(schemas.of(model, "validation"))["properties"]
    assert {name: schema["type"] for name, schema in properties.items()} == dict.fromkeys(properties, "integer")
    assert list(properties) == ["discriminator", "items", "const"]


def test_a_default_that_looks_like_a_schema_is_not_changed() -> None:
    default = {"$ref": "x", "items": "y", "prefixItems": []}

    assert schema_of(dict[str, Any], default=default)["default"] == default


PRINT = """
from tests.describe.app import messages
from quart_wshub.description.asyncapi import asyncapi
from quart_wshub.description.typescript import typescript
import json
print(json.dumps(asyncapi(messages)))
print(typescript(messages))
"""


def test_every_process_writes_the_same_text() -> None:
    texts = {
        subprocess.run(
            [sys.executable, "-c", PRINT],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(filter(None, sys.path))},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert len(texts) == 1
    assert b'["four", "one", "three", "two"]' in texts.pop()
