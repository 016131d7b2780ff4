"""The `quart-wshub` command: its output, and its errors."""

from __future__ import annotations

import json
import os
import pkgutil
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError
from typing import TYPE_CHECKING, TypeAlias

import pytest

from quart_wshub.cli.main import main
from quart_wshub.description.asyncapi import asyncapi
from quart_wshub.description.typescript import typescript
from tests.describe.app import messages
from tests.harness.server import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

APP = "tests.describe.app:messages"

MODULE = """
from pydantic import create_model
from quart_wshub import MessageRouter

class Inner:
    messages = MessageRouter()

number = 5

def failing():
    raise ValueError("no\\nway")

def numbering():
    return 5

surrogate = MessageRouter()
surrogate.sends("news", create_model("News"), description="\\ud800")

def undescribable():
    from collections.abc import Callable
    router = MessageRouter()
    router.sends("bad", create_model("Bad", it=(Callable[[], int], ...)))
    return router
"""

Run: TypeAlias = "Callable[..., tuple[int, str, str]]"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with an app; what is imported from it is forgotten again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    (tmp_path / "cli_app.py").write_text(MODULE)
    (tmp_path / "cli_broken.py").write_text("import cli_missing_dependency")
    (tmp_path / "cli_syntax.py").write_text("def")
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("cli_"):
            del sys.modules[name]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> tuple[int, str, str]:
        try:
            status = main(arguments)
        except SystemExit as stop:
            status = int(stop.code or 0)
        sys.stdout.flush()
        captured = capfd.readouterr()
        return status, captured.out, captured.err

    return run


def test_types_go_to_standard_output(run: Run) -> None:
    assert run("types", APP) == (0, typescript(messages), "")


def test_the_document_goes_to_standard_output(run: Run) -> None:
    status, out, err = run("asyncapi", APP)

    assert (status, json.loads(out), err) == (0, asyncapi(messages), "")


def test_the_document_has_its_options(run: Run) -> None:
    options = ("--title", "Chat", "--api-version", "2", "--path", "/live", "--host", "a.example")

    _, out, _ = run("asyncapi", APP, *options)

    assert json.loads(out) == asyncapi(messages, title="Chat", version="2", path="/live", host="a.example")


def test_types_go_to_a_file(run: Run, elsewhere: Path) -> None:
    assert run("types", APP, "-o", "types.ts") == (0, "", "")
    assert (elsewhere / "types.ts").read_text() == typescript(messages)


@pytest.mark.parametrize("app", [APP, "cli_app:surrogate"])
@pytest.mark.parametrize("command", ["types", "asyncapi"])
def test_check_passes_if_the_file_is_up_to_date(run: Run, elsewhere: Path, command: str, app: str) -> None:
    run(command, app, "-o", "file")
    assert run(command, app, "-o", "file", "--check") == (0, "", "")

    (elsewhere / "file").write_bytes((elsewhere / "file").read_bytes().replace(b"\n", b"\r\n"))
    assert run(command, app, "-o", "file", "--check") == (0, "", "")


@pytest.mark.parametrize("content", [b"", b"\xff", None])
def test_check_fails_if_the_file_is_out_of_date(run: Run, elsewhere: Path, content: bytes | None) -> None:
    path = elsewhere / "types.ts"
    if content is not None:
        path.write_bytes(content)

    status, out, err = run("types", APP, "-o", "types.ts", "--check")

    assert (status, out) == (1, "")
    state = "does not exist" if content is None else "is out of date"
    assert err == f"quart-wshub: types.ts {state}; write it with: quart-wshub types {APP} -o types.ts\n"
    assert (path.read_bytes() if path.exists() else None) == content


def test_the_router_may_be_an_attribute_or_made_by_a_call(run: Run) -> None:
    assert run("types", "cli_app:Inner.messages")[0] == 0
    assert run("types", "tests.describe.app:make_messages")[0] == 0


LOADING_FAILS = {
    "cli_nowhere:messages": "ModuleNotFoundError: No module named 'cli_nowhere'",
    "cli_broken:messages": "ModuleNotFoundError: No module named 'cli_missing_dependency'",
    "cli_syntax:messages": "SyntaxError: ",
    ".relative:messages": "ValueError: ",
    "cli_app:mesages": "AttributeError: module 'cli_app' has no attribute 'mesages'",
    "cli_app:Inner.x": "AttributeError: type object 'Inner' has no attribute 'x'",
    "cli_app:failing": "ValueError: no way",
}

REFUSED = {
    "cli_app": "'cli_app' is not MODULE:NAME, such as app:messages",
    ":messages": "':messages' is not MODULE:NAME, such as app:messages",
    "cli_app:number": "cli_app:number is a int, and not a MessageRouter or a function that makes one",
    "cli_app:numbering": "cli_app:numbering is a int, and not a MessageRouter or a function that makes one",
    "cli_app:undescribable": "cli_app.Bad has no JSON schema: ",
    **{target: f"loading {target} failed: {error}" for target, error in LOADING_FAILS.items()},
}


@pytest.mark.parametrize("target", REFUSED)
def test_an_error_is_one_line(run: Run, target: str) -> None:
    for command in ("types", "asyncapi"):
        status, out, err = run(command, target)

        assert (status, out) == (2, "")
        assert err.startswith(f"quart-wshub: {REFUSED[target]}")
        assert err.count("\n") == 1


def test_a_file_that_cannot_be_written_is_an_error(run: Run) -> None:
    status, _, err = run("types", APP, "-o", "no/such/folder.ts")

    assert (status, err) == (2, "quart-wshub: cannot write no/such/folder.ts: No such file or directory\n")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["types"], "the following arguments are required: MODULE:NAME"),
        (["tipes", APP], "invalid choice: 'tipes'"),
        (["types", APP, "--check"], "--check needs -o FILE"),
        (["types", APP, "--host", "a"], "unrecognized arguments: --host a"),
    ],
)
def test_bad_usage_is_an_error(run: Run, arguments: list[str], why: str) -> None:
    status, out, err = run(*arguments)

    assert (status, out) == (2, "")
    assert err.startswith("usage: quart-wshub")
    assert why in err


def test_the_version_is_that_of_the_package(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quart_wshub.cli.main.version", {"quart-wshub": "1.2.3"}.__getitem__)

    assert run("--version") == (0, "quart-wshub 1.2.3\n", "")


def test_a_checkout_that_is_not_installed_has_no_version(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("quart_wshub.cli.main.version", version)

    assert run("--version") == (0, "quart-wshub (not installed)\n", "")


def test_help_explains_the_exit_status(run: Run) -> None:
    for arguments in (["--help"], ["types", "--help"], ["asyncapi", "--help"]):
        status, out, _ = run(*arguments)

        assert status == 0
        assert "1 if --check finds a difference" in " ".join(out.split())


def test_the_pages_example_is_an_app(run: Run, elsewhere: Path) -> None:
    page = (ROOT / "docs" / "describe.md").read_text()
    (elsewhere / "cli_page.py").write_text(page.split("```python\n")[1].split("```")[0])

    status, out, _ = run("types", "cli_page:messages")

    assert status == 0
    assert '  /** Say something in a room. */\n  "chat.send": ChatSend;\n' in out
    assert '  "chat.send": ChatSent;\n' in out
    assert '  | "room_full";\n' in out


def test_it_can_be_run_as_a_module(elsewhere: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "quart_wshub", "types", "cli_app:Inner.messages", "-o", "out.ts"],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "export interface Protocol" in (elsewhere / "out.ts").read_text()


def test_the_command_is_this_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert pkgutil.resolve_name(project["scripts"]["quart-wshub"]) is main
