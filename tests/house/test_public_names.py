"""The package's face: what it names is there, and is loaded only when asked for."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import kprobesim

SOURCE = Path(kprobesim.__file__)


def test_the_table_of_homes_is_what_type_checkers_see() -> None:
    blocks = [node for node in ast.parse(SOURCE.read_text()).body if isinstance(node, ast.If)]
    (checked,) = blocks
    seen = {
        alias.name: (node.module or "").removeprefix("kprobesim.")
        for node in checked.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == kprobesim._HOME_OF
    assert set(seen) == set(kprobesim.__all__)


def test_every_name_is_there() -> None:
    for name in kprobesim.__all__:
        assert getattr(kprobesim, name) is not None
        assert name in dir(kprobesim)


def test_nothing_heavy_is_loaded_before_it_is_asked_for() -> None:
    program = (
        "import sys, kprobesim\n"
        "heavy = {'unicorn', 'capstone', 'lief', 'rich', 'elftools'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_what_asks_kernels_loads_no_emulator_and_no_extra() -> None:
    program = (
        "import sys\n"
        "import kprobesim.cli.catalog, kprobesim.cli.compat, kprobesim.cli.diff\n"
        "import kprobesim.cli.types, kprobesim.survey.build, kprobesim.compat.run\n"
        "heavy = {'unicorn', 'pyarrow', 'duckdb', 'symbolic', 'distributed'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
