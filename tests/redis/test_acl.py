"""The permissions that the documentation asks for are enough, and are all that is needed."""

from __future__ import annotations

import re
from pathlib import Path

from quart_wshub.broker.redis import RedisBroker
from tests.contract_broker import eventually, running
from tests.harness.redis import run_redis

DOCUMENTED = re.search(
    r"\*\*ACL\*\*.*?((?:`\+[^`]*`))", Path(__file__).parents[2].joinpath("docs/broker.md").read_text(), re.DOTALL
)


async def test_the_documented_permissions_are_enough() -> None:
    assert DOCUMENTED is not None
    commands = DOCUMENTED[1].strip("`").split()
    user = ["--user", "app", "on", ">pass", "~{chat}:nodes", "resetchannels", "&chat:*", "-@all", *commands]
    with run_redis(*user) as redis:
        url = f"redis://app:pass@127.0.0.1:{redis.port}/2"
        async with running(*(RedisBroker(url, prefix="chat", beat=0.1) for _ in "12")) as (one, two):
            await one.listen("a", "b")
            one.broker.ignore("b")
            await two.broker.publish("a", b"hello")
            await eventually(lambda: one.heard.messages)
            await eventually(lambda: one.broker.statistics().ready)
            assert len(await one.broker.nodes()) == 2
            await two.stop()
            assert len(await one.broker.nodes()) == 1
        assert "NOPERM" not in redis.command("INFO", "errorstats").decode()
