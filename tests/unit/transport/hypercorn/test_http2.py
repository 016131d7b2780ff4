"""The byte stream over an HTTP/2 stream. Its other side is hypercorn's: one coroutine that takes bytes, one that ends
the stream, and what is fed.
"""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from quart_wshub.transport.hypercorn.http2 import MAX_UNREAD_BYTES, Http2Pipe


async def never(data: bytes = b"") -> None:
    await trio.sleep_forever()


async def nothing(data: bytes = b"") -> None:
    await trio.lowlevel.checkpoint()


async def test_what_is_fed_is_read() -> None:
    pipe = Http2Pipe(nothing, nothing)
    pipe.feed(b"one")
    pipe.feed(b"two")
    assert await pipe.read() == b"onetwo"
    pipe.feed(b"three")
    pipe.feed_eof()
    assert await pipe.read() == b"three"
    assert await pipe.read() == b""


async def test_what_is_not_read_is_bounded() -> None:
    pipe = Http2Pipe(nothing, nothing)
    pipe.feed(b"x" * MAX_UNREAD_BYTES)
    pipe.feed(b"x")
    assert len(await pipe.read()) == MAX_UNREAD_BYTES
    assert await pipe.read() == b""
    with pytest.raises(trio.BrokenResourceError):
        await pipe.write(b"x")


@pytest.mark.parametrize("end", ["abort", "feed_eof"])
async def test_its_end_frees_a_write_that_is_stuck(end: str) -> None:
    pipe = Http2Pipe(never, nothing)
    async with trio.open_nursery() as nursery:

        async def write() -> None:
            with pytest.raises(trio.BrokenResourceError):
                await pipe.write(b"x")

        nursery.start_soon(write)
        await wait_all_tasks_blocked()
        getattr(pipe, end)()


async def test_finishing_ends_the_stream_once() -> None:
    ended: list[bool] = []

    async def end() -> None:
        await trio.lowlevel.checkpoint()
        ended.append(True)

    pipe = Http2Pipe(nothing, end)
    await pipe.finish()
    await pipe.finish()
    assert ended == [True]
    with pytest.raises(trio.BrokenResourceError):
        await pipe.write(b"x")
