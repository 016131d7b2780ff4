"""What a dispatcher answers: replies, errors, and what may be told of data that is not valid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from quart_wshub.protocol.envelope import REPLY_SUFFIX
from quart_wshub.protocol.frame import Frame

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

__all__ = ["details_of", "error_frame", "reply_frame", "reply_start"]

MAX_DETAILS = 20

MAX_ERRORS = 1000
"""Listing more than these, of which a client's programmer will read the first, takes too long."""

MAX_KEY_LENGTH = 64
"""Of a key in a detail's `loc`: it may be the client's own, and as long as a message."""


def reply_start(request_type: str) -> bytes:
    """The first part of every reply to this type."""
    return b'{"type":' + to_json(request_type + REPLY_SUFFIX) + b',"data":'


def reply_frame(start: bytes, data: bytes, request_id: str) -> Frame:
    """A reply, put together from `reply_start` and the JSON of its data."""
    return Frame((start + data + b',"request_id":' + to_json(request_id) + b"}").decode())


def error_frame(
    code: str, message: str, details: Sequence[Mapping[str, Any]] = (), request_id: str | None = None
) -> Frame:
    """An error envelope.

    Raises:
        ValueError, TypeError: something in it has no JSON form.
    """
    data = {"code": str(code), "message": message, "details": details}
    return Frame(to_json({"type": "error", "data": data, "request_id": request_id}, inf_nan_mode="null").decode())


def details_of(error: ValidationError) -> list[dict[str, Any]]:
    """Where data is not valid and why, without the values: ``{"loc", "message", "type"}`` each, the first 20."""
    count = error.error_count()
    if count > MAX_ERRORS:
        return [{"loc": [], "message": f"{count} errors", "type": "too_many_errors"}]
    listed = error.errors(include_url=False, include_input=False)
    return [
        {"loc": [_shortened(part) for part in item["loc"]], "message": _message(item), "type": item["type"]}
        for item in listed[:MAX_DETAILS]
    ]


def _shortened(part: int | str) -> int | str:
    return part if isinstance(part, int) or len(part) <= MAX_KEY_LENGTH else f"{part[:MAX_KEY_LENGTH]}…"


def _message(item: ErrorDetails) -> str:
    if item["type"] == "union_tag_invalid":  # pydantic's own text shows the tag that came
        return f"Input should have one of the tags {item.get('ctx', {}).get('expected_tags')}"
    return item["msg"]
