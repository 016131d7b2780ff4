"""The byte streams below a WebSocket, each over a real socket."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from quart_wshub.transport.pipes import Pipe, SocketPipe
from tests.unit.socket_peers import pipe_over, tcp_pair, tls_pair, unix_pair

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from tests.unit.socket_peers import Wire

PAIRS: dict[str, Callable[[], AbstractAsyncContextManager[Wire]]] = {
    "unix": unix_pair,
    "tcp": tcp_pair,
    "tls": tls_pair,
}

MUCH = b"x" * 10_000_000
"""More than any kernel holds for a peer that does not read."""


@pytest.fixture(autouse=True)
async def deadline() -> AsyncIterator[None]:
    """Nothing here takes long."""
    with trio.fail_after(20):
        yield


@pytest.fixture(params=PAIRS)
async def wire(request: pytest.FixtureRequest) -> AsyncIterator[Wire]:
    async with PAIRS[request.param]() as wire:
        yield wire


def socket_pipe(wire: Wire) -> SocketPipe:
    assert isinstance(wire.server, trio.SocketStream)
    return SocketPipe(wire.server)


async def read_all(wire: Wire) -> bytes:
    """What the client reads to the end of the stream."""
    got = bytearray()
    while data := await wire.client.receive_some(65536):
        got += data
    return bytes(got)


class TestEveryPipe:
    async def test_writes_everything_in_order(self, wire: Wire) -> None:
        pipe = pipe_over(wire)
        got: list[bytes] = []
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                got.append(await read_all(wire))

            nursery.start_soon(read)
            await pipe.write(b"first ")
            await pipe.write(MUCH)
            await pipe.write(b" last")
            await pipe.finish()
        assert got == [b"first " + MUCH + b" last"]

    async def test_reads_what_comes_and_then_nothing(self, wire: Wire) -> None:
        pipe = pipe_over(wire)
        await wire.client.send_all(b"hello")
        assert await pipe.read() == b"hello"
        await wire.client.aclose()
        assert await pipe.read() == b""
        assert await pipe.read() == b""

    async def test_a_cancelled_read_loses_nothing(self, wire: Wire) -> None:
        pipe = pipe_over(wire)
        with trio.move_on_after(0):
            await pipe.read()
        await wire.client.send_all(b"hello")
        with trio.move_on_after(0):
            pytest.fail(f"read {await pipe.read()!r} although it was cancelled")
        assert await pipe.read() == b"hello"

    async def test_after_the_peer_has_gone_writing_is_broken(self, wire: Wire) -> None:
        pipe = pipe_over(wire)
        await trio.aclose_forcefully(wire.client)
        with pytest.raises(trio.BrokenResourceError):
            await pipe.write(MUCH)

    async def test_aborting_frees_a_write_and_a_read_that_are_stuck(self, wire: Wire) -> None:
        pipe = pipe_over(wire)
        read: list[bytes] = []
        async with trio.open_nursery() as nursery:

            async def write() -> None:
                with pytest.raises(trio.BrokenResourceError):
                    await pipe.write(MUCH)

            async def listen() -> None:
                read.append(await pipe.read())

            nursery.start_soon(write)
            nursery.start_soon(listen)
            await wait_all_tasks_blocked()
            pipe.abort()
        assert read == [b""]

    async def test_after_aborting_nothing_works_and_nothing_fails_otherwise(self, wire: Wire) -> None:
        pipe = pipe_over(wire)
        pipe.abort()
        pipe.abort()
        assert await pipe.read() == b""
        with pytest.raises(trio.BrokenResourceError):
            await pipe.write(b"x")
        await pipe.send_eof()
        await pipe.finish()

    async def test_finishing_twice_or_where_the_peer_has_gone_does_nothing(self, wire: Wire) -> None:
        pipe = pipe_over(wire)
        await trio.aclose_forcefully(wire.client)
        await pipe.finish()
        await pipe.finish()
        pipe.abort()

    @pytest.mark.parametrize("method", ["read", "write", "finish", "send_eof"])
    async def test_every_method_is_a_checkpoint(self, wire: Wire, method: str) -> None:
        pipe = pipe_over(wire)
        await wire.client.send_all(b"x")
        calls: dict[str, Callable[[Pipe], object]] = {
            "read": lambda pipe: pipe.read(),
            "write": lambda pipe: pipe.write(b"x"),
            "finish": lambda pipe: pipe.finish(),
            "send_eof": lambda pipe: pipe.send_eof(),
        }
        with assert_checkpoints():
            await calls[method](pipe)  # type: ignore[misc]


class TestSocketPipe:
    async def test_try_write_takes_what_fits_and_no_more(self) -> None:
        async with tcp_pair() as wire, trio.open_nursery() as nursery:
            pipe = socket_pipe(wire)
            written = pipe.try_write(MUCH)
            assert 0 < written < len(MUCH)
            while more := pipe.try_write(b"x"):
                written += more
            nursery.start_soon(pipe.write, b"the end")
            received = b""
            while len(received) < written + len(b"the end"):
                received += await wire.client.receive_some(65536)
            assert received.endswith(b"the end")

    async def test_after_the_half_close_it_still_reads(self) -> None:
        async with tcp_pair() as wire:
            pipe = socket_pipe(wire)
            await pipe.send_eof()
            assert await wire.client.receive_some() == b""
            await wire.client.send_all(b"still here")
            assert await pipe.read() == b"still here"

    async def test_aborting_resets_and_leaves_no_descriptor(self) -> None:
        """Finishing would leave the kernel with what the peer does not read."""
        async with tcp_pair() as wire:
            pipe = socket_pipe(wire)
            descriptor = wire.server.socket.fileno()
            pipe.try_write(MUCH)
            pipe.abort()
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(descriptor)
            with pytest.raises(trio.BrokenResourceError):
                await read_all(wire)

    async def test_a_descriptor_that_was_reused_is_not_written_to(self) -> None:
        async with unix_pair() as wire:
            pipe = socket_pipe(wire)
            pipe.abort()
            left, right = socket.socketpair()
            with left, right:
                left.setblocking(False)
                right.setblocking(False)
                with pytest.raises(trio.BrokenResourceError):
                    pipe.try_write(b"for someone else")
                for end in (left, right):
                    with pytest.raises(BlockingIOError):
                        end.recv(1)
