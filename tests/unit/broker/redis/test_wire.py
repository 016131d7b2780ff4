"""What goes over the wire: commands, replies, channel names."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quart_wshub.broker.redis.wire import (
    ChannelNames,
    RedisLostError,
    RedisReplyError,
    ReplyParser,
    command,
    is_push,
)


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
    assert all(map(is_push, replies[0::3]))
    assert replies[1::3] == [1] * len(messages)
    assert [str(reply) for reply in replies[2::3]] == ["ERR no"] * len(messages)


def test_every_kind_of_reply() -> None:
    wire = b"+OK\r\n$2\r\n\xff\x00\r\n$-1\r\n_\r\n#t\r\n#f\r\n,1.5\r\n*1\r\n,2\r\n%1\r\n+a\r\n:1\r\n"
    replies = ReplyParser().feed(wire)

    assert replies == [b"OK", b"\xff\x00", None, None, True, False, 1.5, [2.0], {b"a": 1}]
    assert not any(map(is_push, replies))


def test_errors_are_returned_also_nested_ones() -> None:
    (_, nested), (kind, pushed), not_utf8 = ReplyParser().feed(
        b"*2\r\n:1\r\n-ERR no\r\n>2\r\n+kind\r\n-NOPERM no\r\n-ERR \xff\r\n"
    )

    assert (str(nested), kind, str(pushed)) == ("ERR no", b"kind", "NOPERM no")
    for error in (nested, pushed, not_utf8):
        assert isinstance(error, RedisReplyError)


def test_what_has_moved_is_told_from_what_is_refused() -> None:
    moved = ["MOVED 1 host:1", "CLUSTERDOWN it is", "TRYAGAIN later", "ASK 1 host:1", "TRYAGAIN"]
    refused = ["NOPERM no", "ERR MOVED", "MOVEDX"]
    for text in [*moved, *refused]:
        (error,) = ReplyParser().feed(f"-{text}\r\n".encode())
        assert error.moved == (text in moved), text


def test_what_is_not_resp3_ends_the_connection() -> None:
    for data in (b"HTTP/1.1 400\r\n", b"\r\n", b":one\r\n", b"*-5\r\n", b"#x\r\n", b"%1\r\n*0\r\n:1\r\n"):
        with pytest.raises(RedisLostError, match="not a Redis"):
            ReplyParser().feed(data)


def test_parsing_messages_keeps_no_memory() -> None:
    """Some releases of hiredis leak a list for every push; 3.4.2 is the first that does not."""
    parser = ReplyParser()
    pushes = b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n" * 100
    parser.feed(pushes)
    before = sys.getallocatedblocks()
    for _ in range(100):
        parser.feed(pushes)

    assert sys.getallocatedblocks() < before + 1000


def test_what_was_parsed_is_dropped_also_when_a_read_never_ends_where_a_message_ends() -> None:
    parser = ReplyParser()
    stream = (b"$1000\r\n" + b"x" * 1000 + b"\r\n") * 5000
    for at in range(0, len(stream), 65_536):
        parser.feed(stream[at : at + 65_536])
        assert parser._reader.len() < 100_000


@given(st.text(st.characters(codec=None), min_size=1), st.text(st.characters(codec=None)))
def test_channel_names_come_back_as_they_were(prefix: str, channel: str) -> None:
    names = ChannelNames(prefix)

    assert names.from_redis(names.to_redis(channel)) == channel
