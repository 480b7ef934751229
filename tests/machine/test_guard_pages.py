"""What is out of bounds faults, and a call finds nothing that earlier ones have left."""

from __future__ import annotations

import pytest

from kprobesim import GuestFault, Kernel, UsageError
from kprobesim.sizes import PAGE

RETURN_FIRST_WORD = {
    # mov rax, [rsp-8*20]; ret, and the same of ARM64: below the stack pointer lies what was left
    "x86_64": bytes.fromhex("488b8424 60ffffff c3".replace(" ", "")),
    "arm64": bytes.fromhex("e00356f8 c0035fd6".replace(" ", "")),  # ldur x0, [sp, #-160]
}


@pytest.mark.parametrize("size", [1, 4, 16, 300, PAGE, PAGE + 1, 5 * PAGE, 20 * PAGE + 8])
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_one_byte_too_many_faults(guest: Kernel, size: int, kind: type) -> None:
    with pytest.raises(GuestFault, match="overrun by 1 byte, at") as caught:
        guest.call("memset", kind(size), 1, size + 1)
    count = "1 byte" if size == 1 else f"{size} bytes"
    assert caught.value.hint == f"argument 1 of {count} is overrun by 1 byte"
    assert caught.value.trap.access == "write"
    assert caught.value.as_dict()["hint"] == caught.value.hint
    assert guest.call("memset", kind(size), 1, size)


def test_says_which_argument_and_by_how_much(guest: Kernel) -> None:
    # The first ends at a page, the second goes on.
    with pytest.raises(GuestFault) as caught:
        guest.call("strcmp", "aaaa", b"aaaa")
    assert caught.value.hint == "argument 2 of 4 bytes is overrun by 1 byte"
    with pytest.raises(GuestFault) as caught:
        guest.call("memcpy", bytearray(8), guest.alloc(8, guard=True) + 20, 8)
    assert caught.value.hint.endswith("of 8 bytes is overrun by 13 bytes")
    assert caught.value.hint.startswith("the allocation at 0xffff")


def test_a_whole_page_is_guarded_before_its_start_too(guest: Kernel) -> None:
    address = guest.alloc(PAGE, guard=True)
    with pytest.raises(GuestFault) as caught:
        guest.call("memset", address - 3, 0, 1)
    assert (
        caught.value.hint == f"the allocation at {address:#x} of 4096 bytes is underrun by 3 bytes"
    )


def test_other_faults_have_no_hint(guest: Kernel) -> None:
    with pytest.raises(GuestFault) as caught:
        guest.call("strlen", None)
    assert caught.value.hint == ""
    assert str(caught.value).startswith("guest fault: read of a NULL pointer at 0x0, at strlen")


def test_without_a_guard_zeroes_follow(guest: Kernel) -> None:
    for content in (b"a" * 16, b"b" * 300, b"c" * 16):
        assert guest.call("strlen", content, guard=False) == len(content)


def test_results_do_not_depend_on_earlier_calls(guest: Kernel) -> None:
    def call(name: str) -> tuple[object, ...]:
        out = bytearray(4)
        try:
            return guest.call(name, b"abc", out, 8), bytes(out)
        except GuestFault as error:
            return str(error), error.regs.as_dict()

    first = [call(name) for name in ("memcpy", "memcmp", "strcmp")]
    for size in (1, 5000, 100):
        with pytest.raises(GuestFault):
            guest.call("memset", bytearray(size), 0xEE, size + 1)
        guest.call("memset", bytearray(size), 0xEE, size)
    assert [call(name) for name in ("memcpy", "memcmp", "strcmp")] == first


def test_a_call_finds_a_clean_stack(guest: Kernel) -> None:
    code = guest.alloc(16, executable=True)
    guest.write(code, RETURN_FIRST_WORD[guest.arch])
    assert guest.call(code) == 0
    guest.call("recurse", 40)
    guest.call("sort", bytearray(range(200)), 50, 4, guest.symbols["cmp_int"], None)
    assert guest.call(code) == 0


def test_calls_in_handlers_have_arguments_of_their_own(guest: Kernel) -> None:
    inner = bytearray(b"....")
    outer = bytearray(b"----")

    def pre(p: object, regs: object) -> None:
        guest.call("memcpy", inner, b"deep", 4)

    with guest.probing("memset", pre_handler=pre):
        guest.call("memset", outer, ord("x"), 4)
    assert (outer, inner) == (b"xxxx", b"deep")  # type: ignore[comparison-overlap]


def test_freed_memory_is_poison_and_used_again(guest: Kernel) -> None:
    plain = guest.alloc(32)
    guest.write(plain, b"secret")
    guest.free(plain)
    assert guest.read(plain, 32) == b"\x6b" * 32
    assert guest.alloc(32) == plain
    assert guest.read(plain, 32) == bytes(32)
    guarded = guest.alloc(32, guard=True)
    guest.free(guarded)
    with pytest.raises(GuestFault):
        guest.call("memset", guarded, 0, 1)
    assert guest.alloc(32, guard=True) == guarded
    assert guest.call("memset", guarded, 7, 32)


def test_executable_memory_is_used_again(guest: Kernel) -> None:
    return_seven = {"x86_64": "b807000000c3", "arm64": "e0008052c0035fd6"}[guest.arch]
    places = set()
    for number in range(300):
        code = guest.alloc(16 + number % 3 * 16, executable=True)
        places.add(code)
        guest.write(code, bytes.fromhex(return_seven))
        assert guest.call(code) == 7
        guest.free(code)
    assert len(places) == 1
    with pytest.raises(GuestFault):
        guest.call(code)
    large = guest.alloc(3 << 20, executable=True)
    assert guest.alloc(16, executable=True) == code
    guest.free(large)
    with pytest.raises(UsageError, match="no guard"):
        guest.alloc(16, executable=True, guard=True)


def test_an_argument_too_large_for_guard_pages_comes_from_the_heap(guest: Kernel) -> None:
    data = bytearray(60 << 20)
    guest.call("memset", data, 5, 3)
    assert data[:4] == b"\5\5\5\0"
    with pytest.raises(UsageError, match="used up"):
        guest.call("memset", bytearray(200 << 20), 5, 3)
    with pytest.raises(UsageError, match="give an integer"):
        guest.call("memset", bytearray(9), object())
    assert guest.call("strlen", "still") == 5
