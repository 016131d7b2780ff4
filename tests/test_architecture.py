"""The layers of the package, proven from its imports.

A module imports only from its own layer or those above it in `LAYERS`. A new module needs a place there.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(__file__).resolve().parents[1] / "quart_wshub"


class Layer(NamedTuple):
    """Modules of one kind; those of a folder are named ``folder.module``."""

    name: str
    modules: frozenset[str]


def layer(name: str, modules: str) -> Layer:
    return Layer(name, frozenset(modules.split()))


LAYERS = (
    layer(
        "facts",
        "close_codes cluster cluster.channels cluster.node_ids cluster.wire description description.builtin_messages "
        "envelope error_codes errors exception_groups frame frozen heartbeat messages settings tokens",
    ),
    layer("state", "holds registry rate_limit revocations history presence"),
    layer("seams", "auth jwt_auth jwt_keys broker broker.base transport transport.base"),
    layer(
        "runtime",
        "batch cluster.answers cluster.complaints cluster.confirmations cluster.gaps cluster.interests cluster.limit "
        "cluster.node cluster.queries cluster.requests cluster.view connection description.asyncapi "
        "description.asyncapi_messages description.catalog description.schemas description.type_expressions "
        "description.typescript drain expiry failures fan_out farewells handshake hub hub_statistics inbox lifecycle "
        "messages.builtin_routes messages.dispatch messages.failures messages.hooks messages.replies messages.route "
        "messages.router messages.signature messages.topic_policy outbox pacing requests websocket",
    ),
    layer(
        "adapters",
        "broker.backoff broker.memory broker.redis broker.redis_cluster broker.redis_connection broker.redis_counters "
        "broker.redis_frames broker.redis_nodes broker.redis_publisher broker.redis_server broker.redis_subscriber "
        "broker.redis_subscriptions broker.redis_supervisor broker.redis_url broker.resp "
        "transport.asgi transport.compression transport.direct transport.http2_pipe transport.hypercorn "
        "transport.native transport.parser transport.pipes transport.plain_request transport.upgrade transport.worker",
    ),
    layer(
        "composition",
        "__init__ __main__ asyncapi_route blueprint cli client_route opening readiness serving takeover testing",
    ),
)

ADAPTERS_SEE_ONLY = frozenset({"facts", "state", "seams", "adapters"})
"""An adapter knows what the hub needs from outside, and nothing of the hub."""

EVENT_LOOPS = frozenset({"anyio", "asyncio", "hypercorn", "quart", "quart_trio", "trio"})
SERVERS = frozenset({"hypercorn", "quart", "quart_trio"})

FORBIDDEN = {
    "facts": EVENT_LOOPS,
    "state": EVENT_LOOPS,
    "seams": SERVERS,
    "runtime": SERVERS,
    "adapters": frozenset({"quart", "quart_trio"}),
    "composition": frozenset[str](),
}
"""Top-level packages a layer does without."""


def name_of(path: Path) -> str:
    """A module's name inside the package; a folder's is the folder's."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


PATHS = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def layer_of(module: str) -> Layer:
    """The layer of a module; fails for one that has no place."""
    for layer in LAYERS:
        if module in layer.modules:
            return layer
    pytest.fail(f"{module} is new: give it a place in LAYERS, as high up as its imports allow")


def imports(module: str, source: str) -> Iterator[str]:
    """The full names of what a module imports, for type checking included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = ["quart_wshub", *module.split(".")][: -node.level] if node.level else []
            base = ".".join([*package, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def imported_module(name: str) -> str:
    """The module of this package that a full name stands for, or stands in."""
    inner = name.removeprefix("quart_wshub").lstrip(".")
    while inner and inner not in PATHS:
        inner = inner.rpartition(".")[0]
    return inner or "__init__"


def violations(module: str, source: str) -> list[str]:
    """What a module imports that its layer may not know."""
    layer = layer_of(module)
    found = set()
    for name in imports(module, source):
        top = name.partition(".")[0]
        if top == "quart_wshub":
            target = imported_module(name)
            if not may_import(layer, layer_of(target)):
                found.add(f"{module} ({layer.name}) imports {target} ({layer_of(target).name})")
        elif top in FORBIDDEN[layer.name]:
            found.add(f"{module} ({layer.name}) imports {top}")
    return sorted(found)


def may_import(importer: Layer, imported: Layer) -> bool:
    if importer.name == "adapters":
        return imported.name in ADAPTERS_SEE_ONLY
    return LAYERS.index(imported) <= LAYERS.index(importer)


@pytest.mark.parametrize("module", PATHS)
def test_every_module_has_its_place(module: str) -> None:
    assert layer_of(module) in LAYERS


@pytest.mark.parametrize("module", PATHS)
def test_a_module_imports_only_from_its_own_layer_and_those_above(module: str) -> None:
    assert violations(module, PATHS[module].read_text()) == []


@pytest.mark.parametrize("module", PATHS)
def test_every_module_says_why_it_exists(module: str) -> None:
    assert ast.get_docstring(ast.parse(PATHS[module].read_text())), f"{module} has no docstring"


def test_no_module_has_two_places() -> None:
    everything = [module for layer in LAYERS for module in layer.modules]

    assert len(everything) == len(set(everything))


# The proof can fail


@pytest.mark.parametrize(
    ("module", "source", "found"),
    [
        ("registry", "import trio", "trio"),
        ("registry", "import trio.lowlevel as t", "trio"),
        ("envelope", "from quart import Quart", "quart"),
        ("frame", "def f():\n    import asyncio", "asyncio"),
        ("hub", "from quart import websocket", "quart"),
        ("registry", "from quart_wshub.hub import WebSocketHub", "hub (runtime)"),
        ("registry", "from quart_wshub import hub", "hub (runtime)"),
        ("registry", "from .hub import WebSocketHub", "hub (runtime)"),
        ("registry", "from . import hub", "hub (runtime)"),
        ("hub", "from quart_wshub import WebSocketConnection", "__init__ (composition)"),
        ("hub", "import quart_wshub", "__init__ (composition)"),
        ("hub", "from quart_wshub.transport import asgi", "transport.asgi (adapters)"),
        ("hub", "if TYPE_CHECKING:\n    import quart_wshub.transport.asgi", "transport.asgi (adapters)"),
        ("transport.asgi", "from ..hub import WebSocketHub", "hub (runtime)"),
        ("transport.asgi", "from quart_wshub.connection import x", "connection (runtime)"),
        ("transport.asgi", "from quart_wshub.blueprint import x", "blueprint (composition)"),
    ],
)
def test_an_import_that_is_not_allowed_is_found(module: str, source: str, found: str) -> None:
    assert violations(module, source) == [f"{module} ({layer_of(module).name}) imports {found}"]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("hub", "import trio\nfrom quart_wshub.registry import Registry\nfrom quart_wshub import heartbeat"),
        (
            "transport.asgi",
            "import trio\nfrom quart_wshub.transport.base import Transport\nfrom .base import Transport",
        ),
        ("blueprint", "from quart import Blueprint\nfrom quart_wshub.hub import WebSocketHub"),
    ],
)
def test_an_import_that_is_allowed_is_not(module: str, source: str) -> None:
    assert violations(module, source) == []


def test_a_module_without_a_place_fails_and_says_what_to_do() -> None:
    with pytest.raises(pytest.fail.Exception, match="brand_new is new: give it a place in LAYERS"):
        violations("brand_new", "")
