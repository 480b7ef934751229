"""The board under a kernel of a few instructions: stops, interrupts, exceptions, time."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from kprobesim.boot.faults import GuestReset
from kprobesim.boot.stop import Stop
from kprobesim.boot.x86_64.board import X86Board
from kprobesim.errors import UsageError
from kprobesim.image import KernelImage
from kprobesim.image.segment import Segment

_BASE = 0x100_0000
_MAP = 0xFFFF_FFFF_8000_0000
_IDT, _HANDLER, _USER_CODE, _USER_STACK, _TSS, _GDT = 0x3000, 0x2000, 0x2800, 0x4F00, 0x2C00, 0x5800
_MEMORY = 64 << 20


def _image(code: bytes, arch: str = "x86_64") -> KernelImage:
    segment = Segment(_BASE + _MAP, _BASE, memoryview(code), 0x1000, True, True, True, "LOAD#0")
    return KernelImage(
        Path("tiny"), arch, "test", _BASE, [segment], read_columns=lambda image: None
    )


def _board(code: str, **options: object) -> X86Board:
    arguments = {"initrd": None, "append": "", "memory": _MEMORY, **options}
    return X86Board(_image(bytes.fromhex(code)), **arguments)  # type: ignore[arg-type]


def _gate(board: X86Board, vector: int, handler: str, *, dpl: int = 0) -> None:
    """Let ``vector`` go to the code ``handler``, which is put in memory; IDTR is set."""
    at = _HANDLER + 32 * (vector & 31)
    code = bytes.fromhex(handler)
    board.ram[at : at + len(code)] = code
    entry = struct.pack("<HHBBHII", at, 0x10, 0, 0x8E | dpl << 5, 0, 0, 0)
    board.ram[_IDT + 16 * vector : _IDT + 16 * vector + 16] = entry
    board.machine.engine.write_table("idt", _IDT, 0xFFF)


def _stack(board: X86Board) -> None:
    board.machine.words[4] = 0x5000


def _tick(board: X86Board, hertz: int = 1000) -> None:
    """Let the timer interrupt as vector 0x30."""
    for port, value in ((0x20, 0x11), (0x21, 0x30), (0x21, 4), (0x21, 1), (0x21, 0xFE)):
        board.pic.write(port, 1, value)
    divisor = 1_193_182 // hertz
    for port, value in ((0x43, 0x34), (0x40, divisor & 0xFF), (0x40, divisor >> 8)):
        board.pit.write(port, 1, value)


_COUNT = "ffc3 b020 e620 48cf"  # inc ebx; mov al, 0x20; out 0x20, al; iretq


def test_enters_the_kernel_as_the_boot_protocol_says() -> None:
    board = _board("f4", initrd=b"070701", append="quiet")
    words, state = board.machine.words, board.state
    assert words[16] == _BASE
    params = bytes(board.ram[words[6] : words[6] + 4096])
    assert params[0x202:0x206] == b"HdrS"
    at, size = struct.unpack_from("<II", params, 0x218)
    assert board.ram[at : at + size] == b"070701"
    (line,) = struct.unpack_from("<I", params, 0x228)
    assert board.ram[line : line + 6] == b"quiet\0"
    assert params[0x1E8] == 4
    ram = sum(
        size
        for _, size, kind in (struct.unpack_from("<QQI", params, 0x2D0 + 20 * n) for n in range(4))
        if kind == 1
    )
    assert _MEMORY - (1 << 20) < ram < _MEMORY
    assert not state.eflags & 0x200
    assert board.machine.memory.read(_BASE, 1) == b"\xf4"


def test_halt_with_interrupts_off_is_the_end() -> None:
    board = _board("f4")
    assert board.run(timeout=10).kind is Stop.HALT
    assert board.run(timeout=10).kind is Stop.HALT, "and stays it"


def test_prints_on_the_serial_port() -> None:
    # mov dx, 0x3f8; mov al, 'H'; out dx, al; mov al, 'i'; out dx, al; hlt
    board = _board("66baf803 b048 ee b069 ee f4")
    board.run(timeout=10)
    assert board.console.text == "Hi"


def test_absent_ports_and_devices_read_all_ones() -> None:
    # xor eax, eax; mov dx, 0x1234; in eax, dx; mov esi, 0xfed00030; mov ebx, [rsi]; hlt
    board = _board("31c0 66ba3412 ed be3000d0fe 8b1e f4")
    board.run(timeout=10)
    assert board.machine.words[0] == board.machine.words[3] == 0xFFFF_FFFF


def test_time_limits_stop_a_loop() -> None:
    board = _board("ebfe")
    assert board.run(seconds=0.01).kind is Stop.SECONDS
    assert board.time == pytest.approx(0.01, abs=1e-6)
    assert board.run(timeout=0.05).kind is Stop.TIMEOUT


@pytest.mark.parametrize("loop", ["f4 ebfd", "ebfe", "fb ebfd"], ids=["hlt", "spin", "sti; spin"])
def test_timer_interrupts_idle_and_busy_guests(loop: str) -> None:
    board = _board("fb" + loop)
    _stack(board)
    _gate(board, 0x30, _COUNT)
    _tick(board)
    board.run(seconds=0.5)
    assert board.machine.words[3] == 500
    assert board.entry.counts[0x30] == 500


def test_no_interrupt_between_sti_and_the_next_instruction() -> None:
    """``sti; hlt`` must sleep, also when the interrupt waits already."""
    # again: cli; mov ecx, 1000000; dec ecx; jne -4; sti; hlt; inc r8; jmp again
    board = _board("fa b940420f00 ffc9 75fc fb f4 49ffc0 ebef")
    _stack(board)
    _gate(board, 0x30, _COUNT)
    _tick(board, 100)
    board.run(seconds=1)
    words = board.machine.words
    assert words[3] == words[8] or words[3] == words[8] + 1
    assert words[3] > 50


def test_read_of_a_byte_that_was_typed_wakes_the_guest() -> None:
    # mov dx, 0x3fc; mov al, 8; out; mov dx, 0x3f9; mov al, 1; out; sti; hlt; jmp -3
    board = _board("66bafc03 b008 ee 66baf903 b001 ee fb f4 ebfd")
    _stack(board)
    _gate(board, 0x34, "66baf803 ec ee b020 e620 48cf")  # echo
    for port, value in ((0x20, 0x11), (0x21, 0x30), (0x21, 4), (0x21, 1), (0x21, 0xEF)):
        board.pic.write(port, 1, value)
    for key in "ok":
        board.console.send(key)
        assert board.run(until=key, timeout=10).kind is Stop.TEXT


def test_page_fault_tells_address_and_code() -> None:
    # mov rax, 0x7f0000001000; mov [rax], rax; hlt
    board = _board("48b800100000007f0000 488900 f4")
    _stack(board)
    _gate(board, 14, "5b 415c 0f20d2 f4")  # pop rbx; pop r12; mov rdx, cr2; hlt
    board.run(timeout=10)
    words = board.machine.words
    assert (words[3], words[12], words[2]) == (2, _BASE + 10, 0x7F00_0000_1000)


def test_undefined_instruction_and_breakpoint() -> None:
    board = _board("cc 0f0b f4")
    _stack(board)
    _gate(board, 3, "4c8b0424 48cf")  # mov r8, [rsp]; iretq
    _gate(board, 6, "4c8b0c24 4883042402 48cf")  # mov r9, [rsp]; add qword [rsp], 2; iretq
    assert board.run(timeout=10).kind is Stop.HALT
    words = board.machine.words
    assert (words[8], words[9]) == (_BASE + 1, _BASE + 1)


def test_fault_without_a_handler_resets() -> None:
    board = _board("0f0b")
    with pytest.raises(GuestReset, match="triple fault"):
        board.run(timeout=10)


def test_bad_stack_becomes_a_double_fault() -> None:
    board = _board("0f0b")
    board.machine.words[4] = 0x7F00_0000_0000
    _gate(board, 6, "f4")
    _gate(board, 8, "f4")
    struct.pack_into("<H", board.ram, _IDT + 16 * 8 + 4, 0x8E01)  # IST 1
    struct.pack_into("<Q", board.ram, _TSS + 36, 0x5000)
    board.state.tr_base, board.state.tr_limit = _TSS, 0x67
    assert board.run(timeout=10).kind is Stop.HALT
    assert board.entry.counts[8] == 1
    assert board.machine.words[4] == 0x5000 - 48, "with an error code"


def _enter_user_space(board: X86Board, code: str) -> None:
    """Descriptors for ring 3, its pages opened, a TSS; the kernel's code is IRETQ."""
    user = bytes.fromhex(code)
    board.ram[_USER_CODE : _USER_CODE + len(user)] = user
    for level in (board.state.cr[3], board.state.cr[3] + 0x1000, board.state.cr[3] + 0x2000):
        board.ram[level] |= 4
    gdt = (
        0,
        0,
        0x00AF_9B00_0000_FFFF,
        0x00CF_9300_0000_FFFF,
        0x00CF_F300_0000_FFFF,
        0x00AF_FB00_0000_FFFF,
    )
    struct.pack_into("<6Q", board.ram, _GDT, *gdt)
    board.machine.engine.write_table("gdt", _GDT, 47)
    struct.pack_into("<Q", board.ram, _TSS + 4, 0x5000)
    board.state.tr_base, board.state.tr_limit = _TSS, 0x67
    frame = struct.pack("<5Q", _USER_CODE, 0x2B, 0x202, _USER_STACK, 0x23)
    board.ram[0x4000 : 0x4000 + len(frame)] = frame
    board.machine.words[4] = 0x4000


