"""The chat with two workers and a Redis: it works the same for people on different workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.chat_server import serve_chat
from tests.browser.conftest import OPERATOR_KEY, OpenTab
from tests.harness.ports import reusable_port
from tests.harness.redis import RedisProcess, run_redis

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.browser.operator_page import OperatorPage
    from tests.browser.tab import Tab
    from tests.harness.server import Server

SECRET = "the secret that both of the workers have"


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisProcess]:
    with run_redis() as redis:
        yield redis


@pytest.fixture(scope="module")
def shared_chat_server(redis: RedisProcess) -> Iterator[Server]:
    environment = {"CHAT_OPERATOR_KEY": OPERATOR_KEY, "CHAT_SECRET": SECRET, "CHAT_REDIS_URL": redis.url}
    with serve_chat(environment, port=reusable_port(), workers=2) as server:
        yield server


def node_of(tab: Tab) -> str:
    """The worker that a tab is connected to: the first twelve digits of the connection's id."""
    return tab.connection_id.replace("-", "")[:12]


def on_two_workers(open_tab: OpenTab) -> tuple[Tab, Tab]:
    """Ada and Grace on different workers. The kernel decides which worker accepts a connection."""
    ada, grace = open_tab("Ada"), open_tab("Grace")
    for _ in range(40):
        if node_of(ada) != node_of(grace):
            break
        grace.page.reload()
        grace.expect_in_room("lobby")
    assert node_of(ada) != node_of(grace)
    return ada, grace


def test_two_tabs_on_different_workers_see_each_other_and_talk(open_tab: OpenTab) -> None:
    ada, grace = on_two_workers(open_tab)
    for tab in (ada, grace):
        expect(tab.people).to_have_text(["Ada", "Grace"])
        expect(tab.room("lobby")).to_have_accessible_name("lobby 2 here joined")
    ada.say("Hello, Grace!")
    expect(grace.messages).to_have_text(["Hello, Grace!"])
    grace.say("Hello, Ada!")
    for tab in (ada, grace):
        expect(tab.messages).to_have_text(["Hello, Grace!", "Hello, Ada!"])

    grace.open_room("engines")
    ada.room("engines").click()
    ada.expect_in_room("engines")
    expect(ada.room("engines")).to_have_accessible_name("engines 2 here joined")
    expect(grace.log).to_contain_text("Ada joined")
    grace.page.close()
    expect(ada.log).to_contain_text("Grace left")
    expect(ada.people).to_have_text(["Ada"])


def test_a_name_is_taken_on_every_worker(open_tab: OpenTab) -> None:
    open_tab("Ada")
    other = open_tab()
    for _ in range(4):  # whichever worker that is
        other.log_in("Ada")
        expect(other.notice).to_contain_text("Ada is taken")
        other.page.reload()
    other.forgive_network_trouble()


def test_the_operator_reaches_every_worker(open_tab: OpenTab, operator: OperatorPage) -> None:
    ada, grace = on_two_workers(open_tab)
    expect(operator.people).to_have_text(["Ada", "Grace"])
    operator.announce("Tea is ready")
    for tab in (ada, grace):
        expect(tab.log).to_contain_text("Tea is ready")
    for tab, name in ((ada, "Ada"), (grace, "Grace")):
        stored = tab.page.evaluate("Object.entries(sessionStorage)")
        operator.revoke(name)
        expect(tab.notice).to_contain_text("operator ended your login")
        # The old login is refused on every worker.
        tab.page.evaluate("entries => entries.forEach((entry) => sessionStorage.setItem(...entry))", stored)
        for _ in range(3):
            tab.page.reload()
            expect(tab.notice).to_contain_text("operator ended your login")
            tab.page.evaluate("entries => entries.forEach((entry) => sessionStorage.setItem(...entry))", stored)
        tab.forgive_network_trouble()


def test_a_gap_is_shown_after_redis_was_away(open_tab: OpenTab, redis: RedisProcess) -> None:
    ada, grace = on_two_workers(open_tab)
    redis.kill()
    redis.start()
    for tab in (ada, grace):
        expect(tab.log).to_contain_text("you may have missed messages")
        expect(tab.state).to_have_text("Connected")
    ada.say("Still there?")
    expect(grace.messages).to_have_text(["Still there?"])
