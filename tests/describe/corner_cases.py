"""Fields that are hard to write in TypeScript, with values that may be assigned to each and values that may not."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, Optional, Union

from pydantic import Base64Bytes, BaseModel, Field, Json, JsonValue, RootModel
from pydantic.dataclasses import dataclass
from typing_extensions import TypedDict

__all__ = ["CASES", "Case"]

Case = tuple[Any, list[str], list[str]]


class Size(IntEnum):
    SMALL = 1
    BIG = 2


class Word(StrEnum):
    ONE = "one"
    TWO = "two words"


class Mixed(Enum):
    TEXT = "text"
    HALF = 0.5
    NOTHING = None


class Cat(BaseModel):
    kind: Literal["cat", "kitten"] = "cat"
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"]


class Nothing(BaseModel):
    pass


class Open(BaseModel, extra="allow"):
    known: int


class OpenWithNumbers(BaseModel, extra="allow"):
    __pydantic_extra__: dict[str, int]
    known: str


class Row(NamedTuple):
    name: str
    size: int = 0


class Both(TypedDict):
    needed: int
    free: NotRequired[int]


@dataclass
class Point:
    x: float
    y: float = 0


class Nested(RootModel["list[Nested] | int"]):
    pass


class ByName(RootModel["dict[str, ByName]"]):
    pass


class Page(BaseModel):
    next: Optional[Page] = None  # noqa: UP045


CASES: dict[str, Case] = {
    "nullable": (int | None, ["1", "null"], ["'1'", "undefined"]),
    "list_of_union": (list[int | str], ["[1, 'a']", "[]"], ["[true]", "1"]),
    "list_of_nullable": (list[int | None], ["[null]"], ["null", "['a']"]),
    "list_of_lists": (list[list[bool]], ["[[true]]"], ["[true]"]),
    "set": (set[int], ["[1]"], ["{}"]),
    "tuple": (tuple[int, str], ["[1, 'a']"], ["[1]", "['a', 1]", "[1, 'a', 2]"]),
    "tuple_of_unions": (tuple[int | str, None], ["['a', null]"], ["[null, null]"]),
    "empty_tuple": (tuple[()], ["[]"], ["[1]"]),
    "any_length": (tuple[int, ...], ["[]", "[1, 2]"], ["['a']"]),
    "named_tuple": (Row, ["['a']", "['a', 1]"], ["[]", "['a', 'b']"]),
    "dict": (dict[str, int], ["{}", "{ a: 1, 'b c': 2 }"], ["{ a: 'a' }", "[1]"]),
    "dict_of_anything": (dict[str, Any], ["{ a: [1] }"], ["1", "null"]),
    "dict_by_enum": (dict[Word, int], ["{ one: 5 }", "{ 'two words': 5 }"], ["{ three: 5 }", "{ one: 'a' }"]),
    "dict_by_int_enum": (dict[Size, int], ["{ 1: 5 }", "{ '2': 5 }"], ["{ 1: 'a' }"]),
    "dict_by_literal": (dict[Literal["a b"], int], ["{ 'a b': 1 }", "{}"], ["{ ab: 1 }"]),
    "dict_by_pattern": (dict[Annotated[str, Field(pattern="^a")], int], ["{ a: 1 }"], ["{ a: 'a' }"]),
    "dict_by_number": (dict[int, str], ["{ 1: 'a' }"], ["{ 1: 1 }"]),
    "bare_dict": (dict, ["{ a: 1 }"], ["1"]),
    "bare_list": (list, ["[1, 'a']"], ["1"]),
    "counter": (Counter[str], ["{ a: 1 }"], ["{ a: 'a' }"]),
    "anything": (Any, ["1", "null", "{ a: 1 }"], []),
    "json_value": (JsonValue, ["1", "null", "{ a: [1] }"], []),
    "json_in_text": (Json[list[int]], ["'[1]'"], ["[1]"]),
    "literals": (Literal["a", 1, True, None], ["'a'", "1", "true", "null"], ["'b'", "2", "false"]),
    "odd_literal": (Literal['"\\\n\u2028*/'], ['"\\"\\\\\\n\\u2028*/"'], ["'a'"]),
    "int_enum": (Size, ["1", "2"], ["3", "'1'"]),
    "mixed_enum": (Mixed, ["'text'", "0.5", "null"], ["1", "'x'"]),
    "number": (float, ["1", "0.5"], ["'1'"]),
    "decimal": (Decimal, ["1", "'1.50'"], ["true"]),
    "time": (datetime, ["'2026-01-01T00:00:00Z'"], ["{}"]),
    "duration": (timedelta, ["'PT1S'"], ["{}"]),
    "bytes": (Base64Bytes, ["'aGk='"], ["[1]"]),
    "tagged": (
        Annotated[Cat | Dog, Field(discriminator="kind")],
        ["{ kind: 'cat' }", "{ kind: 'kitten', lives: 3 }", "{ kind: 'dog' }"],
        ["{}", "{ lives: 3 }", "{ kind: 'cow' }", "{ kind: 'dog', lives: 3 }"],
    ),
    "untagged": (Union[Cat, Dog], ["{}", "{ kind: 'dog' }"], ["{ kind: 'cow' }"]),  # noqa: UP007
    "list_of_tagged": (list[Annotated[Cat | Dog, Field(discriminator="kind")]], ["[{ kind: 'dog' }]"], ["[{}]"]),
    "no_fields": (Nothing, ["{}"], ["1", "null", "{ a: 1 }"]),
    "more_fields": (Open, ["{ known: 1 }", "{ known: 1, other: 'a' }"], ["{ other: 'a' }", "{ known: 'a' }"]),
    "more_numbers": (OpenWithNumbers, ["{ known: 'a' }", "{ known: 'a', other: 1 }"], ["{ known: 1 }"]),
    "typed_dict": (Both, ["{ needed: 1 }", "{ needed: 1, free: 2 }"], ["{ free: 2 }", "{ needed: 1, other: 2 }"]),
    "dataclass": (Point, ["{ x: 1 }", "{ x: 1, y: 2 }"], ["{ y: 2 }"]),
    "recursive_list": (Nested, ["1", "[]", "[1, [2, [3]]]"], ["'a'", "[['a']]"]),
    "recursive_dict": (ByName, ["{}", "{ a: { b: {} } }"], ["1", "{ a: 1 }"]),
    "recursive_model": (Page, ["{}", "{ next: { next: null } }"], ["{ next: 1 }"]),
    "with_comment": (Annotated[int, Field(description="Ends */ here?\n\n* and `${here}`")], ["1"], ["'1'"]),
}
