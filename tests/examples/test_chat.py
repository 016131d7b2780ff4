"""The chat's server, without its page: what other clients than that page can do to it."""

from __future__ import annotations

import json
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

import httpx
import jwt
import pytest

from tests.examples.conftest import OPERATOR_KEY, SECRET
from tests.harness.clients import ClientConnection, closed_with, connect, envelope, recv_json
from tests.harness.redis import run_redis
from tests.harness.server import ROOT, Server, run_server, run_to_exit

if TYPE_CHECKING:
    from collections.abc import Iterator

CHAT = ROOT / "examples/chat"

ids = count(1)


def post(server: Server, path: str, body: object, *, key: str | None = None) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return httpx.post(server.url(path), content=content, headers=headers)


def log_in(server: Server, name: str) -> str:
    login: str = post(server, "/login", {"name": name}).json()["login"]
    return login


def token_for(server: Server, login: str) -> str:
    token: str = post(server, "/token", {}, key=login).json()["token"]
    return token


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


@contextmanager
def connected(server: Server, login: str, *, hello: bool = False) -> Iterator[ClientConnection]:
    token = token_for(server, login)
    with connect(server, "/ws", token=None, subprotocols=["bearer", token], hello=hello) as client:
        yield client


@contextmanager
def joined(server: Server, name: str, room: str = "lobby") -> Iterator[ClientConnection]:
    """Somebody who has logged in, in a room."""
    with connected(server, log_in(server, name)) as client:
        join(client, room)
        yield client


def join(client: ClientConnection, room: str) -> None:
    assert ask(client, "subscribe", topic=f"room:{room}") == {"topic": f"room:{room}"}
    assert ask(client, "room.enter", room=room) == {"room": room}


def ask(client: ClientConnection, kind: str, /, **data: object) -> dict[str, Any]:
    """Send a request and give the data of its reply, or of the error; what comes before it is dropped."""
    request_id = str(next(ids))
    client.send(envelope(kind, request_id, **data))
    while (message := recv_json(client))["request_id"] != request_id:
        pass
    answer: dict[str, Any] = message["data"]
    return answer


def next_of(client: ClientConnection, kind: str) -> dict[str, Any]:
    """The data of the next message of this type; what comes before it is dropped."""
    while (message := recv_json(client))["type"] != kind:
        pass
    data: dict[str, Any] = message["data"]
    return data


def here(overview: dict[str, Any]) -> dict[str, int]:
    return {room["name"]: room["here"] for room in overview["rooms"]}


# The pages


@pytest.mark.parametrize("path", ["/", "/operator"])
def test_the_pages_forbid_everything_foreign(chat: Server, path: str) -> None:
    answer = httpx.get(chat.url(path))
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/html")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert not {"<style", " style=", "<script>", "onclick="} & {part for part in answer.text.split() if "=" in part}


def test_all_that_the_pages_need_is_served(chat: Server) -> None:
    for file in (CHAT / "static").iterdir():
        assert httpx.get(chat.url(f"/static/{file.name}")).status_code == 200
    client = httpx.get(chat.url("/ws/client.js"))
    assert client.headers["Content-Type"].startswith("text/javascript")


# The login


@pytest.mark.parametrize("name", ["Ada", "  Ada  Lovelace ", "Zoë", "李", "O'Neil-Smith 2.0", "x" * 24])
def test_a_login_is_good_for_tokens_of_that_name(chat: Server, name: str) -> None:
    answer = post(chat, "/login", {"name": name})
    assert answer.status_code == 200
    tidy = " ".join(name.split())
    assert answer.json()["name"] == tidy
    assert claims_of(token_for(chat, answer.json()["login"]))["sub"] == tidy


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not JSON",
        b"\xff",
        b"[]",
        {},
        {"name": ""},
        {"name": "   "},
        {"name": 7},
        {"name": "x" * 25},
        {"name": "<b>Ada</b>"},
        {"name": "a\u202eb"},
    ],
)
def test_a_bad_login_is_explained(chat: Server, body: object) -> None:
    answer = post(chat, "/login", body)
    assert answer.status_code == 422
    assert answer.json()["error"]


