"""Redis URLs: what they say, and that nothing of them is shown when they are wrong."""

from __future__ import annotations

import ssl
import sys

import pytest

from quart_wshub.broker.redis import RedisBroker
from quart_wshub.broker.redis.url import RedisAddress, RedisTarget
from quart_wshub.protocol.errors import ConfigurationError

HERE = RedisAddress("localhost", 6379)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("redis://localhost", RedisTarget((HERE,))),
        ("valkey://localhost", RedisTarget((HERE,))),
        ("redis://10.0.0.1:7000/2", RedisTarget((RedisAddress("10.0.0.1", 7000),), db=2)),
        ("redis://[::1]:7000?db=3", RedisTarget((RedisAddress("::1", 7000),), db=3)),
        ("rediss://u%40x:p%2Fw%3A@localhost/", RedisTarget((HERE,), tls=True, username="u@x", password="p/w:")),
        ("valkeys://:pw@localhost", RedisTarget((HERE,), tls=True, password="pw")),
        ("unix:///run/my%20redis.sock?db=1", RedisTarget((RedisAddress(path="/run/my redis.sock"),), db=1)),
        ("unix://u:p@/run/r.sock", RedisTarget((RedisAddress(path="/run/r.sock"),), username="u", password="p")),
        (
            "rediss+cluster://:pw@one:7000,two,[::1]:7002",
            RedisTarget(
                (RedisAddress("one", 7000), RedisAddress("two", 6379), RedisAddress("::1", 7002)),
                cluster=True,
                tls=True,
                password="pw",
            ),
        ),
    ],
)
def test_what_a_url_says(url: str, target: RedisTarget) -> None:
    assert RedisTarget.from_url(url) == target
    assert "pw" not in repr(target)
    assert "pw" not in str(target)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "scheme"),
        ("localhost:6379", "scheme"),
        ("http://:s3cret@localhost", "scheme"),
        ("s3cret", "scheme"),
        ("redis://", "no host"),
        ("redis://:s3cret@", "no host"),
        ("redis://:s3cret@:6379", "no host"),
        ("redis://:s3c/ret@localhost", "port is not a number"),
        ("redis://localhost:s3cret", "port is not a number"),
        ("redis://localhost:70000", "port is not a number"),
        ("redis://[::1", "cannot be parsed"),
        ("redis://localhost/s3cret", "database is not a number"),
        ("redis://localhost/-1", "database is not a number"),
        ("redis://localhost?db=²", "database is not a number"),
        ("redis://localhost?password=s3cret", "options"),
        ("rediss://localhost?ssl_cert_reqs=none", "ssl_context="),
        ("redis://localhost#s3cret", "options"),
        ("redis://one,two", "several hosts"),
        ("redis+cluster://one/1", "has but one"),
        ("unix://", "no path"),
        ("unix:///run/r.sock?timeout=1", "options"),
        (None, "NoneType"),
    ],
)
def test_a_wrong_url_is_refused_and_not_shown(url: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why) as caught:
        RedisBroker(url)

    shown = f"{caught.value!r} {caught.value.__cause__!r}"
    assert "s3c" not in shown
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize("name", ["timeout", "max_waiting", "max_waiting_bytes", "beat", "max_backoff"])
@pytest.mark.parametrize("value", [0, -1, True, "5", None, float("nan"), float("inf")])
def test_a_number_that_makes_no_sense_is_refused(name: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} is"):
        RedisBroker("redis://localhost", **{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("prefix", ["", "{a}", "a}", None, b"bytes"])
def test_a_prefix_that_cannot_be_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigurationError, match="prefix is"):
        RedisBroker("redis://localhost", prefix=prefix)


def test_a_tls_context_needs_tls() -> None:
    with pytest.raises(ConfigurationError, match="rediss://"):
        RedisBroker("redis://localhost", ssl_context=ssl.create_default_context())


def test_without_coredis_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "coredis"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "coredis", None)

    with pytest.raises(ConfigurationError, match=r"pip install 'quart-wshub\[redis\]'"):
        RedisBroker("redis://localhost")


def test_a_broker_is_shown_without_its_password() -> None:
    broker = RedisBroker("rediss://user:s3cret@example.com:1234")

    assert repr(broker) == f"RedisBroker(example.com:1234, node_id={broker.node_id!r})"
