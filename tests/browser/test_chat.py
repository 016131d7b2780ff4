"""What people do in the chat, each in a tab."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OPERATOR_KEY, OpenTab

if TYPE_CHECKING:
    from tests.harness.server import Server


def announce(server: Server, text: str) -> httpx.Response:
    return httpx.post(
        server.url("/operator/announce"), json={"text": text}, headers={"Authorization": f"Bearer {OPERATOR_KEY}"}
    )


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
    expect(ada.room("lobby")).to_have_accessible_name("lobby 2 here joined")


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
    # Anything sent earlier would be here by now; it must not even reach the page.
    assert "For everybody" in str(linus.received)
    assert "Only for this room" not in str(linus.received)
    expect(grace.messages).to_have_text(["For everybody"])
    expect(ada.room("lobby")).to_have_accessible_name("lobby 3 here joined 1 unread")


def test_a_room_that_was_left_sends_nothing_and_disappears_when_empty(open_tab: OpenTab, chat_server: Server) -> None:
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
    expect(grace.room("engines")).to_have_accessible_name("engines 1 here")

    ada.page.get_by_role("button", name="Leave room").click()
    expect(grace.room("engines")).to_have_count(0)


def test_an_announcement_over_http_reaches_every_tab(open_tab: OpenTab, chat_server: Server) -> None:
    ada, grace = open_tab("Ada"), open_tab("Grace")
    grace.open_room("engines")
    grace.expect_in_room("engines")
    answer = announce(chat_server, "Lunch is ready")
    assert (answer.status_code, answer.json()) == (200, {"connections": 2})
    for tab in (ada, grace):
        expect(tab.log).to_contain_text("Lunch is ready")


def test_a_closed_tab_is_no_longer_online(open_tab: OpenTab) -> None:
    ada, grace = open_tab("Ada"), open_tab("Grace")
    expect(ada.people).to_have_text(["Ada", "Grace"])
    grace.page.close()
    expect(ada.people).to_have_text(["Ada"])
    expect(ada.log).to_contain_text("Grace left")
    expect(ada.room("lobby")).to_have_accessible_name("lobby 1 here joined")


def test_html_in_a_message_is_text(open_tab: OpenTab, chat_server: Server) -> None:
    ada, grace = open_tab("Ada"), open_tab("Grace")
    html = "<b>bold</b> <img src=x onerror=alert(1)> <script>alert(2)</script> &amp;"
    ada.say(html)
    announce(chat_server, html)
    for tab in (ada, grace):
        expect(tab.messages).to_have_text([html])
        expect(tab.log).to_contain_text(f"Announcement{html}")
        assert tab.log.locator("b, img, script").count() == 0


def test_a_reload_keeps_name_and_rooms(open_tab: OpenTab) -> None:
    ada = open_tab("Ada")
    ada.open_room("engines")
    ada.expect_in_room("engines")
    ada.page.reload()
    expect(ada.room("engines")).to_have_accessible_name("engines 1 here joined")
    expect(ada.room("lobby")).to_have_accessible_name("lobby 1 here joined")
    expect(ada.people).to_have_text(["Ada"])


def test_a_user_who_logs_out_is_offline_and_can_log_in_again(open_tab: OpenTab) -> None:
    ada, grace = open_tab("Ada"), open_tab("Grace")
    grace.page.get_by_role("button", name="Log out").click()
    expect(grace.page.get_by_label("Your name")).to_be_focused()
    expect(ada.people).to_have_text(["Ada"])
    grace.log_in("Admiral Hopper")
    grace.expect_in_room("lobby")
    expect(ada.people).to_have_text(["Ada", "Admiral Hopper"])


@pytest.mark.parametrize(("name", "says"), [("ADA", "taken"), ("<b>", "letters, digits"), ("…", "letters, digits")])
def test_a_refused_name_is_explained(open_tab: OpenTab, name: str, says: str) -> None:
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
