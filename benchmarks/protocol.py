"""The protocol every peer speaks, as far as servers and load generator must agree on it.

A message is a JSON envelope `{"type", "data", "request_id"}`. The load generator sends the text to broadcast, so that
all peers deliver the same payload. The types, from the client's side:

- `subscribe {"topic"}`: answered with `bench.subscribed {"topic"}`.
- `bench.fanout {"topic", "count", "text"}`: `count` broadcasts of `bench.message {"seq", "text"}` to the topic, then
  `bench.done {}` to the sender.
- `bench.echo {…}`: the same envelope back.
- `bench.sink {…}`: validated, counted per connection; every `ACK_EVERY`-th is answered with `bench.ack {"count"}`.
- `bench.burst {"count", "text"}`: `count` ready-made `bench.message` texts to the sender, with the socket's own send.
- `bench.each {"users", "count", "text"}`: `count` `bench.message` envelopes to each user, with the hub's `send_to`;
  then `bench.done {}` to the sender.
- `bench.stall {"seconds"}`: answered after that time with `bench.stalled {"seconds", "cpu_seconds"}`, the event loop's
  longest stall.

If a server is several processes, also:

- `bench.where {}`: answered with `bench.here {"pid"}`, the process that has this connection.
- `bench.stamp {"topic", "text"}`: one broadcast of `bench.stamped {"at", "text"}` to the topic, then `bench.done {}` to
  the sender. `at` is `time.perf_counter_ns()` right before the broadcast; on Linux all processes share that clock.

This module imports nothing, so that no peer loads another's dependencies.
"""

from __future__ import annotations

from typing import Any, Final

ACK_EVERY: Final = 500
"""Sunk messages per acknowledgement."""

FIRST_SEQ: Final = 1_000_000
"""Seven digits from the first to the last message, so that every frame of a fan-out has the same length."""

SECRET_VARIABLE: Final = "BENCH_SECRET"
HEARTBEAT_VARIABLE: Final = "WS_HEARTBEAT_SECONDS"
TIMEOUT_VARIABLE: Final = "WS_HEARTBEAT_TIMEOUT_SECONDS"
"""The environment of a peer. The heartbeat's names are those of the hubs' own settings."""

REDIS_VARIABLE: Final = "BENCH_REDIS_URL"
"""Set if the server is one of several nodes."""


def message(seq: int, text: str) -> dict[str, Any]:
    """The `data` of one `bench.message`."""
    return {"seq": FIRST_SEQ + seq, "text": text}
