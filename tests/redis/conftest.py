"""Fixtures of the tests on a real Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from tests.harness.redis import RedisProcess, run_redis

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture(scope="module")
def shared_redis() -> Iterator[RedisProcess]:
    """One for tests that leave it as it was."""
    with run_redis() as redis:
        yield redis


@pytest.fixture
def redis() -> Iterator[RedisProcess]:
    """One for a test that breaks it."""
    with run_redis() as redis:
        yield redis


@pytest.fixture(autouse=True)
async def deadline() -> AsyncIterator[None]:
    """Nothing here takes long."""
    with trio.fail_after(20):
        yield