def test_exception_from_user_space_switches_the_stack_and_comes_back() -> None:
    board = _board("48cf")
    _enter_user_space(board, "cc 4989e7 cd80 f4")  # int3; mov r15, rsp; int 0x80; hlt
    # mov r8, [rsp+8]; mov r9, [rsp+24]; mov r10, rsp; iretq
    _gate(board, 3, "4c8b442408 4c8b4c2418 4989e2 48cf", dpl=3)
    _gate(board, 13, "4c8b1c24 fa f4")  # mov r11, [rsp]; cli; hlt
    _gate(board, 0x80, "fa f4")
    assert board.run(timeout=10).kind is Stop.HALT
    words = board.machine.words
    assert (words[8], words[9], words[10]) == (0x2B, _USER_STACK, 0x5000 - 40)
    assert words[15] == _USER_STACK
    assert words[11] == 0x80 << 3 | 2, "a gate of ring 0 is not for INT of ring 3"
    assert board.state.hflags & 3 == 0


def test_system_call_and_back() -> None:
    board = _board("48cf")
    _enter_user_space(board, "0f05 4989ce cc")  # syscall; mov r14, rcx; int3
    for number, value in (
        (0xC0000080, 0x501),
        (0xC0000081, 0x001B_0010 << 32),
        (0xC0000082, _HANDLER + 0x400),
        (0xC0000084, 0x200),
    ):
        board.machine.engine.write_msr(number, value)
    entry = bytes.fromhex("9c 415c 4989cd 480f07")  # pushfq; pop r12; mov r13, rcx; sysretq
    board.ram[_HANDLER + 0x400 : _HANDLER + 0x400 + len(entry)] = entry
    _gate(board, 3, "fa f4", dpl=3)
    assert board.run(timeout=10).kind is Stop.HALT
    words = board.machine.words
    assert words[13] == words[14] == _USER_CODE + 2
    assert not words[12] & 0x200
    assert words[11] & 0x200


