"""The Redis broker keeps the contract: over TCP, a Unix socket, TLS and with a password."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote
from uuid import uuid4

import pytest

from quart_wshub.broker.redis import RedisBroker
from quart_wshub.protocol.errors import BrokerUnavailableError
from tests.contract_broker import BrokerContract, BrokerFactory, eventually, running
from tests.harness.proxy import run_proxy
from tests.harness.redis import run_redis
from tests.server.native.certificates import make_certificate

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


async def speaks(broker: RedisBroker) -> bool:
    """Whether it gets its own message."""
    async with running(broker) as (one,):
        await one.subscribe("a")
        await one.broker.publish("a", b"hello")
        await eventually(lambda: one.heard.messages)
        await eventually(lambda: broker.statistics().ready)
        return await broker.nodes() == {broker.node_id}


async def test_over_a_unix_socket_to_a_database(shared_redis: RedisProcess) -> None:
    broker = RedisBroker(f"unix://{shared_redis.socket_path}?db=3", prefix="unix")

    assert await speaks(broker)


async def test_over_tls(shared_redis: RedisProcess, caplog: pytest.LogCaptureFixture) -> None:
    """Not every Redis is built with it, so something in front of Redis speaks it."""
    certificate = make_certificate()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.use_in(server)
    trusting = ssl.create_default_context(cadata=certificate.pem)
    async with run_proxy(shared_redis.port, tls=server) as proxy:
        url = f"rediss://127.0.0.1:{proxy.port}"
        assert await speaks(RedisBroker(url, prefix="tls", ssl_context=trusting))

        # The system's authorities do not know this one.
        async with running(RedisBroker(url, timeout=0.3)) as (one,):
            with pytest.raises(BrokerUnavailableError):
                await one.broker.publish("a", b"")
        assert "certificate verify failed" in caplog.text


async def test_with_a_password_which_is_shown_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    secret = "p@ss/w:rd#s3cret"
    with run_redis("--requirepass", secret) as redis:
        url = f"redis://:{quote(secret, safe='')}@127.0.0.1:{redis.port}"
        broker = RedisBroker(url)
        assert await speaks(broker)

        wrong = RedisBroker(f"redis://somebody:not-{quote(secret, safe='')}@127.0.0.1:{redis.port}", timeout=0.3)
        async with running(wrong) as (one,):
            with pytest.raises(BrokerUnavailableError) as caught:
                await one.broker.publish("a", b"")

    shown = [repr(broker), repr(wrong), repr(vars(wrong)), repr(caught.value), caplog.text]
    assert "s3cret" not in "".join(shown)
    assert "invalid username-password pair" in caplog.text


async def test_what_redis_does_not_permit_is_refused_once_and_disturbs_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with run_redis(
        *["--user", "some", "on", ">pass", "allcommands", "allkeys", "resetchannels", "&wshub:ok", "&wshub:*everything"]
    ) as redis:
        async with running(RedisBroker(f"redis://some:pass@127.0.0.1:{redis.port}", timeout=0.5)) as (one,):
            await one.subscribe("ok")
            for _ in range(3):
                with pytest.raises(BrokerUnavailableError, match="permissions"):
                    await one.broker.publish("forbidden", b"")
            one.broker.post("forbidden", b"")
            await one.broker.publish("ok", b"fine")
            await eventually(lambda: one.heard.messages)

            assert one.broker.statistics().lost == 4
            errors = redis.command("INFO", "errorstats").decode()
            assert int(errors.partition("NOPERM:count=")[2].split()[0]) == 4  # markers wait for better times
            assert len([record for record in caplog.records if "refused" in record.message]) == 1


async def test_bytes_of_an_unknown_kind_are_left_alone(shared_redis: RedisProcess) -> None:
    async with running(RedisBroker(shared_redis.url, prefix="kinds")) as (one,):
        await one.subscribe("a")
        for data in ("", "?from the future"):
            shared_redis.command("PUBLISH", "kinds:a", data)
        await one.broker.publish("a", b"known")
        await eventually(lambda: one.heard.messages)

        assert one.heard.messages == [("a", b"known")]
        assert one.heard.gaps == []
