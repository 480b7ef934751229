"""What a running Linux 6.1 answered to a module that calls the register functions."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from kprobesim import Kernel, Kprobe, KprobeError, KprobeFlag, PtRegs

TARGET = "kprobe_target"
# KPROBE_FLAG_FTRACE is x86's: at the entry of a traced function.
AT_ENTRY = {"x86_64": 0x18, "arm64": 0x10}
DISABLED = int(KprobeFlag.DISABLED)


def answer(action: Callable[[], object]) -> int:
    """0 or the negative errno, as the kernel returns it."""
    try:
        action()
    except KprobeError as error:
        assert error.errno
        return -error.errno
    return 0


def registered(k: Kernel, p: Kprobe) -> int:
    return answer(lambda: k.register_kprobe(p))


@pytest.fixture(params=[False, True], ids=["lenient", "strict"])
def k(sample: object, request: pytest.FixtureRequest) -> Kernel:
    return Kernel.load(sample, model="6.1", strict=request.param)  # type: ignore[arg-type]


def test_which_place(k: Kernel) -> None:
    target = k.symbols[TARGET].address
    x86 = k.arch == "x86_64"
    for p, expected in (
        (Kprobe(), -errno.EINVAL),
        (Kprobe(TARGET, addr=target), -errno.EINVAL),
        (Kprobe("no_such_function"), -errno.ENOENT),
        (Kprobe(""), -errno.ENOENT),
        (Kprobe(TARGET, offset=1), -errno.EILSEQ if x86 else -errno.EINVAL),
        (Kprobe(TARGET, offset=0xFFFFFFF8), -errno.ENOENT),
        (Kprobe(addr=0x1000), -errno.ENOENT),
        (Kprobe(addr=k.alloc(16)), -errno.ENOENT),
        (Kprobe("linux_banner"), -errno.EINVAL),
        (Kprobe(TARGET), 0),
    ):
        assert registered(k, p) == expected, p
    if k.strict:
        assert registered(k, Kprobe(f"{TARGET}+8")) == -errno.ENOENT


def test_the_same_struct_again(k: Kernel) -> None:
    p, flags = Kprobe(TARGET), AT_ENTRY[k.arch]
    assert (registered(k, p), registered(k, p), p.flags) == (0, -errno.EINVAL, flags)
    k.unregister_kprobe(p)
    assert registered(k, p) == -errno.EINVAL  # addr and symbol_name are both set
    p.addr = None
    assert registered(k, p) == 0
    k.unregister_kprobe(p)
    p.addr, p.flags = None, KprobeFlag(0)
    assert registered(k, p) == 0


def test_by_address_again(k: Kernel) -> None:
    p = Kprobe(addr=k.symbols[TARGET].address)
    assert registered(k, p) == 0
    k.unregister_kprobe(p)
    assert (registered(k, p), p.flags) == (0, AT_ENTRY[k.arch] | DISABLED)


def test_switching(k: Kernel) -> None:
    unknown, flags = Kprobe(TARGET), AT_ENTRY[k.arch]
    assert answer(lambda: k.disable_kprobe(unknown)) == -errno.EINVAL
    assert answer(lambda: k.enable_kprobe(unknown)) == -errno.EINVAL
    assert answer(lambda: k.unregister_kprobe(unknown)) == (0 if k.strict else -errno.EINVAL)
    p = Kprobe(TARGET, flags=DISABLED)
    text = k.read(k.symbols[TARGET].address, 4)
    assert (registered(k, p), p.flags) == (0, flags | DISABLED)
    assert k.read(p.addr or 0, 4) == text
    for switch, expected in (
        (k.enable_kprobe, flags),
        (k.enable_kprobe, flags),
        (k.disable_kprobe, flags | DISABLED),
        (k.disable_kprobe, flags | DISABLED),
    ):
        assert (answer(lambda s=switch: s(p)), p.flags) == (0, expected)  # type: ignore[misc]
        assert (k.read(p.addr or 0, 4) == text) == p.disabled


def test_only_disabled_may_be_asked_for(k: Kernel) -> None:
    p = Kprobe(TARGET, flags=0xFF)
    assert (registered(k, p), p.flags) == (0, AT_ENTRY[k.arch] | DISABLED)


def test_batches(k: Kernel) -> None:
    good, bad, other = Kprobe(TARGET), Kprobe("no_such_function"), Kprobe("gcd")
    assert answer(lambda: k.register_kprobes([good, bad, other])) == -errno.ENOENT
    assert (good.addr, good.flags) == (k.symbols[TARGET].address, AT_ENTRY[k.arch] | DISABLED)
    assert (other.addr, len(k.kprobes)) == (None, 0)
    assert answer(lambda: k.register_kprobes([])) == -errno.EINVAL
    assert answer(lambda: k.register_kprobes([other, other])) == -errno.EINVAL
    assert len(k.kprobes) == 0


class Script:
    """Probes by letter that write down when their handlers run."""

    def __init__(self, k: Kernel, offset: int, **posts: bool) -> None:
        self.k, self.events = k, ""
        self.probes = {
            name: self._probe(number, offset, post)
            for number, (name, post) in enumerate(posts.items(), 1)
        }

    def _probe(self, number: int, offset: int, has_post: bool) -> Kprobe:
        def pre(p: Kprobe, regs: PtRegs) -> None:
            self.events += f"pre{number} "

        def post(p: Kprobe, regs: PtRegs, flags: int) -> None:
            self.events += f"post{number} "

        post_handler = post if has_post else None
        return Kprobe(TARGET, offset=offset, pre_handler=pre, post_handler=post_handler)

    def play(self, steps: str) -> None:
        """``"+a -b !c ?pre1 post1"``: register, unregister, disable, enable (``*``), and run."""
        for step in steps.split("; "):
            action, rest = step[0], step[1:]
            if action == "?":
                self.events = ""
                assert self.k.call(TARGET, 12) == 4
                assert self.events.split() == rest.split(), steps
                continue
            kernel = self.k
            act: dict[str, Callable[[Kprobe], object]] = {
                "+": kernel.register_kprobe,
                "-": kernel.unregister_kprobe,
                "!": kernel.disable_kprobe,
                "*": kernel.enable_kprobe,
            }
            for name in rest:
                act[action](self.probes[name])


@pytest.mark.parametrize("model", ["2.6", "5.4", "6.1", "6.17"])
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(
    ("posts", "steps"),
    [
        # ORDER
        ("abc", "+a; ?pre1 post1; +b; +c; ?pre3 pre2 pre1 post3 post2 post1"),
        ("abc", "+abc; !b; ?pre3 pre1 post3 post1; *b; -a; ?pre3 pre2 post3 post2"),
        # MIX: b has no post_handler
        ("a", "+a; ?pre1 post1; +b; ?pre2 pre1 post1; -a; ?pre2; -b; ?"),
        ("a", "+b; ?pre2; +a; ?pre1 pre2 post1; -b; ?pre1 post1; -a; ?"),
        ("a", "+b; ?pre2; +a; ?pre1 pre2 post1; -a; ?pre2; -b; ?"),
        (
            "ac",
            "+acb; ?pre2 pre3 pre1 post3 post1; !abc; ?; *b; ?pre2; -c; ?pre2; -a; ?pre2; -b; ?",
        ),
    ],
)
def test_scripts(
    sample: object, arch: str, model: str, inside: bool, posts: str, steps: str
) -> None:
    k = Kernel.load(sample, model=model)  # type: ignore[arg-type]
    offset = 0
    if inside:
        with k.probing(TARGET) as p:
            offset = p.ainsn.size * (2 if arch == "arm64" else 1)
    start = k.symbols[TARGET].address
    text = k.read(start, 32)
    script = Script(k, offset, **{name: name in posts for name in "abc"})
    script.play(steps)
    k.unregister_kprobes([p for p in script.probes.values() if p in k.kprobes])
    assert k.read(start, 32) == text


def test_a_handler_that_skips(k: Kernel) -> None:
    """Among others: those before it have run, those after it do not, and nobody's post_handler."""
    script = Script(k, 0, a=True, b=False, c=True)

    def skip(p: Kprobe, regs: PtRegs) -> int:
        script.events += "skip "
        regs.return_value = 4242
        if k.arch == "arm64":
            regs.ip = regs.gpr(30)
        else:
            regs.ip = int.from_bytes(k.read(regs.sp, 8), "little")
            regs.sp += 8
        return 1

    script.probes["b"].pre_handler = skip
    k.register_kprobes(list(script.probes.values()))
    assert (k.call(TARGET, 12), script.events) == (4242, "pre3 skip ")
    script.events = ""
    k.unregister_kprobes([script.probes["a"], script.probes["c"]])
    assert (k.call(TARGET, 12), script.events) == (4242, "skip ")


def test_a_handler_that_calls_a_probed_function(k: Kernel) -> None:
    script = Script(k, 0, a=False, b=True)
    outer, inner = script.probes.values()
    inner.symbol_name = "kprobe_recursed_target"

    def nest(p: Kprobe, regs: PtRegs) -> None:
        script.events += f"nest({k.call('kprobe_recursed_target', 15)})"

    outer.pre_handler = nest
    k.register_kprobes([outer, inner])
    assert k.call(TARGET, 12) == 4
    assert (script.events, outer.nmissed, inner.nmissed) == ("nest(5)", 0, 1)
    script.events = ""
    k.call("kprobe_recursed_target", 15)
    assert (script.events, inner.nmissed) == ("pre2 post2 ", 1)
