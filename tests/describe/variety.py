"""Random models of every kind, each with data it accepts; the same seed gives the same models."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, Union
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, create_model
from typing_extensions import TypedDict

__all__ = ["ROUNDS", "Sample", "make_samples"]

ROUNDS = 5
MODELS, FIELDS, DEPTH = 12, 8, 3

Kind = tuple[Any, Callable[[], Any]]
"""A type, and a function that makes JSON values of it."""


class Word(Enum):
    ONE = "one"
    TWO = "two words"
    QUOTED = 'with "quotes" and \\ and \u2028'


class Number(IntEnum):
    ONE = 1
    TWO = 2


class Mixed(Enum):
    TEXT = "text"
    NUMBER = 1.5
    TRUE = True
    NOTHING = None


class Pair(NamedTuple):
    left: int
    right: str = "right"


class Options(TypedDict):
    needed: int
    free: NotRequired[str]


class Leaf(BaseModel):
    """A leaf. */ export const injected = 1; /*"""

    value: int = Field(1, description="Two\nlines, and `code`.\u2029")


class Branch(BaseModel):
    model_config = ConfigDict(extra="allow")

    leaves: list[Leaf | Branch] = []


@dataclass(frozen=True)
class Sample:
    """A model, data it accepts, and that data as the model serialises it."""

    name: str
    model: type[BaseModel]
    received: dict[str, Any]
    sent: dict[str, Any]


def make_samples(seed: int) -> list[Sample]:
    """Models and their data."""
    maker = _Maker(random.Random(seed))
    return [maker.sample(f"sample.{number}") for number in range(MODELS)]


class _Maker:
    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._count = 0

    def sample(self, name: str) -> Sample:
        model, make = self._model(DEPTH)
        received = make()
        # From JSON, as it is received.
        sent = model.model_validate_json(json.dumps(received)).model_dump_json(by_alias=True)
        return Sample(name, model, received, json.loads(sent))

    def _kind(self, depth: int) -> Kind:
        makers = (
            [self._leaf] if depth == 0 else [self._leaf, self._list, self._dict, self._tuple, self._union, self._model]
        )
        kind: Kind = self._chance.choice(makers)(depth - 1)
        return kind

    def _leaf(self, _: int) -> Kind:
        pick = self._chance
        leaves: list[Kind] = [
            (int, lambda: pick.randint(-9, 9)),
            (float, lambda: pick.choice([0.5, 3])),
            (str, lambda: pick.choice(["", "text", "\u2028 \" ' \\", "ä€😀"])),
            (bool, lambda: pick.choice([True, False])),
            (type(None), lambda: None),
            (Any, lambda: pick.choice([1, None, {"a": [1]}, []])),
            (UUID, lambda: str(UUID(int=pick.getrandbits(128)))),
            (date, lambda: "2026-02-03"),
            (Decimal, lambda: pick.choice([1, "2.50"])),
            (bytes, lambda: "bytes"),
            (Word, lambda: pick.choice(list(Word)).value),
            (Number, lambda: pick.choice([1, 2])),
            (Mixed, lambda: pick.choice(["text", 1.5, True, None])),
            (Literal["a", 2, True, None], lambda: pick.choice(["a", 2, True, None])),
            (Pair, lambda: [1] if pick.random() < 0.5 else [2, "b"]),
            (Options, lambda: {"needed": 1} if pick.random() < 0.5 else {"needed": 2, "free": "x"}),
            (Leaf, lambda: pick.choice([{}, {"value": 7}])),
            (Branch, lambda: pick.choice([{}, {"leaves": [{}, {"leaves": [{"value": 2}], "x-tra": 1}]}])),
            (Annotated[str, Field(pattern="^a", max_length=3)], lambda: "abc"),
            (Annotated[int, Field(ge=0, multiple_of=2)], lambda: 4),
        ]
        return self._chance.choice(leaves)

    def _list(self, depth: int) -> Kind:
        item, make = self._kind(depth)
        many = Annotated[list[item], Field(max_length=5)] if self._chance.random() < 0.3 else list[item]  # type: ignore[valid-type]
        return many, lambda: [make() for _ in range(self._chance.randint(0, 3))]

    def _dict(self, depth: int) -> Kind:
        item, make = self._kind(depth)
        keys: list[tuple[Any, list[str]]] = [
            (str, ["a", "b c", "__proto__x"]),
            (Word, [word.value for word in Word]),
            (Number, ["1", "2"]),
            (UUID, [str(UUID(int=1))]),
            (Literal["left", "right"], ["left", "right"]),
            (Annotated[str, Field(pattern="^k")], ["k1", "k2"]),
        ]
        key, some = self._chance.choice(keys)
        return dict[key, item], lambda: {name: make() for name in some if self._chance.random() < 0.7}  # type: ignore[valid-type]

    def _tuple(self, depth: int) -> Kind:
        kinds = [self._kind(depth) for _ in range(self._chance.randint(0, 3))]
        return tuple[tuple(kind for kind, _ in kinds) or ()], lambda: [make() for _, make in kinds]  # type: ignore[misc]

    def _union(self, depth: int) -> Kind:
        kinds = [self._kind(depth) for _ in range(self._chance.randint(1, 3))]
        if self._chance.random() < 0.5:
            kinds.append((type(None), lambda: None))
        options: Any = Union.__getitem__(tuple(kind for kind, _ in kinds))
        return options, lambda: self._chance.choice(kinds)[1]()

    def _model(self, depth: int) -> tuple[type[BaseModel], Callable[[], Any]]:
        kinds = [self._kind(max(depth, 0)) for _ in range(self._chance.randint(0, FIELDS))]
        self._count += 1
        fields: dict[str, Any] = {}
        aliases: list[tuple[str, bool, Callable[[], Any]]] = []
        for number, (kind, make) in enumerate(kinds):
            alias = self._chance.choice([f"field{number}", f"with-dash {number}", f"class{number}", f'q"{number}'])
            needed = self._chance.random() < 0.6
            default = ... if needed else _jsonable_default(kind, make)
            fields[f"field{number}"] = (kind, Field(default, alias=alias))
            aliases.append((alias, needed, make))
        extras: tuple[Literal["ignore", "forbid", "allow"], ...] = ("ignore", "forbid", "allow")
        config = ConfigDict(extra=self._chance.choice(extras))
        model = create_model(f"Model{self._count}", __config__=config, **fields)
        return model, lambda: {
            alias: make() for alias, needed, make in aliases if needed or self._chance.random() < 0.5
        }


def _jsonable_default(kind: Any, make: Callable[[], Any]) -> Any:
    """A default of the right type, from its JSON form."""
    return TypeAdapter(kind).validate_json(json.dumps(make()))
