"""Peer `channels`: Django Channels with channels_redis, on daphne, one process per worker on one listening socket."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from typing import Any
from urllib.parse import parse_qs

import django
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.urls import path

from benchmarks.peers.common import HEARTBEAT_SECONDS, TIMEOUT_SECONDS, Envelope, encoded, user_of_token
from benchmarks.protocol import REDIS_VARIABLE, message

# Of the two layers in channels_redis the faster one.
_LAYER = "channels_redis.pubsub.RedisPubSubChannelLayer"

settings.configure(
    SECRET_KEY="unused",
    CHANNEL_LAYERS={"default": {"BACKEND": _LAYER, "CONFIG": {"hosts": [os.environ[REDIS_VARIABLE]]}}},
)
django.setup()


class Consumer(AsyncWebsocketConsumer):
    """The bench protocol over one connection. A topic is a group here."""

    async def connect(self) -> None:
        """Check the token before the upgrade."""
        self.topics: set[str] = set()
        (token,) = parse_qs(self.scope["query_string"].decode())["token"]
        if user_of_token(token) is None:
            await self.close()
        else:
            await self.accept()

    async def disconnect(self, code: int) -> None:
        """Leave all topics."""
        for topic in self.topics:
            await self.channel_layer.group_discard(topic, self.channel_name)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """One request."""
        envelope = Envelope.model_validate_json(text_data or "")
        data = envelope.data
        match envelope.type:
            case "subscribe":
                self.topics.add(data["topic"])
                await self.channel_layer.group_add(data["topic"], self.channel_name)
                await self.send(encoded("bench.subscribed", data))
            case "bench.where":
                await self.send(encoded("bench.here", {"pid": os.getpid()}))
            case "bench.fanout":
                await self.fanout(**data)
                await self.send(encoded("bench.done", {}))
            case "bench.stamp":
                stamped = {"at": time.perf_counter_ns(), "text": data["text"]}
                await self.publish(data["topic"], "bench.stamped", stamped)
                await self.send(encoded("bench.done", {}))

    async def fanout(self, topic: str, count: int, text: str) -> None:
        """`count` broadcasts, and the event loop gets its turn after each."""
        for seq in range(count):
            await self.publish(topic, "bench.message", message(seq, text))
            await asyncio.sleep(0)

    async def publish(self, topic: str, kind: str, data: dict[str, Any]) -> None:
        """One broadcast, encoded once."""
        await self.channel_layer.group_send(topic, {"type": "bench.publication", "text": encoded(kind, data)})

    async def bench_publication(self, event: dict[str, Any]) -> None:
        """One publication of a topic, on its way to this connection."""
        await self.send(event["text"])


application = ProtocolTypeRouter({"websocket": URLRouter([path("ws", Consumer.as_asgi())])})


def main(port: int, workers: int) -> None:
    """daphne knows no workers, but takes a listening socket: so several of it share one."""
    listener = socket.create_server(("127.0.0.1", port), backlog=1024)
    for _ in range(workers - 1):
        if not os.fork():
            break
    from daphne.cli import CommandLineInterface  # makes the event loop, of which every process needs its own

    heartbeat, timeout = str(int(HEARTBEAT_SECONDS)), str(int(TIMEOUT_SECONDS))
    arguments = ["--fd", str(listener.fileno()), "--ping-interval", heartbeat, "--ping-timeout", timeout, "-v", "0"]
    CommandLineInterface().run([*arguments, "__main__:application"])


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
