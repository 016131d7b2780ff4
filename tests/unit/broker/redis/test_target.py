"""Redis URLs: what they say, and that nothing of them is shown when they are wrong."""

from __future__ import annotations

import runpy
import urllib.parse

import pytest

from quart_wshub.broker.redis import target
from quart_wshub.broker.redis.target import RedisAddress, RedisTarget
from quart_wshub.protocol.errors import ConfigurationError

HERE = RedisAddress("localhost", 6379)

GOOD = {
    "redis://localhost": RedisTarget((HERE,)),
    " REDIS://LocalHost\n": RedisTarget((HERE,)),
    "valkey://localhost": RedisTarget((HERE,)),
    "redis://10.0.0.1:7000/2": RedisTarget((RedisAddress("10.0.0.1", 7000),), db=2),
    "redis://[::1]:7000?db=3": RedisTarget((RedisAddress("::1", 7000),), db=3),
    "redis://u:pw@[FE80::1%eth0]": RedisTarget((RedisAddress("fe80::1%eth0", 6379),), username="u", password="pw"),
    "rediss://u%40x:p%2Fw%3A@localhost/": RedisTarget((HERE,), tls=True, username="u@x", password="p/w:"),
    "redis://u:p@w@localhost:": RedisTarget((HERE,), username="u", password="p@w"),
    "valkeys://:pw@localhost": RedisTarget((HERE,), tls=True, password="pw"),
    "unix:///run/my%20redis.sock?db=1": RedisTarget((RedisAddress(path="/run/my redis.sock"),), db=1),
    "unix://u:p@/run/r.sock": RedisTarget((RedisAddress(path="/run/r.sock"),), username="u", password="p"),
    "redis+cluster://one,[::1]:7002": RedisTarget((RedisAddress("one", 6379), RedisAddress("::1", 7002)), cluster=True),
    "redis+cluster://[::1],[::2]:7002,three:7003": RedisTarget(
        (RedisAddress("::1", 6379), RedisAddress("::2", 7002), RedisAddress("three", 7003)), cluster=True
    ),
    "rediss+cluster://:pw@one:7000,two,[::1]:7002": RedisTarget(
        (RedisAddress("one", 7000), RedisAddress("two", 6379), RedisAddress("::1", 7002)),
        cluster=True,
        tls=True,
        password="pw",
    ),
}

BAD = {
    "": "scheme",
    "localhost:6379": "scheme",
    "http://:s3cret@localhost": "scheme",
    "s3cret": "scheme",
    "s3cret://localhost": "scheme",
    "redis:/s3cret@localhost": "scheme",
    "redis://": "no host",
    "redis://:s3cret@": "no host",
    "redis://:s3cret@:6379": "no host",
    "redis+cluster://one,,s3cret": "no host",
    "redis+cluster://one,": "no host",
    "redis://[]:6379": "no host",
    "redis://:s3c/ret@localhost": "port is not a number",
    "redis://localhost:s3cret": "port is not a number",
    "redis://localhost:70000": "port is not a number",
    "redis://localhost:0": "port is not a number",
    "redis://localhost:-1": "port is not a number",
    "redis://localhost:²": "port is not a number",
    "redis://localhost:" + "1" * 5000: "port is not a number",
    "redis://localhost:6379:6379": "port is not a number",
    "redis://::1:7000": "port is not a number",
    "redis+cluster://one,::1": "port is not a number",
    "redis://[::1": "host is malformed",
    "redis://::1]": "port is not a number",
    "redis://[::1]s3cret": "host is malformed",
    "redis://s3cret[::1]": "host is malformed",
    "redis://[s3cret]": "host is malformed",
    "redis://[::s3cret]": "host is malformed",
    "redis://[127.0.0.1]": "host is malformed",
    "redis+cluster://one,[s3cret],two": "host is malformed",
    "redis+cluster://[one,::1]": "host is malformed",
    "redis://s3c ret": "host is malformed",
    "redis://s3c..ret": "host is malformed",
    "redis://" + "s3cret" * 20: "host is malformed",
    "redis://:s3c\nret@localhost": "control characters",
    "redis://:s3cret\ud800@localhost": "control characters",
    "redis://:s3c#ret@localhost": "fragment",
    "redis://localhost#s3cret": "fragment",
    "redis://localhost/s3cret": "database is not a number",
    "redis://localhost/-1": "database is not a number",
    "redis://localhost/" + "1" * 5000: "database is not a number",
    "redis://localhost?db=²": "database is not a number",
    "redis://localhost?password=s3cret": "options",
    "rediss://localhost?ssl_cert_reqs=none": "ssl_context=",
    "redis://one,s3cret": "several hosts",
    "redis+cluster://one/1": "has only one",
    "redis+cluster://one?db=1": "has only one",
    "unix://": "no path",
    "unix://:s3cret@/": "no path",
    "unix://s3cret/redis.sock": "three slashes",
    "unix:///run/r.sock?timeout=1": "options",
}


def test_what_a_url_says() -> None:
    for url, expected in GOOD.items():
        assert RedisTarget.from_url(url) == expected, url
        assert "pw" not in f"{expected!r} {expected}", url


def test_ipv6_addresses_in_a_list_do_not_depend_on_what_python_says_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(url: str) -> None:
        raise ValueError("Invalid IPv6 URL")  # as newer releases do

    monkeypatch.setattr(urllib.parse, "urlsplit", refuse)
    fresh = runpy.run_path(target.__file__)["RedisTarget"]

    assert str(fresh.from_url("redis+cluster://one,[::1]:7002")) == "one:6379,[::1]:7002"


def test_a_wrong_url_is_refused_and_not_shown() -> None:
    for url, why in BAD.items():
        with pytest.raises(ConfigurationError) as caught:
            RedisTarget.from_url(url)
        assert why in str(caught.value), url
        shown = f"{caught.value!r} {caught.value.__cause__!r}"
        assert "s3c" not in shown, url
        assert caught.value.__suppress_context__ or caught.value.__context__ is None, url


def test_a_url_is_a_string() -> None:
    with pytest.raises(ConfigurationError, match="NoneType"):
        RedisTarget.from_url(None)  # type: ignore[arg-type]
