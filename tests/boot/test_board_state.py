"""A board's state, loaded into another board, goes on exactly as the first one does."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from machine.test_cpu_state import host_pointers

from kprobesim import Stop, UsageError
from kprobesim.boot.board import Board
from kprobesim.boot.boards import board_class
from kprobesim.boot.initramfs import built_in_initramfs
from kprobesim.image import KernelImage, load_image

MEMORY = 128 << 20


def boot(image: KernelImage) -> Board:
    console = "console=ttyS0" if image.arch == "x86_64" else "console=ttyAMA0"
    return board_class(image.arch)(
        image, initrd=built_in_initramfs(image.arch), append=console, memory=MEMORY
    )


def moved(board: Board, image: KernelImage) -> Board:
    """Another board with the state of ``board``, which went through text."""
    state = json.loads(json.dumps(board.save_state(), default=_from_bytes), object_hook=_to_bytes)
    assert host_pointers(state["cpus"][0]["registers"]) == []
    other = board_class(image.arch).empty(image, len(board.ram))
    other.ram[:] = board.ram[:]
    other.load_state(state)
    return other


def _from_bytes(value: bytes) -> dict[str, str]:
    assert type(value) is bytes
    return {"hex": value.hex()}


def _to_bytes(value: dict[str, Any]) -> Any:
    return bytes.fromhex(value["hex"]) if set(value) == {"hex"} else value


def outcome(board: Board) -> tuple[Any, ...]:
    reason = board.run(timeout=120)
    return reason.kind, board.console.text, board.clock.now(), board.exceptions()


def idle_times(board: Board) -> list[int]:
    """From now on: a moment in the middle of each time that the guest waits."""
    times: list[int] = []
    wait = board._idle

    def recorded(ends_at: int | None) -> None:
        start = board.clock.now()
        wait(ends_at)
        times.append((start + board.clock.now()) // 2)

    board._idle = recorded  # type: ignore[method-assign]
    return times


@pytest.mark.real_kernel
def test_goes_on_exactly_from_any_point(real_image: Path) -> None:
    image = load_image(real_image)
    first = boot(image)
    assert first.run(seconds=2e-7, timeout=60).kind is Stop.SECONDS  # no page tables yet (ARM64)
    other = moved(first, image)
    times = idle_times(other)
    expected = outcome(other)
    assert expected[0] in (Stop.POWER_OFF, Stop.HALT)
    assert "17 of 17 steps passed" in expected[1]
    assert first.run("kprobesim init", timeout=60).kind is Stop.TEXT  # in a program's system call
    assert outcome(moved(first, image)) == expected
    idle = (times[-1] - first.clock.now()) / 1e9
    assert first.run(seconds=idle, timeout=60).kind is Stop.SECONDS
    assert outcome(moved(first, image)) == expected
    assert outcome(first) == expected


def small(arch: str) -> Board:
    return board_class(arch).empty(None, 16 << 20)  # type: ignore[arg-type]


def test_a_state_is_plain_data_without_pointers(arch: str) -> None:
    state = small(arch).save_state()

    def check(value: Any) -> None:
        if type(value) is dict:
            assert all(type(key) is str for key in value)
            value = list(value.values())
        if type(value) is list:
            for item in value:
                check(item)
        elif type(value) is int:
            assert 0 <= value < 1 << 63
        else:
            assert value is None or type(value) in (bool, str, bytes)

    check(state)
    assert small(arch).save_state() == state
    assert host_pointers(state["cpus"][0]["registers"]) == []


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items: Any = value.items() if type(value) is dict else ()
    if type(value) is list:
        items = enumerate(value[:3])
    found = [path] if path else []
    for key, item in items:
        found += _places(item, (*path, key))
    return found


def test_a_damaged_state_is_refused_and_changes_nothing(arch: str) -> None:
    board = small(arch)
    state = board.save_state()
    for path in _places(state):
        for wrong in ("wrong", -1, 1 << 200, [], {}, b"", 1.5, [["a"]], {"a": 1}):
            damaged = copy.deepcopy(state)
            owner: Any = damaged
            for key in path[:-1]:
                owner = owner[key]
            if owner[path[-1]] == wrong or (type(wrong) is bytes and path[-1] in FREE_BYTES):
                continue
            if wrong == [] and path[-1] in FREE_LISTS:
                continue
            if type(wrong) is str and path[-1] == "append":
                continue
            owner[path[-1]] = wrong
            with pytest.raises(UsageError, match="state"):
                board.load_state(damaged)
            assert board.save_state() == state
    for wrong in (None, b"", [], {}, {**state, "more": 1}):  # type: ignore[assignment]
        with pytest.raises(UsageError, match="state"):
            board.load_state(wrong)


FREE_BYTES = ("output", "input", "looped")
FREE_LISTS = ("running", "places", "functions")


def test_the_state_of_another_board_is_refused(arch: str) -> None:
    state = small(arch).save_state()
    other = small("arm64" if arch == "x86_64" else "x86_64")
    with pytest.raises(UsageError, match="arch"):
        other.load_state(state)
    with pytest.raises(UsageError, match="memory"):
        board_class(arch).empty(None, 17 << 20).load_state(state)  # type: ignore[arg-type]
    state["cpus"][0]["unicorn"] = "2.1.3"
    with pytest.raises(UsageError, match=r"unicorn '2\.1\.3'"):
        small(arch).load_state(state)


def test_no_board_for_other_architectures() -> None:
    with pytest.raises(UsageError, match="riscv64"):
        board_class("riscv64")
