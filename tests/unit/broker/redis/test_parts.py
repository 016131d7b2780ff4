"""The parts of the Redis broker that need no Redis."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from quart_wshub.broker.redis import RedisBroker
from quart_wshub.broker.redis.backoff import Backoff
from quart_wshub.broker.redis.frames import ChannelNames
from quart_wshub.broker.redis.resp import Push, RedisReplyError, ReplyParser, command
from quart_wshub.broker.redis.subscriptions import Subscriptions
from quart_wshub.protocol.errors import BrokerUnavailableError
from tests.contract_broker import running


def test_importing_the_package_or_the_broker_does_not_import_coredis() -> None:
    check = "import sys, quart_wshub, quart_wshub.broker.redis; sys.exit('coredis' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


# Backoff


def test_the_ceiling_doubles_up_to_the_bound_and_what_lasts_resets_it() -> None:
    backoff = Backoff(0.1, 1.0, lambda low, high: low + high)

    assert [round(backoff.delay(), 3) for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    backoff.lasted(0.9)
    assert backoff.delay() == 1.0
    backoff.lasted(1.1)
    assert backoff.delay() == 0.1


def test_delays_are_spread_from_zero_to_the_ceiling() -> None:
    delays = sorted(Backoff(1.0, 1.0).delay() for _ in range(500))

    assert 0 <= delays[0] < 0.1 < 0.4 < delays[250] < 0.6 < 0.9 < delays[-1] <= 1.0


# The wire


def test_commands_are_encoded_whatever_is_in_them() -> None:
    assert command(b"SET", b"a\r\nb", b"") == b"*3\r\n$3\r\nSET\r\n$4\r\na\r\nb\r\n$0\r\n\r\n"


@given(st.lists(st.binary(max_size=50), max_size=20), st.data())
def test_replies_come_out_whole_however_the_bytes_are_cut(messages: list[bytes], data: st.DataObject) -> None:
    wire = b"".join(
        b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$%d\r\n%b\r\n:1\r\n-ERR no\r\n" % (len(message), message)
        for message in messages
    )
    parser = ReplyParser()
    replies = []
    while wire:
        cut = data.draw(st.integers(1, len(wire)))
        replies += parser.feed(wire[:cut])
        wire = wire[cut:]

    assert replies[0::3] == [[b"message", b"a", message] for message in messages]
    assert all(isinstance(reply, Push) for reply in replies[0::3])
    assert replies[1::3] == [1] * len(messages)
    assert [str(reply) for reply in replies[2::3]] == ["no"] * len(messages)


def test_what_was_parsed_is_dropped_also_when_a_read_never_ends_where_a_message_ends() -> None:
    parser = ReplyParser()
    message = b"$1000\r\n" + b"x" * 1000 + b"\r\n"
    stream = message * 5000
    for at in range(0, len(stream), 65_536):
        parser.feed(stream[at : at + 65_536])
        assert len(parser._parser.localbuffer.getvalue()) < 400_000


@pytest.mark.parametrize("text", ["MOVED 1 host:1", "CLUSTERDOWN it is", "TRYAGAIN later", "ASK 1 host:1"])
def test_what_has_moved_is_told_from_what_is_refused(text: str) -> None:
    moved, refused = ReplyParser().feed(f"-{text}\r\n-NOPERM no\r\n".encode())

    assert isinstance(moved, RedisReplyError)
    assert moved.moved
    assert not refused.moved


@given(st.text(st.characters(codec=None), min_size=1), st.text(st.characters(codec=None)))
def test_channel_names_come_back_as_they_were(prefix: str, channel: str) -> None:
    names = ChannelNames(prefix)

    assert names.from_redis(names.to_redis(channel)) == channel


# What is no Redis


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"-ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `x`, `s3cret`, \r\n", "6.2"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not a Redis"),
        (b"", "ended the connection"),
    ],
)
async def test_what_is_no_redis_is_told_in_one_line_without_the_password(
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


# Subscriptions


def subscriptions(*wanted: str) -> tuple[Subscriptions, list[set[str]]]:
    """Some that are confirmed, and the gaps that will be told."""
    told: list[set[str]] = []
    these = Subscriptions(lambda channels: told.append(set(channels)))
    for channel in wanted:
        these.want(channel, may_miss=False)
    these.confirm(wanted)
    return these, told


def test_a_gap_is_told_once_and_when_everything_is_back() -> None:
    these, told = subscriptions("a", "b", "c")
    these.lose(["a", "b", "never wanted"])
    these.want("new", may_miss=True)
    these.confirm(["a"])
    assert not these.complete
    these.confirm(["b"])
    assert told == []
    these.confirm(["new"])

    assert told == [{"a", "b", "new"}]
    assert these.complete
    these.confirm(["a", "b"])
    assert len(told) == 1


def test_what_is_ignored_is_waited_for_no_more() -> None:
    these, told = subscriptions("a", "b")
    these.lose(["a", "b"])
    these.confirm(["a"])
    these.forget("b")

    assert told == [{"a"}]


def test_what_is_missed_while_everything_is_confirmed_is_told_at_once() -> None:
    these, told = subscriptions("a", "b")
    these.missed(["a", "c"])

    assert told == [{"a"}]


async def test_who_waits_too_long_is_owed_a_gap(autojump_clock: object) -> None:
    these, told = subscriptions()
    these.want("a", may_miss=False)

    assert not await these.confirmed("a", 5)
    assert not await these.confirmed("b", 5)
    these.confirm(["a"])
    assert told == [{"a"}]
    assert await these.confirmed("a", 5)
