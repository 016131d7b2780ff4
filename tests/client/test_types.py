"""`wshub.d.ts`: correct code compiles, each misuse does not, and the types name exactly what the class has."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.harness.node import run_node
from tests.harness.server import ROOT

TYPES = Path(__file__).parent / "types"

DECLARATIONS = ROOT / "quart_wshub" / "static" / "wshub.d.ts"

STRICT = (
    *("--strict", "--noEmit", "--pretty", "false", "--exactOptionalPropertyTypes", "--noUnusedLocals"),
    *("--target", "es2022", "--module", "nodenext", "--lib", "es2023,dom,dom.iterable"),
)

MEMBERS = """
import { WSHubClient } from "./quart_wshub/static/wshub.js";
const client = new WSHubClient("ws://a.test", { autoConnect: false });
const names = [...Object.getOwnPropertyNames(WSHubClient.prototype), ...Object.keys(client)];
console.log(JSON.stringify(names.filter((name) => name !== "constructor").sort()));
"""


def compile_typescript(npm_modules: Path, *files: str) -> list[str]:
    """The lines that the compiler prints."""
    done = run_node(npm_modules / "typescript" / "bin" / "tsc", *STRICT, *files, cwd=TYPES)
    return done.stdout.splitlines()


def test_an_app_that_uses_everything_compiles_strictly(npm_modules: Path) -> None:
    assert compile_typescript(npm_modules, "sample.ts") == []


def test_each_misuse_is_an_error(npm_modules: Path) -> None:
    lines = (TYPES / "misuse.ts").read_text().splitlines()
    wrong = {number for number, line in enumerate(lines, start=1) if line.endswith("// wrong")}

    errors = compile_typescript(npm_modules, "misuse.ts")
    assert {int(number) for number in re.findall(r"^misuse\.ts\((\d+),", "\n".join(errors), re.MULTILINE)} == wrong


def test_the_types_name_exactly_what_the_class_has() -> None:
    done = run_node("--input-type=module", "--eval", MEMBERS, cwd=ROOT)
    body = DECLARATIONS.read_text().partition("export class WSHubClient")[2]
    declared = set(re.findall(r"^  (?:readonly )?(\w+)(?=[<(:])", body, re.MULTILINE)) - {"constructor"}

    assert sorted(declared) == json.loads(done.stdout), done.stderr
