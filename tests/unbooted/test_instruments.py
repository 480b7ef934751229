"""What instrumented kernels take for granted is there when their functions are called."""

from __future__ import annotations

import pytest
from makers.tiny_kernel import tiny_kernel

from kprobesim import GuestFault, Kernel, Kprobe, PtRegs

pytestmark = pytest.mark.compiler

pytest.importorskip("ziglang")

KASAN = r"""
long reports, last;
void __asan_handle_no_return(void) {}
#define CHECK(n) \
    void __asan_report_load##n##_noabort(long a) { reports++; last = a; } \
    void __asan_report_store##n##_noabort(long a) { reports++; last = a; } \
    void __asan_load##n##_noabort(long a) {} void __asan_store##n##_noabort(long a) {}
CHECK(1) CHECK(2) CHECK(4) CHECK(8) CHECK(16)
void __asan_report_load_n_noabort(long a, long n) { reports++; }
void __asan_report_store_n_noabort(long a, long n) { reports++; }
void __asan_set_shadow_00(char *p, long n) { while (n--) *p++ = 0; }
void *memset(void *to, int value, unsigned long n)
{
    for (char *p = to; n--;) *p++ = value;
    return to;
}
void use(char *p) { asm volatile("" :: "r"(p) : "memory"); }
long sum(const long *p, long n) { long s = 0; for (long i = 0; i < n; i++) s += p[i]; return s; }
long on_stack(long place)
{
    char room[20];
    use(room);
    room[place] = 1;
    use(room);
    return reports;
}
long spin(void) { char room[20]; use(room); for (;;) use(room); return room[0]; }
long shallow(long n) { return n + reports; }
"""


def kasan(arch: str, offset: int, *more: str, base: int = 0) -> Kernel:
    options = (
        f"asan-mapping-offset={offset:#x}",
        "asan-globals=0",
        "asan-instrumentation-with-call-threshold=10000",
        *more,
    )
    words = [word for option in options for word in ("-mllvm", f"-{option}")]
    return tiny_kernel(arch, KASAN, "-fsanitize=kernel-address", *words, base=base)


OFFSETS = {"x86_64": 0xDFFF_FC00_0000_0000, "arm64": 0xDFFF_8000_0000_0000}


def test_kasan(arch: str) -> None:
    """Each access reads a shadow, and frames write theirs."""
    k = kasan(arch, OFFSETS[arch], "asan-stack=1")
    assert k.call("sum", bytes([1, 0, 0, 0, 0, 0, 0, 0] * 600), 600) == 600
    assert k.call("on_stack", 3) == 0
    assert k.call("on_stack", 20) == 1  # the byte behind room: KASAN sees it
    assert k.call("on_stack", 19) == 1
    seen = []

    def pre(p: object, regs: object) -> None:
        seen.append(k.call("on_stack", 19))

    with k.probing("shallow", pre_handler=pre):
        assert k.call("shallow", 1) == 2
    assert seen == [1]


def test_a_call_that_is_abandoned_leaves_no_poison_on_the_stack(arch: str) -> None:
    k = kasan(arch, OFFSETS[arch], "asan-stack=1")
    with pytest.raises(Exception, match="still running"):
        k.call("spin", max_instructions=500)
    assert k.call("on_stack", 3) == 0


def test_kasan_tells_which_access_it_was_asked_about() -> None:
    k = kasan("arm64", OFFSETS["arm64"])
    with pytest.raises(GuestFault) as caught:
        k.call("sum", 0x10, 1)
    assert caught.value.hint == "KASAN was asked about 0x10-0x17"


def test_kasan_of_a_kernel_with_39_bits_of_addresses() -> None:
    k = kasan("arm64", 0xDFFF_FFC0_0000_0000, "asan-stack=1", base=0xFFFF_FFC0_0800_0000)
    assert k.call("on_stack", 3) == 0
    assert k.call("on_stack", 20) == 1


