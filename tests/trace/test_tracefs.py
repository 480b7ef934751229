"""tracefs: paths, errno, how files are opened, and the files that need no events."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable

import pytest

from kprobesim import CalledKernel, Kprobe, TracefsError, UsageError
from kprobesim.trace.files.node import File, OpenFile
from kprobesim.trace.files.numbers import bool_of, letter_of, number_of


def errno_of(action: Callable[[], object]) -> int | None:
    """What ``action`` fails with."""
    with pytest.raises(OSError) as caught:
        action()
    return caught.value.errno


def test_paths(guest: CalledKernel) -> None:
    t = guest.tracefs
    assert "kprobes" in t and "kprobes" in list(t)
    assert t.listdir("kprobes") == ["blacklist", "enabled", "list"] == list(t.folder("kprobes"))
    assert t["/kprobes//enabled"].read() == t.folder("kprobes")["enabled"].read() == "1\n"
    assert "no/such" not in t and "kprobes/enabled/x" not in t and 5 not in t
    assert errno_of(lambda: t["nosuch"]) == errno.ENOENT
    assert errno_of(lambda: t["kprobes"]) == errno.EISDIR
    assert errno_of(lambda: t["kprobes/enabled/x"]) == errno.ENOTDIR
    assert errno_of(lambda: t.listdir("kprobes/enabled")) == errno.ENOTDIR
    assert errno_of(lambda: t.mkdir("kprobes/x")) == errno.EPERM
    assert errno_of(lambda: t.open("nosuch", os.O_WRONLY | os.O_CREAT)) == errno.EACCES


def test_who_is_refused_hears_which_file_it_was(guest: CalledKernel) -> None:
    with pytest.raises(TracefsError, match="'kprobes/list'") as caught:
        guest.tracefs["kprobes/list"].write("x")
    assert caught.value.errno == errno.EINVAL
    with pytest.raises(UsageError, match="a str"):
        guest.tracefs["kprobes/enabled"].write(1)  # type: ignore[arg-type]


def test_the_list_of_probes_and_the_switch_for_all(guest: CalledKernel) -> None:
    hits: list[int] = []
    guest.register_kprobe(Kprobe("fnv1a32", pre_handler=lambda p, regs: hits.append(1) or 0))
    assert list(guest.tracefs["kprobes/list"]) == guest.kprobes.list().splitlines() != []
    guest.tracefs["kprobes/enabled"].write("0\n")
    guest.call("fnv1a32", b"a", 1)
    assert hits == [] and guest.tracefs["kprobes/enabled"].read() == "0\n"
    guest.tracefs["kprobes/enabled"].write("on")
    guest.call("fnv1a32", b"a", 1)
    assert hits == [1]
    assert errno_of(lambda: guest.tracefs["kprobes/enabled"].write("2")) == errno.EINVAL


class Lines(File):
    """A long text that is different each time, and notes what is done to it."""

    def __init__(self) -> None:
        self.opened, self.done = 0, list[str]()

    def chunks(self):  # type: ignore[no-untyped-def]
        self.opened += 1
        return (f"{self.opened} {number}\n" for number in range(1000))

    def truncate(self) -> None:
        self.done.append("truncate")

    def store(self, data: bytes) -> int:
        self.done.append(data.decode())
        return len(data)


def test_an_open_file_has_its_text_once_from_its_beginning_on() -> None:
    file = Lines()
    opened = OpenFile(file, os.O_RDONLY)
    whole = "".join(f"1 {number}\n" for number in range(1000)).encode()
    assert opened.read(10, 0) == whole[:10]
    assert opened.read(100, 10) == whole[10:110]
    assert opened.read(1 << 20, 110) == whole[110:]
    assert opened.read(10, len(whole)) == b""
    assert opened.read(10, 0).startswith(b"2 0\n")
    assert OpenFile(file, os.O_RDONLY).read(4, 4000) == whole.replace(b"1 ", b"3 ")[4000:4004]


def test_a_file_is_emptied_only_by_who_opens_it_so() -> None:
    file = Lines()
    OpenFile(file, os.O_RDONLY | os.O_TRUNC)
    OpenFile(file, os.O_WRONLY | os.O_APPEND).write(b"a")
    OpenFile(file, os.O_WRONLY | os.O_TRUNC).write(b"b")
    assert file.done == ["a", "truncate", "b"]


@pytest.mark.parametrize(
    ("text", "base", "value"),
    [("0", 10, 0), ("12\n", 10, 12), ("+7", 10, 7), ("0x1f", 0, 31), ("017\n", 0, 15), ("9", 0, 9)],
)
def test_numbers(text: str, base: int, value: int) -> None:
    assert number_of(text, base) == value


def test_what_is_no_number() -> None:
    for text in ("", "\n", "-1", "1 2", "0x1f", "1\n\n", "٣"):
        assert errno_of(lambda text=text: number_of(text)) == errno.EINVAL  # type: ignore[misc]
    assert errno_of(lambda: number_of("08", 0)) == errno.EINVAL
    assert errno_of(lambda: number_of("256", most=255)) == errno.ERANGE
    assert [bool_of(text) for text in ("y", "N\n", "on", "off", "1x")] == [1, 0, 1, 0, 1]
    assert [letter_of(text) for text in ("Y", "no\n", "1x")] == [1, 0, 1]
    assert errno_of(lambda: letter_of("off")) == errno.EINVAL


def test_a_thread_that_serves_waits_for_its_turn(guest: CalledKernel) -> None:
    """Another thread that just calls is told that somebody is there."""
    said: list[str] = []
    turn = guest.machine.turn

    def serve() -> None:
        said.append(guest.tracefs["kprobes/enabled"].read())

    def call() -> None:
        with pytest.raises(UsageError, match="another thread"):
            guest.call("fnv1a32", b"a", 1)

    with turn:
        for target in (call, serve):
            thread = threading.Thread(target=target)
            thread.start()
            if target is call:
                thread.join()
        assert said == []
        while not turn.wanted:
            pass
        turn.lend()
        assert turn.is_mine and said == ["1\n"]
    thread.join()
