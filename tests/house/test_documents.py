"""Every code block of the README and of the other documents runs as it is printed.

The blocks of a document run in order, in one folder where ``amd64.deb`` and ``arm64.deb`` lie, and
``vmlinux``, a sample guest. Python blocks share their names. A block's language says what it is:

- ``python``: is run;
- ``pycon``: lines behind ``>>>`` are run, and print what stands below each (as in ``console``);
- ``console``: lines behind ``$`` are run, and what stands below each is what it prints (``...``
  stands for anything, within a line and for lines);
- ``sh``: commands, one a line, that are run;
- ``text``, ``c``, ``yaml``, ``mermaid``: only to be read.

Commands of ``make``, ``pip`` and ``git``, and those that need an archive, are not run but must
exist: the targets in the Makefile.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from kprobesim.cli.main import main

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "samples/*.md", "benchmarks/*.md")
    for path in ROOT.glob(pattern)
)
READ_ONLY = {"text", "c", "yaml", "toml", "json", "mermaid"}
NOT_HERE = (["kprobesim", "fetch"],)
TARGETS = set(re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))

pytestmark = pytest.mark.real_kernel


class Block(NamedTuple):
    """One fenced block of a document."""

    line: int
    language: str
    text: str


def _blocks(path: Path) -> Iterator[Block]:
    language, start, lines = None, 0, list[str]()
    for number, line in enumerate(path.read_text().splitlines(), 1):
        fence = re.match(r"\s*```(\w*)", line)
        if fence is None:
            lines.append(line)
        elif language is None:
            language, start, lines = fence[1], number, []
        else:
            yield Block(start, language, "\n".join(lines) + "\n")
            language = None
    assert language is None, f"{path.name}:{start}: the block has no end"


@pytest.fixture
def folder(tmp_path: Path, real_images: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the documents speak of, as the current one."""
    for arch, debian in (("x86_64", "amd64"), ("arm64", "arm64")):
        (tmp_path / f"{debian}.deb").symlink_to(real_images[arch].resolve())
    (tmp_path / "vmlinux").symlink_to(ROOT / "samples/guest-x86_64.elf")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_blocks_say_what_they_are(path: Path) -> None:
    known = {"python", "pycon", "console", "sh", *READ_ONLY}
    assert [block for block in _blocks(path) if block.language not in known] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_blocks_run_as_printed(
    path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, object] = {"__name__": "__main__"}
    for block in _blocks(path):
        where = f"{path.relative_to(ROOT)}:{block.line}"
        if block.language == "python":
            code = compile("\n" * block.line + block.text, str(path), "exec")
            exec(code, names)
        elif block.language == "pycon":
            for example in doctest.DocTestParser().get_examples(block.text):
                printed = _printed(example.source, names)
                assert _matches(example.want, printed), (
                    f"{where}: {example.source}prints\n{printed}\nand not\n{example.want}"
                )
        elif block.language == "sh":
            for command in block.text.splitlines():
                assert _run(command, where) == 0, f"{where}: {command}\n{capsys.readouterr().err}"
        elif block.language == "console":
            for command, expected in _sessions(block.text):
                capsys.readouterr()
                status = _run(command, where)
                done = capsys.readouterr()
                if expected.strip():
                    assert _matches(expected, done.out + done.err), (
                        f"{where}: {command}\nprints\n{done.out}{done.err}\nand not\n{expected}"
                    )
                else:
                    assert status == 0, f"{where}: {command}\n{done.err}"


def _printed(source: str, names: dict[str, object]) -> str:
    """What Python's prompt prints of a statement or an expression."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(source, "<prompt>", "single"), names)
    return out.getvalue()


def _run(line: str, where: str) -> int:
    """The exit status of one command of ours; others must only be known."""
    words = shlex.split(line, comments=True)
    if not words:
        return 0
    if words[0] == "make":
        assert {word for word in words[1:] if "=" not in word} <= TARGETS, f"{where}: {line}"
        return 0
    if words[0] in ("pip", "git", "cd", "apt-get") or words[:2] in NOT_HERE:
        return 0
    assert words[0] == "kprobesim", f"{where}: what is {words[0]!r}?"
    return main(words[1:])


def _sessions(text: str) -> Iterator[tuple[str, str]]:
    """Each command behind a ``$`` with the output that is printed below it."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def _matches(expected: str, printed: str) -> bool:
    """Whether ``printed`` is ``expected``; ``...`` there stands for anything."""
    parts = [re.escape(part.strip()) for part in expected.split("...")]
    flat = r"[\s\S]*".join(re.sub(r"(\\?\s)+", r"\\s+", part) for part in parts)
    return re.fullmatch(rf"\s*{flat}\s*", printed) is not None
