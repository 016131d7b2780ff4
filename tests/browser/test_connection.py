"""When the connection, the token or the login ends, a tab reconnects or says why it does not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser.chat_server import serve_chat
from tests.browser.conftest import OPERATOR_KEY, OpenTab
from tests.harness.polling import poll

if TYPE_CHECKING:
    from tests.browser.tab import Tab
    from tests.harness.server import Server

SAME_SECRET = {"CHAT_SECRET": "the same secret as before the restart"}

BRISK_HEARTBEAT = {"WS_HEARTBEAT_SECONDS": "0.2", "WS_HEARTBEAT_TIMEOUT_SECONDS": "0.7"}

MISSED = "you may have missed messages"


def as_operator(server: Server, action: str, name: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {OPERATOR_KEY}"}
    answer = httpx.post(server.url(f"/operator/{action}"), json={"name": name}, headers=headers)
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


def another_tab_of(tab: Tab, open_tab: OpenTab) -> Tab:
    """A tab with the same login, as when a tab is duplicated."""
    stored = tab.page.evaluate("Object.entries(sessionStorage)")
    other = open_tab()
    other.page.evaluate("entries => entries.forEach((entry) => sessionStorage.setItem(...entry))", stored)
    other.page.reload()
    other.expect_in_room("lobby")
    return other


@pytest.mark.parametrize("chat_environment", [SAME_SECRET])
def test_tabs_reconnect_after_a_restart_of_the_server(
    open_tab: OpenTab, chat_server: Server, chat_environment: dict[str, str]
) -> None:
    ada, grace = open_tab("Ada"), open_tab("Grace")
    for tab in (ada, grace):
        tab.open_room("engines")
        tab.expect_in_room("engines")
        tab.page.clock.install()
    ada.say("Before")
    expect(grace.messages).to_have_text(["Before"])
    chat_server.stop()
    for tab in (ada, grace):
        expect(tab.state).to_have_text("Reconnecting…")
        expect(tab.try_now).to_be_visible()
    ada.say("Meanwhile")
    expect(ada.unsent).to_have_text(["Meanwhile"])

    with serve_chat(chat_environment, port=chat_server.port):
        for tab in (ada, grace):
            poll(partial(sooner, tab), until=lambda state: state == "Connected", timeout=20)
        for tab in (ada, grace):
            expect(tab.log).to_contain_text(MISSED)
            expect(tab.people).to_have_text(["Ada", "Grace"])
            expect(tab.room("engines")).to_have_accessible_name("engines 2 here joined")
        expect(ada.messages).to_have_text(["Before", "Meanwhile"])
        expect(ada.unsent).to_have_count(0)
        ada.say("Back again")
        expect(grace.messages.last).to_have_text("Back again")
        expect(grace.messages.first).to_have_text("Before")
        for tab in (ada, grace):
            tab.forgive_network_trouble()
            tab.page.close()


def sooner(tab: Tab) -> str | None:
    """Skip the time that the page waits before it tries again; returns the state that it shows."""
    if tab.state.text_content() == "Reconnecting…":
        tab.page.clock.fast_forward(20_000)
    return tab.state.text_content()


@pytest.mark.parametrize("chat_environment", [{}])
def test_an_unknown_login_leads_to_the_login_form(open_tab: OpenTab, chat_server: Server) -> None:
    ada = open_tab("Ada")
    ada.page.clock.install()
    chat_server.stop()
    expect(ada.try_now).to_be_visible()
    # From here on no time passes on the page: it reconnects only on a click.
    ada.page.clock.pause_at(datetime.now(UTC) + timedelta(minutes=1))
    with serve_chat({}, port=chat_server.port):  # whose secret is another one
        ada.try_now.click()
        expect(ada.notice).to_contain_text("login has expired")
        expect(ada.page.get_by_label("Your name")).to_have_value("Ada")
        ada.page.get_by_role("button", name="Enter").click()
        ada.expect_in_room("lobby")
        ada.forgive_network_trouble()
        ada.page.close()


@pytest.mark.parametrize("chat_environment", [{"CHAT_TOKEN_SECONDS": "1.5", "WS_EXPIRY_NOTICE_SECONDS": "1"}])
def test_a_token_is_refreshed_over_the_same_socket(open_tab: OpenTab) -> None:
    ada, grace = open_tab("Ada"), open_tab("Grace")
    # The first has expired when the third is sent.
    ada.wait_until(lambda: len(ada.sent_of("auth.refresh")) >= 3, timeout=15)
    ada.say("Still the same socket")
    expect(grace.messages).to_have_text(["Still the same socket"])
    assert [len(tab.sockets) for tab in (ada, grace)] == [1, 1]


@pytest.mark.parametrize(
    "chat_environment", [{"CHAT_OPERATOR_KEY": OPERATOR_KEY, "CHAT_TOKEN_SECONDS": "1.5", "CHAT_LOGIN_SECONDS": "2"}]
)
def test_an_expired_login_leads_to_the_login_form(open_tab: OpenTab) -> None:
    ada = open_tab("Ada")
    expect(ada.notice).to_contain_text("login has expired")
    expect(ada.page.get_by_label("Your name")).to_be_focused()
    ada.forgive_network_trouble()


def test_a_revoked_login_leads_to_the_login_form(open_tab: OpenTab, chat_server: Server) -> None:
    ada, grace = open_tab("Ada"), open_tab("Grace")
    other = another_tab_of(ada, open_tab)
    assert as_operator(chat_server, "revoke", "Ada") == {"closed": 2}
    for tab in (ada, other):
        expect(tab.notice).to_contain_text("operator ended your login")
        expect(tab.page.get_by_label("Your name")).to_be_focused()
        tab.forgive_network_trouble()
    expect(grace.people).to_have_text(["Grace"])
    expect(grace.log).to_contain_text("Ada left")
    ada.page.get_by_role("button", name="Enter").click()  # a new login is another one
    ada.expect_in_room("lobby")
    expect(grace.people).to_have_text(["Ada", "Grace"])


def test_a_disconnected_user_reconnects_only_on_a_click(open_tab: OpenTab, chat_server: Server) -> None:
    ada = open_tab("Ada")
    assert as_operator(chat_server, "disconnect", "Ada") == {"closed": 1}
    expect(ada.state).to_have_text("Disconnected")
    expect(ada.notice).to_contain_text("An operator disconnected you.")
    expect(ada.page.get_by_role("button", name="Send")).to_be_disabled()
    ada.page.get_by_role("button", name="Connect again").click()
    ada.expect_in_room("lobby")
    expect(ada.notice).to_have_count(0)
    expect(ada.log).to_contain_text(MISSED)


def test_the_sixth_tab_evicts_the_first_which_says_why(open_tab: OpenTab) -> None:
    tabs = [open_tab("Ada")]
    while len(tabs) < 6:
        tabs.append(another_tab_of(tabs[0], open_tab))
    first, second = tabs[:2]
    expect(first.state).to_have_text("Disconnected")
    expect(first.notice).to_contain_text("too many tabs")
    for tab in tabs[1:]:
        expect(tab.state).to_have_text("Connected")
    assert len(first.sockets) == 1, "it did not come back by itself"
    first.page.get_by_role("button", name="Connect again").click()
    expect(first.state).to_have_text("Connected")
    expect(second.state).to_have_text("Disconnected")


@pytest.mark.parametrize("chat_environment", [BRISK_HEARTBEAT])
def test_a_tab_reconnects_after_a_network_outage(open_tab: OpenTab) -> None:
    ada, grace = open_tab("Ada"), open_tab("Grace")
    ada.say("Before")
    expect(grace.messages).to_have_text(["Before"])
    grace.page.clock.install()
    # Chromium then delays what goes over open WebSockets, in both directions, and closes none.
    grace.page.context.set_offline(True)
    expect(grace.state).to_have_text("Reconnecting…")
    expect(ada.log).to_contain_text("Grace left")
    grace.page.clock.pause_at(datetime.now(UTC) + timedelta(minutes=1))
    ada.say("Is she gone?")
    grace.say("I am in a tunnel")
    expect(grace.unsent).to_have_text(["I am in a tunnel"])
    grace.page.context.set_offline(False)  # the browser tells the page, which then does not wait for its timer
    expect(grace.state).to_have_text("Connected")
    expect(ada.messages).to_have_text(["Before", "Is she gone?", "I am in a tunnel"])
    expect(grace.log).to_contain_text(MISSED)
    expect(grace.messages).to_have_text(["Before", "I am in a tunnel"])
    assert len(ada.sockets) == 1
    grace.forgive_network_trouble()


@pytest.mark.parametrize("chat_environment", [BRISK_HEARTBEAT])
def test_a_tab_that_was_frozen_reconnects(open_tab: OpenTab) -> None:
    ada, grace = open_tab("Ada"), open_tab("Grace")
    session = grace.page.context.new_cdp_session(grace.page)
    session.send("Debugger.enable")
    session.send("Debugger.pause")  # from the next ping on, no script runs, as on a phone in a pocket
    expect(ada.log).to_contain_text("Grace left")
    session.send("Debugger.resume")
    session.send("Debugger.disable")
    grace.expect_in_room("lobby")
    expect(ada.people).to_have_text(["Ada", "Grace"])
    expect(grace.log).to_contain_text(MISSED)
    ada.say("Welcome back")
    expect(grace.messages).to_have_text(["Welcome back"])


def test_a_hidden_tab_counts_what_is_unread_until_it_is_shown(open_tab: OpenTab) -> None:
    ada, grace = open_tab("Ada"), open_tab("Grace")
    show(grace, "hidden")
    ada.say("Psst")
    expect(grace.messages).to_have_text(["Psst"])
    expect(grace.page).to_have_title("(1) lobby · Chat")
    expect(grace.room("lobby")).to_have_accessible_name("lobby 2 here joined 1 unread")
    grace.say("What?")  # one's own messages are not unread
    expect(grace.messages).to_have_text(["Psst", "What?"])
    expect(grace.page).to_have_title("(1) lobby · Chat")
    show(grace, "visible")
    expect(grace.page).to_have_title("lobby · Chat")
    assert len(grace.sockets) == 1


def show(tab: Tab, state: str) -> None:
    """Do what Chromium does with a tab in the background, of which there is none without a window."""
    tab.page.evaluate(
        """(state) => {
            Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
            Object.defineProperty(document, "hidden", { value: state === "hidden", configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        state,
    )


@pytest.mark.parametrize("chat_environment", [BRISK_HEARTBEAT])
def test_pings_are_answered(open_tab: OpenTab) -> None:
    ada = open_tab("Ada")
    # Twice as many as fit into the timeout, after which a silent peer is closed.
    ada.wait_until(lambda: len(ada.sent_of("pong")) >= 7)
    assert [socket.is_closed() for socket in ada.sockets] == [False]


@pytest.mark.parametrize("chat_environment", [{"WS_RATE_LIMIT_PER_SECOND": "1", "WS_RATE_LIMIT_BURST": "10"}])
def test_a_message_that_is_refused_can_be_sent_again_or_dropped(open_tab: OpenTab) -> None:
    ada = open_tab("Ada")
    again = ada.page.get_by_role("button", name="Send again")
    sent = 0
    while not again.count():
        ada.say(f"Message {(sent := sent + 1)}")
        ada.page.wait_for_timeout(30)
    expect(ada.unsent.first).to_be_visible()
    expect(ada.log.locator(".pending:not(.is-failed)")).to_have_count(0)
    refused = again.count()
    for _ in range(refused):
        ada.page.get_by_role("button", name="Drop it").first.click()
    expect(again).to_have_count(0)
    expect(ada.messages).to_have_count(sent - refused)

    while not again.count():
        ada.say("The last")
        ada.page.wait_for_timeout(30)
    while again.count():
        ada.page.wait_for_timeout(300)
        again.first.click()
        expect(ada.log.locator(".pending:not(.is-failed)")).to_have_count(0)
    expect(ada.messages.last).to_have_text("The last")
