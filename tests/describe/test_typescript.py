"""Generated types under the TypeScript compiler, which runs once for all tests."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from pydantic import BaseModel, create_model

from quart_wshub import MessageRouter
from quart_wshub.description.typescript import OWN_NAMES, RESERVED_NAME, typescript
from tests.describe.app import messages
from tests.describe.corner_cases import CASES
from tests.describe.routers import router_of
from tests.describe.variety import ROUNDS, make_samples
from tests.harness.node import run_node
from tests.harness.server import ROOT

SAMPLES = Path(__file__).parent / "typescript"
CLIENT = ROOT / "quart_wshub" / "static"

OPTIONS = (
    *("--strict", "--noEmit", "--skipLibCheck", "--target", "es2022"),
    *("--module", "esnext", "--moduleResolution", "bundler"),
)

_ERROR = re.compile(r"^(\S+\.ts)\((\d+),\d+\): error TS\d+: ", re.MULTILINE)


class Compiled:
    """The output of the compiler, and the lines it is about."""

    def __init__(self, folder: Path, output: str) -> None:
        self._folder = folder
        self.output = output
        self._errors = [(match[1], int(match[2])) for match in _ERROR.finditer(output)]

    def files_with_errors(self) -> set[str]:
        return {file for file, _ in self._errors}

    def errors_of(self, file: str) -> list[str]:
        """The lines with an error."""
        numbers = sorted({number for found, number in self._errors if found == file})
        lines = self.lines_of(file)
        return [lines[number - 1] for number in numbers]

    def lines_of(self, file: str) -> list[str]:
        # Not `splitlines`, which splits at more characters than the compiler counts.
        return (self._folder / file).read_text().split("\n")

    def wrong_lines_of(self, file: str) -> list[str]:
        """The lines marked as wrong."""
        return [line for line in self.lines_of(file) if line.endswith("// wrong")]


@pytest.fixture(scope="session")
def compiled(npm_modules: Path, tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    folder = tmp_path_factory.mktemp("typescript")
    write_all(folder)
    names = sorted(path.name for path in folder.glob("*.ts") if not path.name.endswith(".d.ts"))
    done = run_node(npm_modules / "typescript" / "bin" / "tsc", *OPTIONS, *names, cwd=folder)
    assert done.returncode in (0, 1, 2), done.stderr
    assert all(_ERROR.match(line) or line.startswith(" ") for line in done.stdout.splitlines()), done.stdout
    return Compiled(folder, done.stdout)


def write_all(folder: Path) -> None:
    for path in [*SAMPLES.glob("*.ts"), CLIENT / "wshub.d.ts", CLIENT / "wshub.js"]:
        shutil.copy(path, folder)
    (folder / "chat.ts").write_text(typescript(messages))
    (folder / "empty.ts").write_text(typescript(MessageRouter()))
    (folder / "names.ts").write_text(typescript(router_of({name: empty_model(name) for name in hard_names()})))
    write_corner_cases(folder)
    for seed in range(ROUNDS):
        write_variety(folder, seed)


def empty_model(name: str) -> type[BaseModel]:
    return create_model(name, itself=(int, 1))


def hard_names() -> list[str]:
    """Names of models that no interface may have, or that the module itself uses."""
    return sorted({*RESERVED_NAME.pattern.split("|"), *OWN_NAMES, "a-b", "a.b", "a b", "1st", "Ä", "$x", "Record"})


def write_corner_cases(folder: Path) -> None:
    models: dict[str, type[BaseModel]] = {
        name: create_model(name, it=(kind, ...)) for name, (kind, _, _) in CASES.items()
    }
    (folder / "corners.ts").write_text(typescript(router_of(models)))
    lines = ['import type { ClientMessages as C } from "./corners.js";', "export const all: unknown[] = [];"]
    for name, (_, right, wrong) in CASES.items():
        lines += (assignment(name, value) for value in right)
        lines += (f"{assignment(name, value)} // wrong" for value in wrong)
    (folder / "corner_cases.ts").write_text("\n".join(lines))


def assignment(name: str, value: str) -> str:
    return f"all.push({{ it: {value} }} satisfies C[{json.dumps(name)}]);"


def write_variety(folder: Path, seed: int) -> None:
    samples = make_samples(seed)
    (folder / f"models{seed}.ts").write_text(typescript(router_of({sample.name: sample.model for sample in samples})))
    lines = [
        f'import type {{ ClientMessages as C, ServerMessages as S }} from "./models{seed}.js";',
        "export const all: unknown[] = [];",
    ]
    for sample in samples:
        lines.append(f"all.push({json.dumps(sample.received)} satisfies C[{json.dumps(sample.name)}]);")
        lines.append(f"all.push({json.dumps(sample.sent)} satisfies S[{json.dumps(sample.name)}]);")
    (folder / f"variety{seed}.ts").write_text("\n".join(lines))


def test_an_app_that_uses_the_types_correctly_compiles(compiled: Compiled) -> None:
    assert compiled.errors_of("sample.ts") == []


def test_every_misuse_is_an_error(compiled: Compiled) -> None:
    assert compiled.errors_of("misuse.ts") == compiled.wrong_lines_of("misuse.ts") != []


def test_corner_cases_accept_exactly_the_right_values(compiled: Compiled) -> None:
    assert compiled.errors_of("corner_cases.ts") == compiled.wrong_lines_of("corner_cases.ts") != []


def test_what_a_model_accepts_and_produces_has_its_type(compiled: Compiled) -> None:
    assert [compiled.errors_of(f"variety{seed}.ts") for seed in range(ROUNDS)] == [[] for _ in range(ROUNDS)]


def test_all_that_is_generated_compiles(compiled: Compiled) -> None:
    assert compiled.files_with_errors() == {"misuse.ts", "corner_cases.ts"}, compiled.output
