"""Which branch made a function return what it returned: on the sample guests, whose source is here.

The same source is compiled for both architectures, so a branch is named by its function and by what
was so when it was taken, or was not.
"""

from __future__ import annotations

import pytest

from kprobesim import CalledKernel, UsageError


def decided(guest: CalledKernel, function: str, *arguments: object) -> tuple[str, str, str]:
    """The function that decided, the error, and what would have come otherwise."""
    why = guest.why(function, *arguments)
    assert why.branch is not None
    return why.branch.function, why.result, why.branch.otherwise


def test_the_error_is_followed_into_the_function_that_made_it(guest: CalledKernel) -> None:
    why = guest.why("do_sys_open", 0, "/nowhere", 0, 0)
    assert why.result == "-2 (-ENOENT)"
    assert why.branch is not None
    assert why.branch.function == "lookup_file"
    assert why.branch.condition.endswith("== 4")  # the loop's end: there are four files
    assert why.branch.time == 4
    assert [place.symbol.partition("+")[0] for place in why.calls] == [
        "do_sys_open",
        "do_sys_openat2",
    ]


def test_the_inner_calls_that_failed_are_told_in_order(guest: CalledKernel) -> None:
    why = guest.why("do_sys_open", 0, "/nowhere", 0, 0)
    assert [each.function for each in why.failed] == ["lookup_file", "do_sys_openat2"]
    assert why.first_failure is not None
    assert (why.first_failure.errno, why.first_failure.depth) == (2, 2)
    assert guest.why("kstrtoull", "12", 10, guest.alloc(8)).first_failure is None


def test_a_value_that_is_there_before_the_branch(guest: CalledKernel) -> None:
    """Compilers load -E2BIG first, and then ask whether there is an end."""
    buffer = guest.alloc(16)
    function, result, otherwise = decided(guest, "strscpy", buffer, "abc", 2)
    assert (function, result) == ("strscpy", "-7 (-E2BIG)")
    assert otherwise == "it would have returned 3"


@pytest.mark.parametrize(
    ("text", "result", "condition"),
    [
        ("12x", "-22 (-EINVAL)", "!= 0"),  # if (*s): what is behind the number
        ("99999999999999999999", "-34 (-ERANGE)", ""),
    ],
)
def test_checks_with_one_common_end_are_told_apart(
    guest: CalledKernel, text: str, result: str, condition: str
) -> None:
    why = guest.why("kstrtoull", text, 10, guest.alloc(8))
    assert why.result == result
    assert why.branch is not None
    assert why.branch.function == "kstrtoull"
    assert condition in why.branch.condition
    assert why.branch.otherwise == "it would have returned 0" or result != "-22 (-EINVAL)"


def test_the_guest_is_as_it_was(guest: CalledKernel) -> None:
    buffer = guest.alloc(16)
    guest.write(buffer, b"untouched")
    time = guest.time
    guest.why("strscpy", buffer, "abc", 2)
    assert guest.read(buffer, 9) == b"untouched"
    assert guest.time == time


def test_another_result_than_the_one_asked_about(guest: CalledKernel) -> None:
    with pytest.raises(UsageError, match=r"it returned -2 \(-ENOENT\), not -EINVAL"):
        guest.why("lookup_file", "/nowhere", errno="EINVAL")
    assert guest.why("lookup_file", "/nowhere", errno=2).result == "-2 (-ENOENT)"
    with pytest.raises(UsageError, match="is no error"):
        guest.why("lookup_file", "/nowhere", errno="WRONG")


def test_a_call_that_does_not_return(guest: CalledKernel) -> None:
    with pytest.raises(UsageError, match="did not return"):
        guest.why("strlen", 0)


def test_as_data(guest: CalledKernel) -> None:
    data = guest.why("do_sys_open", 0, "/nowhere", 0, 0).as_dict()
    assert data["result"] == "-2 (-ENOENT)"
    assert isinstance(data["branch"], dict)
    assert data["branch"]["kind"] == "branch"
