"""A kernel with functions of every shape: inlined, cloned, twins, called in all ways."""

from __future__ import annotations

#: One file of it.
FIRST = """
#define noinline __attribute__((noinline))
#define always static inline __attribute__((always_inline))
#define notrace __attribute__((patchable_function_entry(0, 0)))
volatile int sink;

always int wholly(int x) { sink = x; return sink * 3; }
int partly(int x) { sink = x + 1; return sink; }
int holds_copies(int x) { return wholly(x) + partly(x); }
int holds_more(int x) { return wholly(x + 1); }

noinline static int twin(int x) { sink = x; return 1; }
int first_twin(int x) { return twin(x) + 1; }

noinline int cloned(int x) __asm__("cloned.isra.0");
noinline int cloned(int x) { sink = x; return 2; }
int calls_clone(int x) { return cloned(x) + 1; }

noinline int split_rest(int x) __asm__("split.part.0");
noinline int split_rest(int x) { sink = x; return 3; }
int calls_rest(int x) { return x ? split_rest(x) + 1 : 0; }

noinline int tailed(int x) { sink = x; return sink; }
int jumps(int x) { return tailed(x + 1); }

noinline static int in_table(int x) { return x + 5; }
int (*const table[])(int) = { in_table };
noinline static int in_code(int x) { sink = x; return 6; }
int (*volatile hook)(int);
void takes(void) { hook = in_code; }

noinline notrace int untraced(int x) { sink = x; return 7; }
int copied_elsewhere(int x) __asm__("_einittext");
int copied_elsewhere(int x) { return untraced(x) * 3 + sink; }
int calls_untraced(int x) { return untraced(x) + 1; }
/* As gcc names __func__; clang's has no symbol. */
#define own_name(number, name) \\
  __attribute__((used)) static const char own_##name[] __asm__("__func__." #number) = #name
own_name(77, speaks);
own_name(78, speaks_for_itself);
own_name(79, only_named);
const char *volatile said;
always int speaks(int x) { said = own_speaks; sink = x; return sink; }
int holds_speaker(int x) { return speaks(x) * 9; }
int speaks_for_itself(int x) { said = own_speaks_for_itself; sink = x; return sink; }
const char *const *text(void) { static const char *const kept = "logged_only"; return &kept; }
int holds_other(int x) { return speaks_for_itself(x) * 9; }
noinline notrace static int header(int x) { sink = x; return 9; }
int uses_header(int x) { return header(x) + sink; }
noinline int recursive(int x) { return x ? recursive(x - 1) + sink + recursive(x - 2) : 0; }
"""
#: The other.
SECOND = """
extern volatile int sink;
extern int partly(int x), recursive(int x);
__attribute__((noinline)) static int twin(int x) { sink = x + 8; return 8; }
__attribute__((noinline, patchable_function_entry(0, 0))) static int header(int x)
{ sink = x; return 9; }
int also_uses_header(int x) { return header(x) + sink; }
int beside(int x) { return x; }
int second_twin(int x) { return twin(x) + partly(x) + 1; }
"""
FLAGS = ("-g", "-fpatchable-function-entry=2")
