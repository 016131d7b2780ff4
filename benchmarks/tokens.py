"""Users with their tokens, made before anything is timed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from uuid import UUID

import jwt

SECRET = "a benchmark secret of at least 32 bytes"


@dataclass(frozen=True, slots=True)
class User:
    """One user, who opens one socket."""

    user_id: str
    token: str


@lru_cache(maxsize=16384)
def user(number: int) -> User:
    """The user with this number; the token stays the same for the whole run."""
    user_id = str(UUID(int=number + 1))
    claims = {"sub": user_id, "exp": int(time.time()) + 86400}
    return User(user_id, jwt.encode(claims, SECRET, algorithm="HS256"))


def users(count: int) -> list[User]:
    """Users number 1 to `count`; number 0 is the controlling connection's."""
    return [user(number) for number in range(1, count + 1)]
