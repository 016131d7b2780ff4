"""The content of AsyncAPI documents. `tests/describe` checks that they are valid."""

from __future__ import annotations

from quart_wshub import CloseCode, ErrorCode, MessageRouter, WSEnvelope
from quart_wshub.description.asyncapi import asyncapi
from tests.describe.app import messages
from tests.unit.memory import make_settings

CHANNEL = {"$ref": "#/channels/ws"}


def in_channel(key: str) -> dict[str, str]:
    return {"$ref": f"#/channels/ws/messages/{key}"}


def test_title_version_and_description_are_the_apps() -> None:
    document = asyncapi(messages, title="Chat", version="2.1", description="*Talk.*")

    assert document["asyncapi"] == "3.0.0"
    assert document["info"] == {"title": "Chat", "version": "2.1", "description": "*Talk.*"}


def test_a_router_describes_itself() -> None:
    settings = make_settings(WS_HELLO=False)

    assert messages.asyncapi() == asyncapi(messages)
    assert messages.asyncapi(path="/live", settings=settings, title="Chat", host="a.example") == asyncapi(
        messages, path="/live", settings=settings, title="Chat", host="a.example"
    )


def test_without_a_host_every_operation_requires_a_token() -> None:
    document = asyncapi(messages)

    assert "servers" not in document
    schemes = [f"#/components/securitySchemes/{name}" for name in ("subprotocol", "authorization", "query")]
    for operation in document["operations"].values():
        assert [reference["$ref"] for reference in operation["security"]] == schemes


def test_with_a_host_the_server_requires_a_token() -> None:
    for secure, protocol in ((True, "wss"), (False, "ws")):
        document = asyncapi(messages, host="api.example.com", secure=secure)

        server = document["servers"]["default"]
        assert (server["host"], server["protocol"], len(server["security"])) == ("api.example.com", protocol, 3)
        assert not any("security" in operation for operation in document["operations"].values())


def test_the_address_has_the_routes_variables() -> None:
    channel = asyncapi(messages, path="/ws/<room>/<int(min=1):number>")["channels"]["ws"]

    assert channel["address"] == "/ws/{room}/{number}"
    assert channel["parameters"] == {"room": {}, "number": {}}
    assert "parameters" not in asyncapi(messages)["channels"]["ws"]


def test_what_settings_switch_off_is_left_out() -> None:
    settings = make_settings(WS_HELLO=False, WS_ALLOW_QUERY_TOKEN=False)
    document = asyncapi(messages, settings=settings)

    assert list(document["components"]["securitySchemes"]) == ["subprotocol", "authorization"]
    assert "query" not in document["channels"]["ws"]["bindings"]["ws"]
    assert "server.hello" not in document["channels"]["ws"]["messages"]
    assert asyncapi(messages, settings=make_settings(WS_HELLO=True)) == asyncapi(messages)


def test_close_codes_are_documented() -> None:
    codes = asyncapi(messages)["channels"]["ws"]["x-close-codes"]

    assert len(codes) == len(CloseCode)
    assert {"code": 1012, "reason": "the server is restarting", "reconnect": True} in codes


def test_a_request_is_a_receive_operation_with_a_reply() -> None:
    document = asyncapi(messages, host="a")

    assert document["operations"]["client.chat.send"] == {
        "action": "receive",
        "channel": CHANNEL,
        "description": "Say something in a room.",
        "messages": [in_channel("client.chat.send")],
        "reply": {
            "channel": CHANNEL,
            "messages": [in_channel("server.chat.send.reply"), in_channel("server.error")],
        },
        "x-error-codes": ["room_full", "too_rude"],
    }


def test_what_the_server_sends_is_a_send_operation() -> None:
    operation = asyncapi(messages, host="a")["operations"]["server.chat.message"]

    assert operation["action"] == "send"
    assert operation["messages"] == [in_channel("server.chat.message")]
    assert "reply" not in operation


def test_pings_go_both_ways() -> None:
    operations = asyncapi(messages)["operations"]

    assert operations["server.ping"]["reply"]["messages"] == [in_channel("client.pong")]
    assert operations["client.ping"]["reply"]["messages"] == [in_channel("server.pong")]


def test_every_message_of_the_channel_is_used_by_an_operation() -> None:
    document = asyncapi(messages)

    used = set()
    for operation in document["operations"].values():
        used |= {
            reference["$ref"] for reference in (*operation["messages"], *operation.get("reply", {}).get("messages", ()))
        }
    assert used == {in_channel(key)["$ref"] for key in document["channels"]["ws"]["messages"]}
    assert set(document["channels"]["ws"]["messages"]) == set(document["components"]["messages"])


def test_each_message_of_a_sender_has_its_own_type() -> None:
    components = asyncapi(messages)["components"]["messages"]

    for sender in ("client", "server"):
        types = [
            item["payload"]["properties"]["type"]["const"] for key, item in components.items() if key.startswith(sender)
        ]
        assert len(types) == len(set(types))


def test_error_codes_are_the_built_in_ones_and_the_apps() -> None:
    code = asyncapi(messages)["components"]["schemas"]["ErrorData"]["properties"]["code"]

    assert code == {"type": "string", "enum": [*ErrorCode, "room_full", "too_rude"]}


def test_request_ids_correlate() -> None:
    document = asyncapi(messages)

    assert document["components"]["correlationIds"]["requestId"] == {"location": "$message.payload#/request_id"}
    for message in document["components"]["messages"].values():
        assert message["correlationId"] == {"$ref": "#/components/correlationIds/requestId"}
        assert "request_id" in message["payload"]["properties"]


def test_types_with_characters_no_key_may_have_get_valid_keys() -> None:
    router = MessageRouter()

    async def handler(message: WSEnvelope) -> None: ...

    for name in ("a/b", "a b", "a_b", "ä"):
        router.on(name)(handler)

    components = asyncapi(router)["components"]["messages"]
    names = {key: item["name"] for key, item in components.items() if item["name"] in {"a/b", "a b", "a_b", "ä"}}
    assert names == {"client.a_b": "a_b", "client.a_b_2": "a b", "client.a_b_3": "a/b", "client._": "ä"}