def test_a_body_that_is_too_big_is_refused(chat: Server) -> None:
    assert post(chat, "/login", {"name": "x" * 20_000}).status_code == 413


def test_a_name_is_taken_while_its_owner_is_online(chat: Server) -> None:
    with joined(chat, "Ada"), joined(chat, "Grace") as grace:
        assert post(chat, "/login", {"name": "aDA"}).status_code == 409
        assert ask(grace, "presence.get")["users"] == ["Ada", "Grace"]


def test_neither_token_is_taken_for_the_other(chat: Server) -> None:
    login = log_in(chat, "Ada")
    token = token_for(chat, login)
    with connect(chat, "/ws", token=login, hello=True) as client:
        assert closed_with(client)[0] == 4401
    for bad in (token, "guessed", None):
        answer = post(chat, "/token", {}, key=bad)
        assert (answer.status_code, answer.json()) == (401, {"error": "Your login has expired."})


def test_a_token_lasts_as_long_as_is_set(chat: Server) -> None:
    login = log_in(chat, "Ada")
    claims = claims_of(token_for(chat, login))
    assert 299 <= claims["exp"] - claims["iat"] <= 301
    assert claims["since"] == claims_of(login)["since"]


# In the rooms


def test_what_is_said_is_answered_and_reaches_the_room(chat: Server) -> None:
    with joined(chat, "Ada") as ada, joined(chat, "Grace") as grace, joined(chat, "Linus", "engines") as linus:
        reply = ask(ada, "chat.send", room="lobby", text=" Hello ", key="k1")
        message = next_of(grace, "chat.message")
        assert message == {
            **reply,
            "topic": "room:lobby",
            "room": "lobby",
            "user": "Ada",
            "text": "Hello",
            "key": "k1",
        }
        linus.send(envelope("chat.send", room="engines", text="Quiet here"))
        assert next_of(linus, "chat.message")["text"] == "Quiet here"


def test_a_connection_that_is_cut_is_told_to_the_others(chat: Server) -> None:
    with joined(chat, "Ada") as ada, joined(chat, "Grace", "engines") as grace:
        join(grace, "lobby")
        assert next_of(ada, "member.joined") == {"topic": "room:lobby", "room": "lobby", "user": "Grace"}
        grace.socket.close()
        assert next_of(ada, "member.left") == {"topic": "room:lobby", "room": "lobby", "user": "Grace"}
        overview = ask(ada, "presence.get")
        assert (overview["users"], overview["complete"]) == (["Ada"], True)
        assert here(overview) == {"lobby": 1, "random": 0, "help": 0}


def test_a_connection_that_the_server_closes_is_told_to_the_others(chat: Server) -> None:
    with joined(chat, "Ada") as ada, joined(chat, "Grace") as grace:
        grace.send("x" * 70_000)
        assert closed_with(grace)[0] == 1009
        assert next_of(ada, "member.left")["user"] == "Grace"
        assert ask(ada, "presence.get")["users"] == ["Ada"]


def test_two_connections_of_one_person_are_one_person(chat: Server) -> None:
    login = log_in(chat, "Ada")
    with joined(chat, "Grace") as grace:
        with connected(chat, login) as first, connected(chat, login) as second:
            join(first, "lobby")
            join(second, "lobby")
            assert ask(second, "room.enter", room="lobby") == {"room": "lobby"}
            assert here(ask(first, "presence.get"))["lobby"] == 3
            assert ask(second, "room.leave", room="lobby") == {"room": "lobby"}
            assert here(ask(first, "presence.get"))["lobby"] == 2
            ask(first, "chat.send", room="lobby", text="Still here")
            seen = []
            while (message := recv_json(grace))["type"] != "chat.message":
                seen.append(message["type"])
            assert seen.count("member.joined") == 1
            assert "member.left" not in seen
        assert next_of(grace, "member.left")["user"] == "Ada"


