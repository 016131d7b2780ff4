"""500 clients that leave in every way there is: afterwards the server holds what it held before."""

from __future__ import annotations

import socket
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.harness.clients import connect, envelope
from tests.harness.footprint import introspect
from tests.harness.http import post
from tests.harness.polling import poll
from tests.harness.raw import CLOSE, PING, TEXT, RawClient, frame, upgrade
from tests.harness.server import Server, run_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CLIENTS = 500

NOTE = {"envelope": {"type": "note", "data": {"text": "x" * 500}}}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with run_server(env={"WS_CLOSE_TIMEOUT_SECONDS": "1"}) as server:
        yield server


def say_goodbye(client: RawClient) -> None:
    client.send_frame(CLOSE, (1000).to_bytes(2, "big") + b"bye")
    assert client.read_close().close_code == 1000
    client.close()


def say_goodbye_and_run(client: RawClient) -> None:
    client.send_frame(CLOSE, (1000).to_bytes(2, "big"))
    client.reset()


def reset(client: RawClient) -> None:
    client.reset()


def reset_with_unread_input(client: RawClient) -> None:
    client.send_frame(PING, b"x")
    client.reset()


def close_without_a_close_frame(client: RawClient) -> None:
    client.close()


def half_close(client: RawClient) -> None:
    client.socket.shutdown(socket.SHUT_WR)
    client.read_to_end()
    client.close()


def stop_in_the_middle_of_a_frame(client: RawClient) -> None:
    client.send(frame(TEXT, b"x" * 1000)[:100])
    client.close()


def stop_in_the_middle_of_a_header(client: RawClient) -> None:
    client.send(frame(TEXT, b"x" * 1000)[:3])
    client.reset()


def stop_in_the_middle_of_a_message(client: RawClient) -> None:
    client.send_frame(TEXT, b"x" * 1000, fin=False)
    client.close()


def talk_and_reset(client: RawClient) -> None:
    for _ in range(50):
        client.send_frame(TEXT, envelope("chat.message", room="nobody's", text="x").encode())
    client.reset()


def send_garbage(client: RawClient) -> None:
    client.send(b"\xff" * 10)
    client.close()


LEAVING: tuple[Callable[[RawClient], None], ...] = (
    say_goodbye,
    say_goodbye_and_run,
    reset,
    reset_with_unread_input,
    close_without_a_close_frame,
    half_close,
    stop_in_the_middle_of_a_frame,
    stop_in_the_middle_of_a_header,
    stop_in_the_middle_of_a_message,
    talk_and_reset,
    send_garbage,
)


def never_finish_the_request(server: Server) -> None:
    client = RawClient(server)
    client.send(upgrade("/ws?token=alice")[:-10])
    client.reset()


def never_read_the_response(server: Server) -> None:
    client = RawClient(server)
    client.send(upgrade("/ws?token=alice"))
    client.reset()


def be_refused_and_not_answer(server: Server) -> None:
    client = RawClient(server)
    assert client.open("/ws?token=bad") == 101
    assert client.read_close().close_code == 4401
    client.reset()


STARTING: tuple[Callable[[Server], None], ...] = (
    never_finish_the_request,
    never_read_the_response,
    be_refused_and_not_answer,
)


def enter(server: Server, number: int) -> RawClient:
    client = RawClient(server)
    assert client.open(f"/ws?token=user{number // 3}") == 101
    for topic in ("all", f"topic{number % 7}"):
        client.send_frame(TEXT, envelope("subscribe", topic=topic).encode())
    assert b"hello" in client.read_frame().payload
    assert b"true" in client.read_frame().payload
    assert b"true" in client.read_frame().payload
    return client


@pytest.mark.soak
def test_five_hundred_clients_leave_nothing_behind(server: Server) -> None:
    """That is what the fixture of every test here checks, for hub, tasks and descriptors."""
    clients = [enter(server, number) for number in range(CLIENTS)]
    assert introspect(server)["connections"] == CLIENTS
    assert post(server, "/hub/broadcast", {**NOTE, "topic": "all", "times": 5}) == 5 * CLIENTS

    for number, client in enumerate(clients):
        if number % 10 == 0:
            STARTING[number // 10 % len(STARTING)](server)
        LEAVING[number % len(LEAVING)](client)

    with connect(server, "/echo", token="survivor") as survivor:
        survivor.send("still served")
        assert survivor.recv(10) == "still served"
    facts = poll(lambda: introspect(server), until=lambda now: now["connections"] == 0)
    closed = Counter({int(code): count for code, count in facts["closed"].items()})
    assert closed.total() >= CLIENTS + 1
    assert set(closed) <= {1000, 1002, 1005, 1006}
