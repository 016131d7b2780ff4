"""Messages in and out, with both clients: text is `str`, binary is `bytes`, also when empty; and the size limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness.clients import closed_with, connect
from tests.harness.dialects import DIALECTS, Dialect
from tests.harness.raw import BINARY, CONTINUATION, PING, PONG, TEXT, raw_client
from tests.harness.server import Server, run_server

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.both_transports

LIMIT = 1000


@pytest.fixture(scope="module")
def small_server(transport: str) -> Iterator[Server]:
    settings = {"WS_MAX_MESSAGE_BYTES": str(LIMIT), "WS_CLOSE_TIMEOUT_SECONDS": "1", "WS_TRANSPORT": transport}
    with run_server(env=settings) as server:
        yield server


@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
class TestWithBothClients:
    async def test_every_message_comes_back_unchanged(self, server: Server, dialect: Dialect) -> None:
        async with dialect.connect(server.ws("/echo?token=alice")) as client:
            assert '"hello"' in str(await client.receive())
            for message in ("hello", "", "ünï¢ødé 🎉", "\x00", "x" * 65_536, b"bytes", b"", b"\x00\xff", b"x" * 65_536):
                await client.send(message)
                assert await client.receive() == message

    async def test_the_handler_gets_str_for_text_and_bytes_for_binary(self, server: Server, dialect: Dialect) -> None:
        async with dialect.connect(server.ws("/show?token=alice")) as client:
            for _ in ("hello", "handshake"):
                await client.receive()
            for message in ("", b"", "a", b"a"):
                await client.send(message)
                assert await client.receive() == repr(message)

    async def test_order_is_kept(self, server: Server, dialect: Dialect) -> None:
        async with dialect.connect(server.ws("/echo?token=alice")) as client:
            await client.receive()
            for number in range(500):
                await client.send(str(number))
            assert [await client.receive() for _ in range(500)] == [str(number) for number in range(500)]

    async def test_bearer_is_the_negotiated_subprotocol(self, server: Server, dialect: Dialect) -> None:
        async with dialect.connect(server.ws("/echo"), subprotocols=["bearer", "alice"]) as client:
            assert client.subprotocol == "bearer"

    async def test_the_close_code_and_reason_arrive(self, server: Server, dialect: Dialect) -> None:
        async with dialect.connect(server.ws("/command?token=alice&key=dialect")) as client:
            await client.receive()
            await client.send('{"close": [4123, "some reason"]}')
            assert await client.wait_closed() == (4123, "some reason")

    async def test_a_bad_token_is_4401(self, server: Server, dialect: Dialect) -> None:
        async with dialect.connect(server.ws("/echo?token=bad")) as client:
            assert (await client.wait_closed())[0] == 4401


def test_a_fragmented_message_arrives_whole(server: Server) -> None:
    with raw_client(server, "/echo?token=alice") as client:
        client.read_frame()
        client.send_frame(TEXT, "hä".encode()[:2], fin=False)
        client.send_frame(CONTINUATION, "hä".encode()[2:], fin=False)
        client.send_frame(PING, b"between")
        client.send_frame(CONTINUATION, b"", fin=True)
        received = [client.read_frame(), client.read_frame()]
        assert (PONG, b"between") in received
        assert (TEXT, "hä".encode()) in received


class TestSizeLimit:
    @pytest.fixture
    def server(self, small_server: Server) -> Server:
        return small_server

    def test_exactly_at_the_limit_passes(self, server: Server) -> None:
        with connect(server) as client:
            for message in ("x" * LIMIT, b"x" * LIMIT, "ä" * (LIMIT // 2), "🎉" * (LIMIT // 4)):
                client.send(message)
                assert client.recv(10) == message

    @pytest.mark.parametrize("path", ["/echo", "/deaf"])
    def test_one_byte_more_is_1009(self, server: Server, path: str) -> None:
        x = "x" * (LIMIT + 1)
        for message in (x, x.encode(), "x" + "ä" * (LIMIT // 2), "x" + "🎉" * (LIMIT // 4), "x" * LIMIT * 50):
            with connect(server, path) as client:
                client.send(message)
                assert closed_with(client) == (1009, "message too big")

    @pytest.mark.parametrize("opcode", [TEXT, BINARY])
    def test_applies_to_the_reassembled_message(self, server: Server, opcode: int) -> None:
        with raw_client(server, "/echo?token=alice") as client:
            client.send_frame(opcode, b"x" * LIMIT, fin=False)
            client.send_frame(CONTINUATION, b"x")
            client.finish(1009)

    def test_other_sockets_are_not_disturbed(self, server: Server) -> None:
        with connect(server, token="bob") as other:
            with connect(server) as client:
                client.send("x" * LIMIT * 2)
                assert closed_with(client)[0] == 1009
            other.send("still here")
            assert other.recv(10) == "still here"

    def test_messages_before_the_oversized_one_are_answered(self, server: Server) -> None:
        with raw_client(server, "/echo?token=alice") as client:
            client.read_frame()
            client.send_frame(TEXT, b"first")
            assert client.read_frame() == (TEXT, b"first")
            client.send_frame(TEXT, b"x" * (LIMIT + 1))
            client.finish(1009)
