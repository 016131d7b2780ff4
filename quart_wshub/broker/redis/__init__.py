"""The broker on Redis or Valkey: one server, or a cluster with sharded pub/sub."""

from quart_wshub.broker.redis.broker import RedisBroker

__all__ = ["RedisBroker"]