def test_everybody_is_told_that_presence_changed(chat: Server) -> None:
    with joined(chat, "Ada") as ada:
        while ask(ada, "presence.get")["users"] != ["Ada"]:
            pass
        with joined(chat, "Grace", "engines"):
            next_of(ada, "presence.changed")
        next_of(ada, "presence.changed")


@pytest.mark.parametrize(
    ("sent", "code", "says"),
    [
        ("not JSON", "invalid_json", "JSON"),
        ("[]", "invalid_envelope", "envelope"),
        (envelope("dance", "x"), "unknown_type", "message"),
        (envelope("room.enter", "x"), "invalid_data", "room"),
        (envelope("room.enter", "x", room="two words"), "invalid_data", "letters, digits"),
        (envelope("chat.send", "x", room="lobby", text=" "), "invalid_data", "text"),
        (envelope("chat.send", "x", room="lobby", text="x" * 2001), "invalid_data", "text"),
        (envelope("chat.send", "x", room="secret", text="psst"), "forbidden", "room:secret"),
        (envelope("room.enter", "x", room="secret"), "forbidden", "room:secret"),
        (envelope("subscribe", "x", topic="room:two words"), "invalid_data", "letters, digits"),
        (envelope("subscribe", "x", topic="room:Lobby"), "invalid_data", "called lobby"),
        (envelope("subscribe", "x", topic="room:" + "x" * 25), "invalid_data", "24"),
        (envelope("subscribe", "x", topic="member:lobby:Ada"), "forbidden", "may not"),
        (envelope("subscribe", "x", topic="lobby"), "forbidden", "may not"),
    ],
)
def test_nonsense_is_answered_and_nothing_else_happens(chat: Server, sent: str, code: str, says: str) -> None:
    with joined(chat, "Ada") as ada:
        ada.send(sent)
        while (message := recv_json(ada))["type"] != "error":
            pass
        assert message["data"]["code"] == code
        assert says in json.dumps(message["data"])
        assert message["request_id"] == ("x" if '"x"' in sent else None)
        ask(ada, "chat.send", room="lobby", text="Never mind")


# The operator


def test_the_operator_sees_everyone(chat: Server) -> None:
    with joined(chat, "Ada"), joined(chat, "Grace", "engines"):
        answer = httpx.get(chat.url("/operator/overview"), headers={"Authorization": f"Bearer {OPERATOR_KEY}"})
        overview = answer.json()
        assert (overview["users"], overview["connections"], overview["complete"]) == (["Ada", "Grace"], 2, True)
        assert here(overview) == {"lobby": 1, "random": 0, "help": 0, "engines": 1}


def test_the_operator_reaches_everyone(chat: Server) -> None:
    with joined(chat, "Ada") as ada, joined(chat, "Grace", "engines") as grace:
        answer = post(chat, "/operator/announce", {"text": "Lunch!"}, key=OPERATOR_KEY)
        assert (answer.status_code, answer.json()) == (200, {"connections": 2})
        assert next_of(ada, "announcement") == next_of(grace, "announcement") == {"text": "Lunch!"}


def test_the_operator_disconnects_a_user_who_may_come_back(chat: Server) -> None:
    login = log_in(chat, "Ada")
    with connected(chat, login) as first, connected(chat, login) as second, joined(chat, "Grace") as grace:
        assert post(chat, "/operator/disconnect", {"name": "Ada"}, key=OPERATOR_KEY).json() == {"closed": 2}
        for client in (first, second):
            assert closed_with(client) == (4403, "an operator disconnected you")
        assert ask(grace, "presence.get")["users"] == ["Grace"]
    with connected(chat, login) as again:
        join(again, "lobby")


