"""The text of types. `tests/describe` checks their meaning with the compiler."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from quart_wshub.description.type_expressions import (
    Expressions,
    comment,
    index_signature,
    literal,
    property_name,
    quoted,
    union,
)

DEFINITIONS: dict[str, dict[str, Any]] = {
    "#/a": {"type": "object", "properties": {"kind": {"const": "a"}, "b": {"type": "string"}}},
    "#/keys": {"enum": ["x", "y z"]},
}

EXPRESSIONS = Expressions({"#/a": "A", "#/keys": "Keys"}, DEFINITIONS)


TYPES: list[tuple[Any, str]] = [
    ({}, "unknown"),
    (True, "unknown"),
    (False, "never"),
    ({"title": "No type"}, "unknown"),
    ({"type": "something new"}, "unknown"),
    ({"type": "integer"}, "number"),
    ({"type": ["string", "null"]}, "string | null"),
    ({"$ref": "#/a"}, "A"),
    ({"const": None}, "null"),
    ({"enum": ["a", 1, 1.5, True, None]}, '"a" | 1 | 1.5 | true | null'),
    ({"const": {"a": [1], "b-c": {}}}, '{ a: [1]; "b-c": { [key: string]: never } }'),
    ({"const": float("inf")}, "number"),
    ({"anyOf": [{"type": "string"}, {"type": "string"}, {"type": "null"}]}, "string | null"),
    ({"anyOf": [{"type": "string"}, {}]}, "unknown"),
    ({"oneOf": [{"$ref": "#/a"}, False]}, "A"),
    ({"allOf": [{"$ref": "#/a"}], "default": 1}, "A"),
    ({"allOf": [{"$ref": "#/a"}], "required": ["kind"]}, 'A & { kind: "a" }'),
    ({"allOf": [{"$ref": "#/a"}], "required": ["not there"]}, 'A & { "not there": unknown }'),
    ({"allOf": [{"type": ["string", "null"]}, {"enum": ["a", "b"]}]}, '(string | null) & ("a" | "b")'),
    ({"type": "array"}, "unknown[]"),
    ({"items": {"type": "string"}}, "string[]"),
    ({"type": "array", "items": {"type": ["string", "null"]}}, "Array<string | null>"),
    ({"type": "array", "items": {"type": "array", "items": {"$ref": "#/a"}}}, "Array<A[]>"),
    ({"type": "array", "maxItems": 0}, "[]"),
    ({"type": "array", "items": [{"type": "string"}], "additionalItems": False, "minItems": 1}, "[string]"),
    ({"type": "array", "items": [{"type": "string"}], "additionalItems": False}, "[(string)?]"),
    (
        {"type": "array", "items": [{"$ref": "#/a"}], "additionalItems": {"type": "null"}, "minItems": 1},
        "[A, ...null[]]",
    ),
    ({"type": "object"}, "{ [key: string]: unknown }"),
    ({"additionalProperties": {"type": "integer"}}, "{ [key: string]: number }"),
    ({"type": "object", "properties": {}}, "{ [key: string]: never }"),
    ({"type": "object", "additionalProperties": False}, "{ [key: string]: never }"),
    ({"properties": {"a": {"type": "null"}, "b c": {}}, "required": ["a"]}, '{ a: null; "b c"?: unknown }'),
    (
        {"properties": {"a": {"type": "null"}}, "additionalProperties": {"type": "integer"}},
        "{ a?: null; [key: string]: unknown }",
    ),
    ({"type": "object", "patternProperties": {"^a": {"type": "integer"}}}, "{ [key: string]: number }"),
    (
        {"type": "object", "propertyNames": {"enum": ["a", "b c"]}, "additionalProperties": {"type": "integer"}},
        '{ [key in "a" | "b c"]?: number }',
    ),
    ({"type": "object", "propertyNames": {"$ref": "#/keys"}}, '{ [key in "x" | "y z"]?: unknown }'),
    (
        {"type": "object", "propertyNames": {"format": "uuid"}, "additionalProperties": {"type": "integer"}},
        "{ [key: string]: number }",
    ),
]


def test_every_schema_has_its_type() -> None:
    for schema, expression in TYPES:
        assert EXPRESSIONS.of(schema) == expression, schema


def test_a_name_that_is_not_an_identifier_is_quoted() -> None:
    for name in ("a", "$_a1", "class"):
        assert property_name(name) == name
    for name in ("1a", "a-b", "", "ä"):
        assert property_name(name) == f'"{name}"'


@given(st.text())
@example("\u2028")
@example("\x85")
@example("\ud800")
def test_a_quoted_text_is_one_line_and_can_be_encoded(text: str) -> None:
    written = quoted(text)

    assert len(written.splitlines()) == 1
    assert literal(text) == written
    written.encode()


@given(
    st.fixed_dictionaries({}, optional={"description": st.text(), "format": st.text(), "default": st.text(min_size=1)})
)
@example({"description": "*/ \ud800"})
def test_no_description_ends_its_comment(schema: dict[str, str]) -> None:
    text = comment(schema, "  ")

    text.encode()
    assert text.count("*/") == bool(text)
    assert text == "" or (text.startswith("  /**") and text.endswith("*/\n"))


def test_a_comment_says_what_the_type_cannot() -> None:
    comments: list[tuple[Any, str]] = [
        ({}, ""),
        (True, ""),
        ({"description": "  Short. "}, "/** Short. */\n"),
        ({"description": "Two\n\nparagraphs"}, "/**\n * Two\n *\n * paragraphs\n */\n"),
        (
            {"description": "All.", "format": "uuid", "default": {"a": 1}, "deprecated": True},
            '/**\n * All.\n * @format uuid\n * @default {"a": 1}\n * @deprecated\n */\n',
        ),
        ({"default": None}, ""),
        ({"default": False}, "/** @default false */\n"),
    ]
    for schema, text in comments:
        assert comment(schema) == text


def test_a_union_of_nothing_is_never() -> None:
    assert union([]) == "never"
    assert union(["never", "A"]) == "A"


def test_an_object_with_properties_alone_has_no_index_signature() -> None:
    assert index_signature({"properties": {"a": {}}}, EXPRESSIONS.of) == []
