"""Reads the bodies of HTTP requests, and refuses invalid ones."""

import hmac
from typing import TypeVar

from messages import explain
from pydantic import BaseModel, SecretStr, ValidationError
from quart import Blueprint, request
from store import StoreUnavailableError

from quart_wshub import BrokerUnavailableError

M = TypeVar("M", bound=BaseModel)

Reply = tuple[dict[str, object], int]


class InvalidBodyError(Exception):
    """The body is invalid; the text says why."""


async def body_of(model: type[M]) -> M:
    """The request's body.

    Raises:
        InvalidBodyError: it is not valid for this model.
    """
    try:
        return model.model_validate_json(await request.get_data())
    except ValidationError as error:
        raise InvalidBodyError(explain(error)) from None


def bearer() -> str:
    """The token in the `Authorization` header; empty if there is none."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def has_key(key: SecretStr) -> bool:
    """Whether the request has this key, compared in constant time."""
    return hmac.compare_digest(bearer().encode(), key.get_secret_value().encode())


def answer_failures(routes: Blueprint) -> None:
    """Make these routes answer errors with JSON."""

    @routes.errorhandler(InvalidBodyError)
    async def refuse_body(error: InvalidBodyError) -> Reply:
        return {"error": str(error)}, 422

    @routes.errorhandler(BrokerUnavailableError)
    @routes.errorhandler(StoreUnavailableError)
    async def try_again(error: Exception) -> Reply:
        return {"error": "Not every server can be reached at the moment. Please try again."}, 503
