"""What is known of a kernel that does not run: sample guests, and a real kernel of each kind."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import pytest
from makers.package_maker import make_deb

from kprobesim import ImageError, Reason, UsageError
from kprobesim.image import load_image
from kprobesim.image.config import parse_config, read_config
from kprobesim.image.tables.tracepoints import raw_tracepoints
from kprobesim.survey.known import open_known


def test_everything_of_a_small_kernel_can_be_asked(sample: Path, arch: str) -> None:
    kernel = open_known(sample)
    assert (kernel.arch, kernel.path, kernel.name) == (arch, sample, kernel.release)
    assert kernel.rules.check("fib").errno == 0
    assert kernel.rules.check("nowhere").reason is Reason.UNKNOWN_SYMBOL
    assert kernel.btf is None and kernel.config is None
    assert kernel.trace_events == frozenset() and kernel.raw_tracepoints == frozenset()


def test_a_module_is_found_and_read(sample: Path, arch: str) -> None:
    kernel = open_known(sample)
    name = kernel.rules.offer(sample.parent / f"module-{arch}.ko")
    assert name in kernel.modules and kernel.modules_with("sample_add") == (name,)
    assert "sample_add" in {symbol.name for symbol in kernel.module_symbols(name)}
    assert kernel.module_types(name) is None  # it was built without types
    assert kernel.module_symbols("nowhere") == () and kernel.module_file("nowhere") is None
    with pytest.raises(UsageError, match="no module nowhere"):
        kernel.module_types("nowhere")


def test_tracepoints_are_told_by_their_iterators_and_their_data() -> None:
    names = [b"__traceiter_kfree", b"__tracepoint_kfree", b"__tracepoint_napi_poll", b"kfree"]
    assert raw_tracepoints(names) == {"kfree", "napi_poll"}


def test_a_configuration_is_parsed() -> None:
    text = 'CONFIG_A=y\r\n# CONFIG_B is not set\nCONFIG_C="x=y"\n# a comment\nCONFIG_D=0x10\n'
    wanted = {"CONFIG_A": "y", "CONFIG_B": "n", "CONFIG_C": '"x=y"', "CONFIG_D": "0x10"}
    assert parse_config(text) == wanted


def test_a_configuration_is_found_wherever_it_lies(tmp_path: Path, sample: Path) -> None:
    alone = tmp_path / "vmlinux"
    alone.write_bytes(sample.read_bytes())
    assert open_known(alone).config is None
    release = open_known(alone).release
    (tmp_path / ".config").write_text("CONFIG_A=1\n")
    assert open_known(alone).config == {"CONFIG_A": "1"}
    (tmp_path / f"config-{release}").write_text("CONFIG_A=2\n")
    assert open_known(alone).config == {"CONFIG_A": "2"}
    package = tmp_path / "kernel.deb"
    files = {"./boot/vmlinux-1": sample.read_bytes(), "./boot/config-1": b"CONFIG_A=3\n"}
    package.write_bytes(make_deb(files))
    assert open_known(package).config == {"CONFIG_A": "3"}


def test_a_configuration_in_the_image_comes_first(tmp_path: Path, sample: Path) -> None:
    path = tmp_path / "vmlinux"
    path.write_bytes(sample.read_bytes())
    (tmp_path / ".config").write_text("CONFIG_A=1\n")
    image = load_image(path)
    mark, packed = b"IKCFG_ST", gzip.compress(b"CONFIG_A=4\n")
    first, *others = image.segments
    for data, wanted in ((mark + packed + b"IKCFG_ED", "4"), (mark + packed[:20], "1")):
        image.segments = (replace(first, data=memoryview(bytes(first.data) + data)), *others)
        assert read_config(image) == {"CONFIG_A": wanted}


def test_what_is_no_kernel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError):
        open_known(tmp_path / "nothing")
    (tmp_path / "text").write_text("hello\n" * 100)
    with pytest.raises(ImageError):
        open_known(tmp_path / "text")


def test_a_real_kernel_tells_its_tracepoints_and_traced_functions(real_image: Path) -> None:
    kernel = open_known(real_image)
    assert {"sched_switch", "sys_enter"} <= kernel.raw_tracepoints
    assert {"sched:sched_switch", "syscalls:sys_enter_openat"} <= kernel.trace_events
    traced = kernel.traced_functions
    address = kernel.symbols["vfs_read"].address
    assert traced[address] == "vfs_read"
    assert kernel.rules.check(addr=address).errno == 0
    assert all(map(kernel.image.is_kernel_text, traced))  # those of init are freed
    assert kernel.config is not None and kernel.config["CONFIG_KPROBES"] == "y"
