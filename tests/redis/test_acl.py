"""The permissions that the documentation asks for are enough, and are all that is needed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from quart_wshub.broker.redis import RedisBroker
from tests.contract_broker import eventually, running
from tests.harness.redis import run_redis

if TYPE_CHECKING:
    from quart_wshub.broker.base import Broker

DOCUMENTED = re.search(
    r"\*\*ACL\*\*.*?((?:`\+[^`]*`))", Path(__file__).parents[2].joinpath("docs/broker.md").read_text(), re.DOTALL
)


async def knows(broker: Broker, nodes: set[str]) -> bool:
    return await broker.nodes() == nodes


async def test_the_documented_permissions_are_enough() -> None:
    assert DOCUMENTED is not None
    commands = DOCUMENTED[1].strip("`").split()
    user = ["--user", "app", "on", ">pass", "~{chat}:nodes", "resetchannels", "&chat:*", "-@all", *commands]
    with run_redis(*user) as redis:
        url = f"redis://app:pass@127.0.0.1:{redis.port}/2"
        async with running(*(RedisBroker(url, prefix="chat", beat=1) for _ in "12")) as (one, two):
            await one.subscribe("a", "b")
            one.broker.unsubscribe("b")
            await two.broker.publish("a", b"hello")
            await eventually(lambda: one.heard.messages)
            both = {node.broker.node_id for node in (one, two)}
            await eventually(lambda: knows(one.broker, both))
            await two.stop()
            assert await one.broker.nodes() == {one.broker.node_id}
        assert "NOPERM" not in redis.command("INFO", "errorstats").decode()
