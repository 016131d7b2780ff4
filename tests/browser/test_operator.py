"""The operator's page: it shows who is online, and its actions reach them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OPERATOR_KEY, OpenTab

if TYPE_CHECKING:
    from tests.browser.operator_page import OperatorPage


def test_it_shows_who_is_online(operator: OperatorPage, open_tab: OpenTab) -> None:
    expect(operator.page.get_by_text("Nobody is online.")).to_be_visible()
    ada, grace = open_tab("Ada"), open_tab("Grace")
    grace.open_room("engines")
    grace.expect_in_room("engines")
    expect(operator.people).to_have_text(["Ada", "Grace"])
    expect(operator.rooms.filter(has_text="lobby")).to_contain_text("2 here")
    expect(operator.rooms.filter(has_text="engines")).to_contain_text("1 here")
    ada.page.close()
    expect(operator.people).to_have_text(["Grace"])


def test_an_announcement_is_shown_in_every_room(operator: OperatorPage, open_tab: OpenTab) -> None:
    ada, grace = open_tab("Ada"), open_tab("Grace")
    grace.open_room("engines")
    grace.expect_in_room("engines")
    operator.announce("Lunch is ready")
    operator.expect_result("Announced to 2 connections.")
    for tab in (ada, grace):
        expect(tab.log).to_contain_text("AnnouncementLunch is ready")


def test_it_disconnects_a_user(operator: OperatorPage, open_tab: OpenTab) -> None:
    ada, grace = open_tab("Ada"), open_tab("Grace")
    operator.disconnect("Ada")
    operator.expect_result("Disconnected Ada (1 tab).")
    expect(ada.state).to_have_text("Disconnected")
    expect(grace.state).to_have_text("Connected")
    expect(operator.people).to_have_text(["Grace"])


def test_it_revokes_a_login_after_confirmation(operator: OperatorPage, open_tab: OpenTab) -> None:
    ada = open_tab("Ada")
    operator.page.get_by_role("button", name="Revoke login Ada").click()
    operator.page.keyboard.press("Escape")
    expect(operator.dialog).to_have_count(0)
    expect(ada.state).to_have_text("Connected")

    operator.revoke("Ada")
    operator.expect_result("The login of Ada is revoked (1 tab).")
    expect(ada.notice).to_contain_text("operator ended your login")
    expect(operator.page.get_by_text("Nobody is online.")).to_be_visible()
    ada.forgive_network_trouble()


@pytest.mark.parametrize("chat_environment", [{"CHAT_OPERATOR_KEY": OPERATOR_KEY}, {}], ids=["key", "no-key"])
def test_without_the_key_it_does_nothing(operator: OperatorPage, chat_environment: dict[str, str]) -> None:
    if chat_environment:
        expect(operator.page.get_by_role("status").first).to_have_text("Live")
        operator.page.get_by_role("button", name="Log out").click()
        operator.log_in("guessed")
        expect(operator.page.get_by_role("alert")).to_contain_text("wrong operator key")
    else:
        expect(operator.page.get_by_role("alert")).to_contain_text("CHAT_OPERATOR_KEY")
    expect(operator.page.get_by_label("Operator key")).to_be_focused()
    expect(operator.people).to_have_count(0)
    operator.complaints.clear()  # Chromium's, about HTTP 401 and 403
