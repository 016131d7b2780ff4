"""Routers for models that are made at run time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart_wshub import MessageRouter

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["router_of"]


def router_of(models: dict[str, type[BaseModel]]) -> MessageRouter:
    """A router that receives and sends each of these models."""
    router = MessageRouter()
    for name, model in models.items():
        _register(router, name, model)
        router.sends(name, model)
    return router


def _register(router: MessageRouter, name: str, model: type[BaseModel]) -> None:
    async def handler(message: BaseModel) -> None:
        raise NotImplementedError

    # Annotations are strings in this module, and a router does not look up local names.
    handler.__annotations__.update(message=model)
    router.on(name)(handler)