CODE = r"""
typedef int function(int);
function *chosen;
int __attribute__((noinline)) leaf(int n) { asm volatile("" ::: "memory"); return n + 1; }
int deep(int n) { int m = n ? deep(n - 1) : leaf(0); asm volatile("" ::: "memory"); return m + 1; }
int indirect(int n) { chosen = leaf; asm volatile("" ::: "memory"); return chosen(n); }
void fill(char *p, int n) { while (n--) *p++ = n; }
void __stack_chk_fail(void) { __builtin_trap(); }
int guarded(int n) { char r[16]; fill(r, n); asm volatile("" :: "r"(r) : "memory"); return r[1]; }
struct { long preempt, canary; } init_task = {0, 0x1234};
long counted;
void __sanitizer_cov_trace_pc(void) { counted++; }
#define PLAIN __attribute__((no_sanitize("thread")))
#define COUNT(n) \
    PLAIN void __tsan_read##n(void *p) { counted++; } \
    PLAIN void __tsan_write##n(void *p) { counted++; } \
    PLAIN void __tsan_unaligned_read##n(void *p) { counted++; } \
    PLAIN void __tsan_unaligned_write##n(void *p) { counted++; }
COUNT(1) COUNT(2) COUNT(4) COUNT(8) COUNT(16)
void __tsan_func_entry(void *p) {}
void __tsan_func_exit(void) {}
void __tsan_init(void) {}
"""
GUARD = {
    "x86_64": ("tls", "-mstack-protector-guard-reg=gs", "-mstack-protector-guard-offset=40"),
    "arm64": ("sysreg", "-mstack-protector-guard-reg=sp_el0", "-mstack-protector-guard-offset=8"),
}


def test_shadow_call_stack() -> None:
    k = tiny_kernel("arm64", CODE, "-fsanitize=shadow-call-stack", "-ffixed-x18")
    seen = []

    def pre(p: Kprobe, regs: PtRegs) -> None:
        seen.append((k.call("deep", 3), regs.x18))  # type: ignore[attr-defined]

    with k.probing("leaf", pre_handler=pre):
        assert k.call("deep", 900) == 902
    (result, place) = seen[0]
    assert result == 5
    assert k.read(place - 8, 8) != bytes(8)  # where deep() is to return to
    assert k.call("indirect", 4) == 5


@pytest.mark.parametrize(
    "flags",
    [
        ("-fsanitize=kcfi",),
        ("-fsanitize-coverage=trace-pc",),
        ("-fsanitize=thread",),
        ("-mbranch-protection=standard",),
    ],
    ids=["kcfi", "kcov", "kcsan", "pac and bti"],
)
def test_other_instruments(arch: str, flags: tuple[str, ...]) -> None:
    if arch == "x86_64" and "branch-protection" in flags[0]:
        flags = ("-fcf-protection=full",)
    k = tiny_kernel(arch, CODE, *flags)
    assert k.call("deep", 30) == 32
    assert k.call("indirect", 4) == 5


def test_pointers_are_not_authenticated() -> None:
    """RETAA and its kind, on a CPU that has no such instructions."""
    flags = ("-march=armv8.3-a", "-mbranch-protection=pac-ret+leaf")
    k = tiny_kernel("arm64", CODE, *flags)
    assert k.call("deep", 30) == 32
    assert k.call("indirect", 4) == 5
    code = k.alloc(64, executable=True)
    data = k.alloc(32)
    k.write(data + 8, (77).to_bytes(8, "little"))
    # mov x9, x30; pacia x0, x1; xpaci x0; ldraa x2, [x0, #8]!; add x0, x0, x2; blraaz x3; ret x9
    words = (0xAA1E03E9, 0xDAC10020, 0xDAC143E0, 0xF8201C02, 0x8B020000, 0xD63F087F, 0xD65F0120)
    k.write(code, b"".join(word.to_bytes(4, "little") for word in words))
    leaf = k.symbols["leaf"].address
    assert k.call(code, data, 5, 0, leaf) == (data + 8 + 77 + 1) & 0xFFFFFFFF
    with pytest.raises(GuestFault, match="undefined instruction"):
        k.write(code, (0x9AC13000).to_bytes(4, "little"))  # pacga x0, x0, x1
        k.call(code)


UNDEFINED = r"""
typedef int function(int);
int leaf(int n) { return n + 1; }
long other(long a, long b) { return a + b; }
void *volatile place = other;
int mistaken(int n) { function *f = place; return f(n) + 1; }
int add(int a, int b) { return a + b; }
int shift(int a, int b) { return a << b; }
int element(unsigned n) { static volatile int table[4] = {1, 2, 3, 4}; return table[n]; }
"""