def test_what_was_revoked_is_refused_from_then_on(chat: Server) -> None:
    login = log_in(chat, "Ada")
    token = token_for(chat, login)
    with connected(chat, login) as ada:
        assert post(chat, "/operator/revoke", {"name": "Ada"}, key=OPERATOR_KEY).json() == {"closed": 1}
        assert closed_with(ada) == (4401, "token revoked")
    with connect(chat, "/ws", token=token, hello=True) as late:
        assert closed_with(late)[0] == 4401
    answer = post(chat, "/token", {}, key=login)
    assert (answer.status_code, answer.json()) == (401, {"error": "An operator ended your login."})
    with joined(chat, "Ada") as ada:  # with a new login
        ada.send(envelope("auth.refresh", token=token))
        assert closed_with(ada)[0] == 4401


@pytest.mark.parametrize("path", ["announce", "disconnect", "revoke", "overview"])
def test_nobody_else_is_an_operator(chat: Server, path: str) -> None:
    method = "GET" if path == "overview" else "POST"
    body = json.dumps({"text": "Lunch!", "name": "Ada"})
    for value in (b"", b"Bearer", b"Bearer guessed", b"Bearer \xff", OPERATOR_KEY.encode()):
        headers = {b"Authorization": value} if value else {}
        answer = httpx.request(method, chat.url(f"/operator/{path}"), content=body, headers=headers)
        assert answer.status_code == 401
    if method == "POST":
        assert post(chat, f"/operator/{path}", {"text": "", "name": 7}, key=OPERATOR_KEY).status_code == 422


# Configurations


def test_without_configuration_it_runs_and_there_is_no_operator() -> None:
    with run_server("app:app", cwd=CHAT) as server, joined(server, "Ada"):
        answer = post(server, "/operator/announce", {"text": "Lunch!"}, key="None")
        assert answer.status_code == 403
        assert "CHAT_OPERATOR_KEY" in answer.json()["error"]
        assert "Traceback" not in server.log()


def test_several_processes_need_one_secret() -> None:
    _, log = run_to_exit("app:app", cwd=CHAT, env={"CHAT_REDIS_URL": "redis://:hunter2@127.0.0.1:1"})
    assert "CHAT_SECRET must be too" in log
    assert "hunter2" not in log


def test_two_processes_with_one_redis_are_one_chat() -> None:
    with run_redis() as redis:
        env = {"CHAT_SECRET": SECRET, "CHAT_OPERATOR_KEY": OPERATOR_KEY, "CHAT_REDIS_URL": redis.url}
        with run_server("app:app", cwd=CHAT, env=env) as one, run_server("app:app", cwd=CHAT, env=env) as two:
            login = log_in(one, "Ada")
            with connected(two, login) as ada, joined(one, "Grace", "engines") as grace:
                join(ada, "engines")
                assert next_of(grace, "member.joined")["user"] == "Ada"
                assert post(one, "/login", {"name": "ada"}).status_code == 409
                assert ask(grace, "presence.get") == ask(ada, "presence.get")
                assert here(ask(grace, "presence.get"))["engines"] == 2
                ask(ada, "chat.send", room="engines", text="From the other one")
                assert next_of(grace, "chat.message")["text"] == "From the other one"
                assert post(one, "/operator/revoke", {"name": "Ada"}, key=OPERATOR_KEY).json() == {"closed": 1}
                assert closed_with(ada)[0] == 4401
                assert next_of(grace, "member.left")["user"] == "Ada"
                for server in (one, two):
                    assert post(server, "/token", {}, key=login).status_code == 401
                with joined(two, "Linus", "engines") as linus:
                    assert next_of(grace, "member.joined")["user"] == "Linus"
                    two.stop()
                    assert closed_with(linus)[0] == 1012
                    # He will be back in a moment, on whichever node.
                    grace.send(envelope("room.leave", "last", room="engines"))
                    while (message := recv_json(grace))["request_id"] != "last":
                        assert message["type"] != "member.left"
            redis.stop()
            answer = post(one, "/token", {}, key=login)
            assert answer.status_code == 503
            assert "try again" in answer.json()["error"]
            for server in (one, two):
                assert "Traceback" not in server.log()
