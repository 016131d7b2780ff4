"""The pages are accessible: with a keyboard, a phone, a screen reader, in light and in dark mode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT  # type: ignore[import-untyped]
from playwright.sync_api import Page, expect

from tests.browser.conftest import OPERATOR_KEY, OpenTab

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.browser.tab import Tab
    from tests.harness.server import Server

PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}}


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
    expect(toggle).to_have_attribute("aria-expanded", "true")
    ada.page.keyboard.press("Escape")
    expect(toggle).to_be_focused()
    expect(toggle).to_have_attribute("aria-expanded", "false")
    toggle.tap()
    ada.room("random").tap()
    ada.expect_in_room("random")
    expect(ada.room("random")).to_have_count(0)
    widths = ada.page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert widths == [390, 390]


def focus_next(tab: Tab, *, key: str = "Tab") -> str:
    """Press Tab; returns the name of the element that then has the focus."""
    tab.page.keyboard.press(key)
    name: str = tab.page.evaluate(
        "document.activeElement.ariaLabel ?? document.activeElement.labels?.[0]?.textContent "
        "?? document.activeElement.textContent.trim()"
    )
    return name


def test_tab_moves_the_focus_in_reading_order(open_tab: OpenTab) -> None:
    ada = open_tab("Ada", **DESKTOP)
    ada.page.evaluate("document.activeElement.blur()")
    ada.page.get_by_role("heading", name="Chat").click()
    order = [focus_next(ada) for _ in range(9)]
    assert [name.split("1")[0].split("0")[0] for name in order] == [
        *("Log out", "lobby", "random", "help", "Name of a room to open", "Open", "Leave room"),
        *("Messages in lobby", "Message to lobby"),
    ]


def test_a_screen_reader_speaks_messages_only(open_tab: OpenTab) -> None:
    """Who comes and goes, and unsent messages, are in the log too, but are not announced."""
    ada = open_tab("Ada")
    grace = open_tab("Grace")
    grace.say("Hello")
    expect(ada.messages).to_have_text(["Hello"])
    expect(ada.log.locator("[aria-live=off]")).to_have_text(["Grace joined"])
    open_tab("Linus")
    expect(ada.log.locator("[aria-live=off]")).to_have_text(["Grace joined", "Linus joined"])
    open_tab("Katherine")
    expect(ada.log.locator("[aria-live=off]")).to_have_text(["Grace joined", "Linus and Katherine joined"])


def violations(page: Page) -> list[str]:
    """The faults axe-core finds in a page."""
    page.evaluate(AXE_SCRIPT)
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")["violations"]
    return [f"{fault['id']}: {node['html'][:120]}" for fault in found for node in fault["nodes"]]


@pytest.mark.parametrize(
    ("device", "scheme"),
    [pytest.param(DESKTOP, "light", id="light-desktop"), pytest.param(PHONE, "dark", id="dark-phone")],
)
def test_axe_finds_nothing_in_the_chat(open_tab: OpenTab, device: dict[str, Any], scheme: str) -> None:
    options = {**device, "color_scheme": scheme, "reduced_motion": "reduce"}
    ada = open_tab(**options)
    assert violations(ada.page) == []
    ada.log_in("Ada")
    ada.expect_in_room("lobby")
    grace = open_tab("Grace")
    grace.say("Hello")
    ada.say("Hello")
    grace.open_room("engines")
    expect(ada.messages).to_have_count(2)
    assert violations(ada.page) == []
    if device is PHONE:
        ada.page.get_by_role("button", name="Rooms and people").tap()
        expect(ada.room("engines")).to_be_visible()
        assert violations(ada.page) == []
        ada.page.keyboard.press("Escape")
    ada.page.context.set_offline(True)
    ada.page.evaluate("dispatchEvent(new Event('offline'))")
    ada.say("Not yet")
    expect(ada.page.get_by_text("Not yet")).to_be_visible()
    assert violations(ada.page) == []
    ada.page.context.set_offline(False)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_the_operators_page(
    browser: Browser, chat_server: Server, open_tab: OpenTab, scheme: str
) -> None:
    open_tab("Ada")
    page = browser.new_context(color_scheme=scheme, reduced_motion="reduce").new_page()  # type: ignore[arg-type]
    page.goto(chat_server.url("/operator"))
    assert violations(page) == []
    page.get_by_label("Operator key").fill(OPERATOR_KEY)
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Disconnect Ada")).to_be_visible()
    assert violations(page) == []
    page.get_by_role("button", name="Revoke login Ada").click()
    assert violations(page) == []
    page.context.close()
