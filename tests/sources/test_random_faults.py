"""Sources with random faults: each is answered, whatever stands in it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from kprobesim.sources.read import read_text
from kprobesim.sources.wanted import SourceKind

SEEDS = {
    SourceKind.BPFTRACE: (
        "#ifndef X\nstruct s { int a; };\n#endif\nconfig = { missing_probes = warn }\n"
        'BEGIN { printf("x"); }\nkprobe:f+4, k:"g" /arg0 / 2 > 1/ {\n'
        "  $s = (struct s *)arg1; @m[tid, $s->a] = ((struct t *)$s->b)[1].c; }\n"
        "kretprobe:f { delete(@m[tid]); print(args.x->y); }\n"
    ),
    SourceKind.TETRAGON: (
        "kind: TracingPolicy\nmetadata: {name: p}\nspec:\n"
        "  lists:\n  - name: l\n    type: syscalls\n    values: [sys_dup, i386/sys_dup]\n"
        "  kprobes:\n  - call: list:l\n    return: true\n"
        "    args: &a\n    - {index: 0, type: file, resolve: x.y[2].z}\n"
        "    selectors:\n    - matchActions: [{action: Override}]\n"
        "  - {call: f, args: *a}\n---\nkind: List\nitems: []\n"
    ),
    SourceKind.KPROBE_EVENTS: (
        "p:g/e m:f+0x10 a=%di:u64 +u8(+0($arg1)):string[2] @x+4 \\-1\nr16 f $retval:b4@4/32\n"
        "echo 'p f $comm' > kprobe_events\n-:g/e\nt:x y z->w\n"
    ),
    SourceKind.PERF_PROBE: (
        "perf probe -m ext4 --add 'a=f:3 x->y[2]:u8' \\\n -a 'g%return $retval'\n"
        "fs/a.c:12 x\nx=f@fs/a.c;return* a b\n"
    ),
    SourceKind.NAMES: "a\nb+0x10\nm:c [d]\nffffffff81000000 t x [y]\na,4\n*:mod:x\nkprobe:f\n0x1\n",
    SourceKind.C_SOURCE: (
        '/* x */ SEC("kprobe/f+4") int x;\nSEC("?fentry/m:f")\n'
        'static struct kretprobe k = { .kp.symbol_name = "a", .offset = 4 };\n'
    ),
}
PIECES = [
    *"\"'{}()[]:,=#%$@&*\\/\n\x00\x1b",
    *(
        "/*",
        "*/",
        "//",
        "->",
        "$x",
        "@m[",
        "---\n",
        "&a ",
        "*a ",
        "<<: ",
        "#if ",
        "#else",
        "kprobe:",
    ),
    *(
        "+0x",
        "%return",
        "list:",
        'SEC("',
        "bpftrace -e '",
        "trace-bpfcc '",
        "+0(",
        "é",
        "\N{ARABIC-INDIC DIGIT TWO}",
    ),
]


@pytest.mark.parametrize("kind", SEEDS, ids=str)
def test_a_source_with_random_faults_is_answered(kind: SourceKind) -> None:
    chance = random.Random(str(kind))
    for _ in range(60):
        text = SEEDS[kind]
        for _ in range(chance.choice([1, 2, 5, 20])):
            at = chance.randrange(len(text) + 1)
            piece = chance.choice(PIECES) * chance.choice([1, 1, 4])
            text = text[:at] + piece + text[at + chance.choice([0, 1, 3, 20]) :]
        for said in (kind, None):
            source = read_text(text, Path("x.c" if kind is SourceKind.C_SOURCE else "x"), said)
            told = [one.text for one in source.wanted]
            told += [one.text for one in (*source.problems, *source.notes)]
            assert told
            assert all(line.isprintable() for line in told)
            assert all(one.target.isprintable() for one in source.wanted)
