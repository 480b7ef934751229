"""What is loaded and run is told to the logger "kprobesim", and to nobody unless asked."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from kprobesim import Kernel
from kprobesim.cli.main import main


def test_loading_is_logged(sample: Path, arch: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "kprobesim"):
        k = Kernel.load(sample)
        k.load_module(sample.with_name(f"module-{arch}.ko"))
        k.unload_module("kprobesim_sample")
    loaded, module, unloaded = (record.getMessage() for record in caplog.records)
    assert loaded == f"loaded {sample}: {k.version}, {arch}, vmlinux ELF"
    assert module.startswith("loaded module kprobesim_sample at 0xffff")
    assert unloaded == "unloaded module kprobesim_sample"


def test_silent_unless_asked(sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["call", str(sample), "fib(10)"]) == 0
    assert "loaded" not in capsys.readouterr().err
