"""Making a RedisBroker, what it shows of itself, and what it says of a server that is no Redis. Needs no Redis."""

from __future__ import annotations

import ssl
import subprocess
import sys
import tracemalloc
from functools import partial

import pytest
import trio

from quart_wshub.broker.redis import RedisBroker
from quart_wshub.protocol.errors import BrokerUnavailableError, ConfigurationError
from tests.contract_broker import running


def test_the_broker_can_be_imported_without_hiredis_but_not_made() -> None:
    check = """
import sys
sys.modules["hiredis"] = None
from quart_wshub.broker.redis import RedisBroker
try:
    RedisBroker("redis://localhost")
except Exception as error:
    print(type(error).__name__, error)
"""
    shown = subprocess.run([sys.executable, "-c", check], check=True, capture_output=True, text=True).stdout

    assert shown == "ConfigurationError RedisBroker needs hiredis: install it with `pip install 'quart-wshub[redis]'`\n"


def test_arguments_that_make_no_sense_are_refused() -> None:
    wrong: dict[str, list[object]] = {"prefix": ["", "{a}", "a}", None, b"bytes"]}
    for name in ("timeout", "max_waiting", "max_waiting_bytes", "beat", "max_backoff"):
        wrong[name] = [0, -1, True, "5", None, float("nan"), float("inf")]
    for name, values in wrong.items():
        for value in values:
            with pytest.raises(ConfigurationError, match=f"{name} is"):
                RedisBroker("redis://localhost", **{name: value})  # type: ignore[arg-type]


def test_a_wrong_url_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no host"):
        RedisBroker("redis://")


def test_a_tls_context_needs_tls() -> None:
    with pytest.raises(ConfigurationError, match="rediss://"):
        RedisBroker("redis://localhost", ssl_context=ssl.create_default_context())


def test_a_broker_is_shown_without_its_password() -> None:
    broker = RedisBroker("rediss://user:s3cret@example.com:1234")

    assert repr(broker) == f"RedisBroker(example.com:1234, node_id={broker.node_id!r})"


def test_statistics_copy_nothing() -> None:
    """The hub asks for them at every handshake."""
    broker = RedisBroker("redis://localhost")
    for number in range(10_000):
        broker.subscribe(f"{number}")
    broker.statistics()
    tracemalloc.start()
    try:
        assert broker.statistics().channels == 10_000
        assert tracemalloc.get_traced_memory()[1] < 20_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"-ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `x`, `s3cret`, \r\n", "6.2"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not a Redis"),
        (b"%1\r\n*0\r\n:1\r\n", "not a Redis"),
        (b"", "ended the connection"),
    ],
)
async def test_a_server_that_is_no_redis_is_logged_in_one_line_without_the_password(
    answer: bytes, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            if answer:
                await stream.send_all(answer)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        broker = RedisBroker(f"redis://x:s3cret@127.0.0.1:{port}", timeout=0.2, max_backoff=0.01)
        async with running(broker) as (one,):
            with pytest.raises(BrokerUnavailableError):
                await one.broker.publish("a", b"")
        nursery.cancel_scope.cancel()

    assert why in caplog.text
    assert "s3cret" not in caplog.text
    assert "Traceback" not in caplog.text
    assert len(caplog.records) <= 6
