"""What the Python peers share: the token check, the envelope of those that bring none, and the stall probe."""

from __future__ import annotations

import os
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import jwt
from pydantic import BaseModel, Field

from benchmarks.protocol import HEARTBEAT_VARIABLE, SECRET_VARIABLE, TIMEOUT_VARIABLE, message

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SECRET = os.environ.get(SECRET_VARIABLE, "")
HEARTBEAT_SECONDS = float(os.environ.get(HEARTBEAT_VARIABLE, "30"))
TIMEOUT_SECONDS = float(os.environ.get(TIMEOUT_VARIABLE, "60"))


class Envelope(BaseModel):
    """The same three fields the hubs validate, for peers that are only a WebSocket library."""

    type: str = Field(min_length=1)
    data: dict[str, Any] = Field(default_factory=dict)
    request_id: str | None = None


def encoded(kind: str, data: dict[str, Any], request_id: str | None = None) -> str:
    """The JSON text of an envelope."""
    return Envelope(type=kind, data=data, request_id=request_id).model_dump_json()


@lru_cache(maxsize=4)
def burst_texts(count: int, text: str) -> list[str]:
    """The ready-made messages of a burst: encoded once, since the burst measures sending."""
    return [encoded("bench.message", message(seq, text)) for seq in range(count)]


def user_of_token(token: str) -> str | None:
    """The token's subject, or `None` for a bad token."""
    try:
        subject = jwt.decode(token, SECRET, algorithms=["HS256"], options={"require": ["exp", "sub"]})["sub"]
    except jwt.PyJWTError:
        return None
    return str(subject)


def user_of_path(path: str) -> str | None:
    """The subject of `?token=` in a request path, or `None`."""
    tokens = parse_qs(urlsplit(path).query).get("token")
    return user_of_token(tokens[0]) if tokens else None


async def longest_stall(sleep: Callable[[float], Awaitable[object]], seconds: float) -> dict[str, float]:
    """How late, at most, a 1 ms timer of the running event loop fired within `seconds`. In seconds.

    `cpu_seconds` is the most CPU time the loop used between two ticks: the same stall, but blind to other processes.
    """
    tick = 0.001
    worst = worst_cpu = 0.0
    now, cpu = time.perf_counter(), time.thread_time()
    end = now + seconds
    while now < end:
        await sleep(tick)
        before, now = now, time.perf_counter()
        cpu_before, cpu = cpu, time.thread_time()
        worst = max(worst, now - before - tick)
        worst_cpu = max(worst_cpu, cpu - cpu_before)
    return {"seconds": worst, "cpu_seconds": worst_cpu}
