"""The Redis broker keeps the contract: over TCP, a Unix socket, TLS and with a password."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from quart_wshub.broker.redis import RedisBroker
from tests.contract_broker import BrokerContract, BrokerFactory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.harness.redis import RedisProcess


class TestOverTcp(BrokerContract):
    @pytest.fixture(autouse=True)
    def use(self, shared_redis: RedisProcess) -> None:
        self.redis = shared_redis

    @asynccontextmanager
    async def make_brokers(self) -> AsyncIterator[BrokerFactory]:
        prefix = uuid4().hex
        yield lambda: RedisBroker(self.redis.url, prefix=prefix, timeout=2)
