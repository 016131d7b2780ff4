"""The `quart-wshub` command: writes descriptions of an app to files."""

from __future__ import annotations

import argparse
import json
import pkgutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from quart_wshub.description.asyncapi import asyncapi
from quart_wshub.description.catalog import Described
from quart_wshub.description.typescript import typescript
from quart_wshub.protocol.errors import ConfigurationError, WSHubError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

DIFFERS, UNUSABLE = 1, 2

EPILOG = "Exit status: 0, 1 if --check finds a difference, 2 if the command fails."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments, or the process's, and return its exit status.

    Raises:
        SystemExit: as `argparse` does, for ``--help``, ``--version`` and bad usage.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.check and options.output is None:
        parser.error("--check needs -o FILE, the file to compare with")
    try:
        content = _write(options)
        if options.check:
            return _check(options, content)
        _put(options.output, content)
    except WSHubError as error:
        return _fail(str(error), UNUSABLE)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("quart-wshub", description="Describe the messages of an app.", epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"quart-wshub {_version()}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_command(commands, "types", "write TypeScript types of all messages")
    command = _add_command(commands, "asyncapi", "write an AsyncAPI 3.0.0 document (JSON)")
    command.add_argument("--title", default="WebSocket API", help="the API's name (default: %(default)s)")
    command.add_argument("--api-version", default="1.0.0", metavar="VERSION", help="(default: %(default)s)")
    command.add_argument("--path", default="/ws", help="the WebSocket route (default: %(default)s)")
    command.add_argument("--host", help="where the API is served, such as api.example.com")
    return parser


def _version() -> str:
    try:
        return version("quart-wshub")
    except PackageNotFoundError:
        return "(not installed)"


def _add_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=text.capitalize() + ".", epilog=EPILOG)
    command.add_argument(
        "messages", metavar="MODULE:NAME", help="a MessageRouter, or a function without arguments that makes one"
    )
    command.add_argument("-o", "--output", type=Path, metavar="FILE", help="where to write (default: standard output)")
    command.add_argument("--check", action="store_true", help="write nothing; fail if FILE is not up to date")
    return command


def _write(options: argparse.Namespace) -> bytes:
    messages = _load(options.messages)
    if options.command == "types":
        text = typescript(messages)
    else:
        document = asyncapi(
            messages, title=options.title, version=options.api_version, path=options.path, host=options.host
        )
        text = json.dumps(document, ensure_ascii=False, indent=2) + "\n"
    # "replace", because the app's texts may hold lone surrogates, which cannot be encoded.
    return text.encode("utf-8", "replace")


def _load(target: str) -> Described:
    """The router that `MODULE:NAME` stands for; like hypercorn, this finds modules in the working directory."""
    module_name, _, name = target.partition(":")
    if not module_name or not name:
        msg = f"{target!r} is not MODULE:NAME, such as app:messages"
        raise ConfigurationError(msg)
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = pkgutil.resolve_name(target)
        if callable(found) and not isinstance(found, Described):
            found = found()
    except Exception as error:
        msg = f"loading {target} failed: {type(error).__name__}: {' '.join(str(error).split())}"
        raise ConfigurationError(msg) from error
    if not isinstance(found, Described):
        msg = f"{target} is a {type(found).__name__}, and not a MessageRouter or a function that makes one"
        raise ConfigurationError(msg)
    return found


def _check(options: argparse.Namespace, content: bytes) -> int:
    output: Path = options.output
    try:
        current = output.read_bytes()
    except OSError:
        current = b""
    if current.replace(b"\r\n", b"\n") == content:  # on some machines git checks files out with CRLF
        return 0
    state = "is out of date" if output.exists() else "does not exist"
    return _fail(
        f"{output} {state}; write it with: quart-wshub {options.command} {options.messages} -o {output}", DIFFERS
    )


def _put(output: Path | None, content: bytes) -> None:
    if output is None:
        sys.stdout.buffer.write(content)
        return
    try:
        output.write_bytes(content)
    except OSError as error:
        msg = f"cannot write {output}: {error.strerror}"
        raise ConfigurationError(msg) from error


def _fail(text: str, status: int) -> int:
    print(f"quart-wshub: {text}", file=sys.stderr)
    return status