def test_traps_of_checks_are_told(arch: str) -> None:
    def hint(k: Kernel, function: str, *arguments: int) -> str:
        with pytest.raises(GuestFault) as caught:
            k.call(function, *arguments)
        return caught.value.hint

    checks = "signed-integer-overflow,shift,array-bounds"
    k = tiny_kernel(arch, UNDEFINED, f"-fsanitize={checks}", f"-fsanitize-trap={checks}")
    assert hint(k, "add", 0x7FFFFFFF, 1) == "UBSAN: integer addition overflow"
    assert hint(k, "shift", 1, 40) == "UBSAN: shift out of bounds"
    assert hint(k, "element", 4) == "UBSAN: array index out of bounds"
    assert k.call("add", 3, 4) == 7
    k = tiny_kernel(arch, UNDEFINED, "-fsanitize=kcfi")
    assert hint(k, "mistaken", 3).startswith("CFI: the function that was to be called")
    k.write(k.symbols["place"].address, k.symbols["leaf"].address.to_bytes(8, "little"))
    assert k.call("mistaken", 3) == 5


def test_a_stack_that_is_used_up(arch: str) -> None:
    k = tiny_kernel(arch, CODE)
    with pytest.raises(GuestFault, match="the stack of 64 KiB is used up"):
        k.call("deep", 1 << 20)
    with pytest.raises(GuestFault, match="behind the stack"):
        k.call("guarded", 1 << 12)


def test_stack_protector(arch: str) -> None:
    kind, *more = GUARD[arch]
    k = tiny_kernel(arch, CODE, "-fstack-protector-all", f"-mstack-protector-guard={kind}", *more)
    assert k.call("guarded", 16) == 14
    with pytest.raises(GuestFault, match="__stack_chk_fail"):
        k.call("guarded", 40)


CACHES = r"""
struct cache { long size; } *things_cachep, *spare_cachep;
struct thing { int a, b; } *unnamed_thing;
int *table[4];
long __attribute__((noinline)) take(struct cache *c, int n)
{
    asm volatile("" ::: "memory");
    return c->size + n;
}
long __attribute__((noinline)) pass(int n, struct cache *c) { return take(c, n) + 1; }
long allocate(long n) { return pass(n, things_cachep); }  // a jump
long spare(long n) { return pass(n, spare_cachep) * 3; }
long chosen(long n) { return *table[n]; }
long direct(void) { return unnamed_thing->b; }
long given(struct cache *c) { return pass(3, c); }
"""


def test_a_null_that_boot_would_have_set_is_named(arch: str) -> None:
    k = tiny_kernel(arch, CACHES)

    def hint(function: str, *arguments: object) -> str:
        with pytest.raises(GuestFault) as caught:
            k.call(function, *arguments)
        return caught.value.hint

    allocator = "the allocator is not set up: boot it (Kernel.boot)"
    assert hint("allocate", 5) == f"things_cachep is still NULL: {allocator}"
    assert hint("spare", 500) == f"spare_cachep is still NULL: {allocator}"
    nobody = "nothing has set it up: boot it (Kernel.boot)"
    assert hint("direct") == f"unnamed_thing is still NULL: {nobody}"
    assert hint("chosen", 2) == f"table is still NULL: {nobody}"
    # The placeholder of a runtime constant.
    assert hint("given", 0x0123456789ABCDEF).startswith("a pointer that boot writes into the code")
    # What the caller passed is not blamed on the kernel.
    assert hint("given", None) == ""
    place = k.alloc(8)
    k.write(k.symbols["things_cachep"].address, place.to_bytes(8, "little"))
    assert k.call("allocate", 5) == 6


def test_real_kernels_say_that_the_allocator_is_not_set_up(real_kernel: Kernel) -> None:
    for function, *arguments in (("idr_alloc", bytes(32), 1, 0, 10, 0xCC0), ("d_alloc_anon", 0)):
        with pytest.raises(GuestFault, match="the allocator is not set up: boot it"):
            real_kernel.call(function, *arguments)
    for function in ("strlen", "complete"):
        with pytest.raises(GuestFault) as caught:
            real_kernel.call(function, None)
        assert caught.value.hint == ""
