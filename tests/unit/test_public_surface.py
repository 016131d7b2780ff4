"""What apps see: every public name and signature, so that a change of it is seen in review.

After a change that is meant, write the list anew: ``python -m tests.unit.test_public_surface``.
"""

from __future__ import annotations

import inspect
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

import quart_wshub
import quart_wshub.testing
from quart_wshub.broker.memory import MemoryBroker, MemoryExchange
from quart_wshub.broker.redis import RedisBroker

if TYPE_CHECKING:
    from collections.abc import Iterator

SURFACE = Path(__file__).with_name("public_surface.txt")

MADE_BY_THE_LIBRARY = (quart_wshub.WebSocket, quart_wshub.WebSocketConnection, quart_wshub.testing.WebSocketClient)

RUNTIME = (
    "attach bind begin_close ending expecting fan_out farewells free_slot holds inbox new_connection_id offer "
    "on_closing outbox peer_left received register registry requests revocations run_broker stop_broker take_slot"
)


def public() -> dict[str, object]:
    """The public names of the package, and of its public modules."""
    names: dict[str, object] = {name: getattr(quart_wshub, name) for name in quart_wshub.__all__}
    names |= {f"testing.{name}": getattr(quart_wshub.testing, name) for name in quart_wshub.testing.__all__}
    return names | {item.__name__: item for item in (MemoryBroker, MemoryExchange, RedisBroker)}


def members_of(cls: type) -> Iterator[str]:
    """One line for each public member that a class of this package has, inherited ones of this package included."""
    for name in sorted(dir(cls)):
        definer = next((base for base in cls.__mro__ if name in vars(base)), object)
        if name.startswith("_") or not definer.__module__.startswith("quart_wshub"):
            continue
        member = inspect.getattr_static(cls, name)
        if isinstance(member, property):
            yield f"{name} -> {_annotation(member.fget)}"
        elif callable(member) or isinstance(member, (classmethod, staticmethod)):
            yield f"{name}{_signature(getattr(cls, name))}"
        else:
            yield name


def surface() -> str:
    """The list."""
    lines = []
    for name, item in sorted(public().items()):
        if isinstance(item, type):
            lines += [f"class {name}{_constructor(item)}", *(f"    {line}" for line in members_of(item))]
        elif inspect.isroutine(item):
            lines.append(f"def {name}{_signature(item)}")
        else:
            lines.append(name)
    return "\n".join(lines) + "\n"


def _constructor(cls: type) -> str:
    """How apps make one: of a model by its fields, of what only this library makes not at all."""
    if issubclass(cls, BaseModel):
        return f"({', '.join(f'{name}={field.default!r}' for name, field in cls.model_fields.items())})"
    return "" if issubclass(cls, Enum) or cls in MADE_BY_THE_LIBRARY else _signature(cls)


def _signature(item: object) -> str:
    try:
        return str(inspect.signature(item))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return ""


def _annotation(function: object) -> str:
    return str(inspect.signature(function).return_annotation)  # type: ignore[arg-type]


def test_the_public_surface_is_the_one_that_was_reviewed() -> None:
    assert surface() == SURFACE.read_text(), "if this is meant: python -m tests.unit.test_public_surface"


def test_nothing_that_is_for_the_runtime_is_among_it() -> None:
    shown = {
        name
        for cls in (
            quart_wshub.WebSocketHub,
            quart_wshub.WebSocketConnection,
            quart_wshub.WebSocket,
            quart_wshub.MessageRouter,
        )
        for name in dir(cls)
    }
    assert shown.isdisjoint(RUNTIME.split())


if __name__ == "__main__":
    SURFACE.write_text(surface())
