"""Every public name and signature, so that reviews show each change.

After an intended change, update the list: ``python -m tests.unit.test_public_surface``.
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
    "attach bind begin_close ending expecting fan_out farewells holds inbox new_connection_id offer "
    "runner outbox peer_left received register registry requests revocations slots"
)


def public() -> dict[str, object]:
    """The public names of the package, and of its public modules."""
    names: dict[str, object] = {name: getattr(quart_wshub, name) for name in quart_wshub.__all__}
    names |= {f"testing.{name}": getattr(quart_wshub.testing, name) for name in quart_wshub.testing.__all__}
    return names | {item.__name__: item for item in (MemoryBroker, MemoryExchange, RedisBroker)}


def members_of(cls: type) -> Iterator[str]:
    """One line per public member that this package defines for a class, inherited ones included."""
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
    """How apps make an instance: a model by its fields; nothing for a class that only this library instantiates."""
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
    assert surface() == SURFACE.read_text(), "if this is intended: python -m tests.unit.test_public_surface"


def test_runtime_methods_are_not_public() -> None:
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
