"""What people do in the chat, in as many tabs as there are people."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import httpx
import pytest
from playwright.sync_api import WebSocket, expect

from quart_wshub import CloseCode
from tests.browser.chat_server import serve_chat
from tests.browser.conftest import OPERATOR_KEY, OpenTab
from tests.harness.polling import poll

if TYPE_CHECKING:
    from tests.browser.tab import Tab
    from tests.harness.server import Server

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def announce(server: Server, text: str) -> httpx.Response:
    return httpx.post(server.url("/announce"), json={"text": text}, headers={"Authorization": f"Bearer {OPERATOR_KEY}"})


SAME_SECRET = {"CHAT_SECRET": "the same secret as before the restart"}


def test_two_tabs_see_each_other_and_talk_both_ways(open_tab: OpenTab) -> None:
    ada = open_tab("Ada")
    expect(ada.people).to_have_text(["Ada"])
    grace = open_tab("Grace")
    for tab in (ada, grace):
        expect(tab.people).to_have_text(["Ada", "Grace"])

    ada.say("Hello, Grace!")
    expect(grace.messages).to_have_text(["Hello, Grace!"])
    grace.say("Hello, Ada!")
    grace.say("How is the engine?")
    for tab in (ada, grace):
        expect(tab.messages).to_have_text(["Hello, Grace!", "Hello, Ada!", "How is the engine?"])
    expect(ada.room("lobby")).to_have_accessible_name("lobby, 2 people, joined")


def test_what_is_said_in_a_room_stays_there(open_tab: OpenTab) -> None:
    ada, grace, linus = (open_tab(name) for name in ("Ada", "Grace", "Linus"))
    ada.open_room("Engines")
    ada.expect_in_room("engines")
    grace.room("engines").click()
    grace.expect_in_room("engines")
    expect(ada.log).to_contain_text("Grace joined")

    ada.say("Only for this room")
    expect(grace.messages).to_have_text(["Only for this room"])
    grace.room("lobby").click()
    grace.say("For everybody")
    expect(linus.messages).to_have_text(["For everybody"])
    # What was said before that has had its time to come, and what comes must not depend on the page's discretion.
    assert "For everybody" in str(linus.received)
    assert "Only for this room" not in str(linus.received)
    expect(grace.messages).to_have_text(["For everybody"])
    expect(ada.room("lobby")).to_have_accessible_name("lobby, 3 people, joined, 1 unread")


def test_a_room_that_was_left_is_silent_and_vanishes_when_empty(open_tab: OpenTab, chat_server: Server) -> None:
    ada, grace = open_tab("Ada"), open_tab("Grace")
    for tab in (ada, grace):
        tab.open_room("engines")
        tab.expect_in_room("engines")
    grace.page.get_by_role("button", name="Leave room").click()
    expect(grace.page.get_by_role("heading", name="No room open")).to_be_focused()
    expect(ada.log).to_contain_text("Grace left")
    ada.say("Alone now")
    expect(ada.messages).to_have_text(["Alone now"])
    announce(chat_server, "A landmark")
    expect(grace.notice).to_contain_text("A landmark")
    grace.room("lobby").click()
    expect(grace.room("engines")).to_have_accessible_name("engines, 1 person")

    ada.page.get_by_role("button", name="Leave room").click()
    expect(grace.room("engines")).to_have_count(0)


def test_an_announcement_over_http_reaches_every_tab(open_tab: OpenTab, chat_server: Server) -> None:
    ada, grace = open_tab("Ada"), open_tab("Grace")
    grace.open_room("engines")
    grace.expect_in_room("engines")
    answer = announce(chat_server, "Lunch is ready")
    assert (answer.status_code, answer.json()) == (200, {"delivered": 2})
    for tab in (ada, grace):
        expect(tab.log).to_contain_text("Lunch is ready")


def test_a_closed_tab_is_no_longer_online(open_tab: OpenTab) -> None:
    ada, grace = open_tab("Ada"), open_tab("Grace")
    expect(ada.people).to_have_text(["Ada", "Grace"])
    grace.page.close()
    expect(ada.people).to_have_text(["Ada"])
    expect(ada.log).to_contain_text("Grace left")
    expect(ada.room("lobby")).to_have_accessible_name("lobby, 1 person, joined")


def test_html_in_a_message_is_text(open_tab: OpenTab, chat_server: Server) -> None:
    ada, grace = open_tab("Ada"), open_tab("Grace")
    html = "<b>bold</b> <img src=x onerror=alert(1)> <script>alert(2)</script> &amp;"
    ada.say(html)
    announce(chat_server, html)
    for tab in (ada, grace):
        expect(tab.messages).to_have_text([html])
        expect(tab.log).to_contain_text(f"Announcement{html}")
        assert tab.log.locator("b, img, script").count() == 0


@pytest.mark.parametrize(
    "chat_environment",
    [
        pytest.param(SAME_SECRET, id="same-secret"),
        pytest.param({}, id="new-secret"),  # the old tokens are refused with 4401, and new ones fetched
    ],
)
def test_tabs_come_back_after_a_restart_of_the_server(
    open_tab: OpenTab, chat_server: Server, chat_environment: dict[str, str]
) -> None:
    ada, grace = open_tab("Ada"), open_tab("Grace")
    for tab in (ada, grace):
        tab.open_room("engines")
        tab.expect_in_room("engines")
        tab.page.clock.install()
    chat_server.stop()
    for tab in (ada, grace):
        expect(tab.state).to_have_text("Reconnecting…")
        expect(tab.page.get_by_role("button", name="Send")).to_be_disabled()
    ada.composer.fill("Back again")

    with serve_chat(chat_environment, port=chat_server.port):
        for tab in (ada, grace):
            poll(partial(sooner, tab), until=lambda state: state == "Connected", timeout=20)
        for tab in (ada, grace):
            expect(tab.people).to_have_text(["Ada", "Grace"])
            expect(tab.room("engines")).to_have_accessible_name("engines, 2 people, joined")
            tab.expect_in_room("engines")
        ada.composer.press("Enter")
        expect(grace.messages).to_have_text(["Back again"])
        for tab in (ada, grace):
            tab.forgive_network_trouble()
            tab.page.close()


def sooner(tab: Tab) -> str | None:
    """Let the time pass that the page waits before it tries again. Gives the state that it shows."""
    if tab.state.text_content() == "Reconnecting…":
        tab.page.clock.fast_forward(20_000)
    return tab.state.text_content()


def test_a_reload_keeps_name_and_rooms(open_tab: OpenTab) -> None:
    ada = open_tab("Ada")
    ada.open_room("engines")
    ada.expect_in_room("engines")
    ada.page.reload()
    expect(ada.room("engines")).to_have_accessible_name("engines, 1 person, joined")
    expect(ada.room("lobby")).to_have_accessible_name("lobby, 1 person, joined")
    expect(ada.people).to_have_text(["Ada"])


def test_who_logs_out_is_gone_and_can_come_back(open_tab: OpenTab) -> None:
    ada, grace = open_tab("Ada"), open_tab("Grace")
    grace.page.get_by_role("button", name="Log out").click()
    expect(grace.page.get_by_label("Your name")).to_be_focused()
    expect(ada.people).to_have_text(["Ada"])
    grace.log_in("Admiral Hopper")
    grace.expect_in_room("lobby")
    expect(ada.people).to_have_text(["Ada", "Admiral Hopper"])


@pytest.mark.parametrize(("name", "says"), [("ADA", "taken"), ("<b>", "letters, digits"), ("…", "letters, digits")])
def test_a_name_that_cannot_be_had_is_explained(open_tab: OpenTab, name: str, says: str) -> None:
    open_tab("Ada")
    other = open_tab()
    other.log_in(name)
    expect(other.notice).to_contain_text(says)
    expect(other.page.get_by_label("Your name")).to_be_focused()
    other.forgive_network_trouble()


def test_a_refused_request_is_explained(open_tab: OpenTab) -> None:
    ada = open_tab("Ada")
    ada.open_room("no spaces please")
    expect(ada.notice).to_contain_text("letters, digits and -")
    ada.page.get_by_role("button", name="Dismiss").click()
    expect(ada.notice).to_have_count(0)
    ada.expect_in_room("lobby")


@pytest.mark.parametrize("chat_environment", [{"WS_MAX_CONNECTIONS_PER_USER": "1"}])
def test_an_evicted_tab_stops_and_says_why(open_tab: OpenTab) -> None:
    first = open_tab("Ada")
    second = open_tab()
    stored = first.page.evaluate("Object.entries(sessionStorage)")
    store = "entries => entries.forEach(([key, value]) => sessionStorage.setItem(key, value))"
    second.page.evaluate(store, stored)
    second.page.reload()
    second.expect_in_room("lobby")

    expect(first.state).to_have_text("Disconnected")
    expect(first.notice).to_contain_text("too many tabs")
    first.page.get_by_role("button", name="Connect again").click()
    expect(first.state).to_have_text("Connected")
    expect(second.state).to_have_text("Disconnected")


@pytest.mark.parametrize("chat_environment", [{"WS_HEARTBEAT_SECONDS": "0.2", "WS_HEARTBEAT_TIMEOUT_SECONDS": "0.7"}])
def test_pings_are_answered(open_tab: OpenTab) -> None:
    ada = open_tab()
    sockets: list[WebSocket] = []
    sent: list[str] = []

    def listen(socket: WebSocket) -> None:
        sockets.append(socket)
        socket.on("framesent", lambda frame: sent.append(str(frame)))

    def pongs() -> int:
        ada.page.wait_for_timeout(50)
        return str(sent).count("pong")

    ada.page.on("websocket", listen)
    ada.log_in("Ada")
    ada.expect_in_room("lobby")
    # Twice as many as fit into the timeout, after which a silent peer would have been closed.
    poll(pongs, until=lambda count: count >= 7)
    assert [socket.is_closed() for socket in sockets] == [False]


def test_the_newest_message_stays_in_view_until_its_reader_scrolls(open_tab: OpenTab) -> None:
    ada, grace = open_tab("Ada", viewport={"width": 800, "height": 500}), open_tab("Grace")
    for number in range(1, 4):
        ada.say("\n".join(f"Line {line} of message {number}" for line in range(8)))
    expect(ada.messages).to_have_count(3)
    expect(ada.messages.last).to_be_in_viewport(ratio=1)
    ada.composer.fill("\n".join("a long draft"))
    expect(ada.messages.last.locator("..")).to_be_in_viewport()
    assert ada.log.evaluate("log => log.scrollHeight - log.scrollTop - log.clientHeight") < 1

    ada.log.hover()
    ada.page.mouse.wheel(0, -400)
    expect(ada.messages.first).to_be_in_viewport()
    grace.say("Newer")
    newer = ada.page.get_by_role("button", name="New messages")
    newer.click()
    expect(ada.messages.last).to_have_text("Newer")
    expect(ada.messages.last).to_be_in_viewport(ratio=1)
    expect(newer).to_have_count(0)


def test_the_keyboard_alone_is_enough(open_tab: OpenTab) -> None:
    ada = open_tab()
    keyboard = ada.page.keyboard
    keyboard.type("Ada")
    keyboard.press("Enter")
    ada.expect_in_room("lobby")
    expect(ada.composer).to_be_focused()
    keyboard.type("One")
    keyboard.press("Shift+Enter")
    keyboard.type("Two")
    keyboard.press("Enter")
    expect(ada.messages).to_have_text(["One\nTwo"], use_inner_text=True)

    ada.room("random").focus()
    keyboard.press("Enter")
    ada.expect_in_room("random")
    expect(ada.composer).to_be_focused()
    keyboard.press("Shift+Tab")
    expect(ada.log).to_be_focused()


def test_a_phone_shows_all_of_it(open_tab: OpenTab) -> None:
    ada = open_tab("Ada", **PHONE)
    ada.say("Averyverylongword" * 30)
    expect(ada.messages).to_have_count(1)
    toggle = ada.page.get_by_role("button", name="Rooms and people")
    expect(ada.room("random")).to_have_count(0)
    toggle.tap()
    expect(ada.room("lobby")).to_be_focused()
    ada.page.keyboard.press("Escape")
    expect(toggle).to_be_focused()
    toggle.tap()
    ada.room("random").tap()
    ada.expect_in_room("random")
    expect(ada.room("random")).to_have_count(0)
    widths = ada.page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert widths == [390, 390]


def test_the_page_follows_the_close_codes_of_the_server(open_tab: OpenTab) -> None:
    page = open_tab().page
    final = page.evaluate("import('/static/connection.js').then((module) => [...module.FINAL_CODES.keys()])")
    # After 4401 it does come back, but with a new token.
    assert set(final) == {code for code in CloseCode if not code.reconnect} - {CloseCode.UNAUTHORIZED}
