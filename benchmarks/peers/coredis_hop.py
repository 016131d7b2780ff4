"""The two ends of a bare hop: coredis on Trio and nothing else. Driven over pipes, see `benchmarks/hop.py`."""

from __future__ import annotations

import json
import os
import sys
import time

import trio
from coredis import Redis

_CHANNEL = "bench-hop"


def _payload(text: str) -> bytes:
    """The bytes that clients get in the measured case, which is about what nodes have to tell each other."""
    envelope = {"type": "bench.stamped", "data": {"at": time.perf_counter_ns(), "text": text}, "request_id": None}
    return json.dumps(envelope, separators=(",", ":")).encode()


async def receive(url: str) -> None:
    """Print every message's age in nanoseconds."""
    async with Redis.from_url(url) as redis, redis.pubsub(ignore_subscribe_messages=True) as pubsub:
        await pubsub.subscribe(_CHANNEL)
        print("ready", flush=True)
        async for message in pubsub:
            now = time.perf_counter_ns()
            data = message["data"]
            assert isinstance(data, bytes)
            print(now - json.loads(data)["data"]["at"], flush=True)


async def publish(url: str, text: str) -> None:
    """Publish once per line."""
    async with Redis.from_url(url) as redis, trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as orders:
        print("ready", flush=True)
        while await orders.receive_some():
            await redis.publish(_CHANNEL, _payload(text))
            print("done", flush=True)


if __name__ == "__main__":
    role, url, text = sys.argv[1:]
    if role == "receive":
        trio.run(receive, url)
    else:
        trio.run(publish, url, text)
