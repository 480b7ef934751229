"""``k.follow()``: the functions that get a pointer."""

from __future__ import annotations

import pytest

from kprobesim import CalledKernel, UsageError


def test_the_functions_that_get_a_pointer(guest: CalledKernel) -> None:
    path = guest.alloc(16)
    guest.write(path, b"/nowhere\0")
    with guest.follow(path) as followed:
        guest.call("do_sys_open", 0, path, 0, 0)
    first, second, third = followed.passings[:3]
    assert (first.function, first.argument) == ("do_sys_open", 2)
    assert (second.function, second.argument) == ("do_sys_openat2", 2)
    assert second.caller.startswith("do_sys_open+")
    assert (third.function, third.argument) == ("strncpy_from_user", 2)
    before = followed.hits
    guest.call("strlen", path)
    assert followed.hits == before == sum(followed.by_function().values())


def test_pointers_into_an_object(guest: CalledKernel) -> None:
    text = guest.alloc(16)
    guest.write(text, b"12\0")
    with guest.follow(text, 16, most=1) as followed:
        guest.call("strlen", text + 1)
    assert (len(followed), followed.hits) == (1, 1)
    assert followed.passings[0].value == text + 1
    with pytest.raises(UsageError, match="cannot be followed"):
        guest.follow(text, 0)
