"""Fixtures of the unit tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from quart_wshub import WebSocketHub
from tests.unit.memory import assert_nothing_is_left

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def hub() -> AsyncIterator[WebSocketHub]:
    """A hub of which nothing may be left when the test is over."""
    hub = WebSocketHub()
    yield hub
    assert_nothing_is_left(hub)