def test_time_stamp_counter_is_virtual() -> None:
    def counter() -> tuple[int, float]:
        board = _board("0f31 4889c3 b9ff000000 e2fe 0f31 f4")
        board.run(timeout=10)
        return board.machine.words[0] - board.machine.words[3], board.time

    assert counter() == counter()
    assert counter()[0] > 255


def test_cpuid_promises_what_is_there() -> None:
    board = _board("b801000000 0fa2 f4")
    board.run(timeout=10)
    words = board.machine.words
    assert words[2] >> 9 & 1, "the local APIC"
    assert words[1] >> 24 & 1, "TSC deadlines"
    assert not words[1] >> 30 & 1, "RDRAND"
    assert words[2] >> 4 & 1, "the TSC stays"


def test_restart_through_the_keyboard_controller() -> None:
    assert _board("b0fe e664 ebfe").run(timeout=10).kind is Stop.RESTART


@pytest.mark.parametrize(
    "options",
    [
        {"memory": 8 << 20},
        {"memory": (64 << 20) + 1},
        {"memory": 1 << 40},
        {"memory": 0},
        {"append": "x" * 3000},
        {"append": "a\0b"},
        {"initrd": bytes(60 << 20)},
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        _board("f4", **options)


def test_kernel_of_another_architecture_is_refused() -> None:
    with pytest.raises(UsageError, match="arm64"):
        X86Board(_image(b"\xf4", "arm64"), initrd=None, append="", memory=_MEMORY)
