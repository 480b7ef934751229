"""What is wrong with a definition and what to do, by the kernel's names of its errors."""

from __future__ import annotations

__all__ = ["SENTENCES"]

_NAME_OF_C = "must be one of C: letters, digits and _"

SENTENCES: dict[str, str] = {
    "": "a definition is TYPE[:[GROUP/]EVENT] PLACE [ARGUMENTS], and TYPE is p, r, f, t or e",
    "ARGS_2LONG": "its arguments have too long names together: name those you need",
    "ARG_NAME_TOO_LONG": "an argument's name has at most 32 characters",
    "ARG_TOO_LONG": "an argument has at most 63 characters, and 255 in the newest kernels",
    "ARRAY_NO_CLOSE": "the array's ] is missing",
    "ARRAY_TOO_BIG": "an array has at most 64 elements",
    "BAD_ADDR_SUFFIX": "only %return may follow a function",
    "BAD_ARG_NAME": f"an argument's name {_NAME_OF_C}",
    "BAD_ARG_NUM": "arguments are counted from $arg1 on",
    "BAD_ARRAY_NUM": "an array has a number of elements, from 1 on",
    "BAD_ARRAY_SUFFIX": "nothing may follow an array's ]",
    "BAD_BITFIELD": "a bit field is written bWIDTH@OFFSET/SIZE and lies within its SIZE",
    "BAD_DEREF_OFFS": "a dereference is written +OFFSET(WHAT), and OFFSET is a number",
    "BAD_EVENT_NAME": f"an event's name {_NAME_OF_C}",
    "BAD_FETCH_ARG": "an argument is read from %REGISTER, $argN, $retval, $stackN, @SYMBOL, "
    "+OFFSET(WHAT) or a variable by its name; casts came with Linux 7.3",
    "BAD_GROUP_NAME": "a group's name consists of letters, digits, _ and -",
    "BAD_HYPHEN": "members are written A->B or A.B",
    "BAD_IMM": "behind a backslash stands a number, or a text in quotes",
    "BAD_MAXACT": "maxactive is a number from 1 to 4096",
    "BAD_MAXACT_TYPE": "maxactive is for return probes: write r, or leave the number out",
    "BAD_MEM_ADDR": "behind @ stands an address as a number, or SYMBOL+OFFSET",
    "BAD_PROBE_ADDR": "a definition names one place, as [MODULE:]FUNCTION[+OFFSET] or an address: "
    "* and ? are for BPF and ftrace",
    "BAD_REG_NAME": "behind % stands a register as the kernel names it: %di, %x0",
    "BAD_RETPROBE": "a return probe is at the start of a function: leave +OFFSET out",
    "BAD_STACK_NUM": "no stack has that many words",
    "BAD_STRING": "strings and arrays are read from memory: write +0(WHAT) round a pointer",
    "BAD_SYMSTRING": "a symstr is made of an address, not of what is in memory of processes",
    "BAD_TP_NAME": "a tracepoint is named as in C: letters, digits and _",
    "BAD_TYPE": "types are u8 to u64, s8 to s64, x8 to x64, char, symbol, symstr, string, "
    "ustring, a bit field or an array of one: u8[4]; older kernels lack char and symstr",
    "BAD_TYPE4STR": "it is neither a pointer to characters nor an array of them",
    "BAD_VAR": "variables are $argN where a function begins (in return probes since 6.9), $arg* "
    "(since 6.4), $retval, $stack, $stackN and $comm",
    "COMM_CANT_DEREF": "$comm and texts are no pointers",
    "DEREF_NEED_BRACE": "a dereference is written +OFFSET(WHAT)",
    "DEREF_OPEN_BRACE": "the dereference's ) is missing",
    "DIFF_ARG_TYPE": "the event is there and has other arguments, by name or type: give this "
    "one another name",
    "DIFF_PROBE_TYPE": "the event is there and is another kind of probe: give this one another "
    "name",
    "DOUBLE_ARGS": "$arg* stands for all arguments: write it once",
    "EVENT_TOO_BIG": "its arguments take more than 3072 bytes in a record",
    "EVENT_TOO_LONG": "an event's name has at most 63 characters",
    "FILE_ON_KPROBE": "offsets in files are for uprobes",
    "GROUP_TOO_LONG": "a group's name has at most 63 characters",
    "IMMSTR_NO_CLOSE": "the text's closing \" is missing",
    "MAXACT_TOO_BIG": "maxactive is a number from 1 to 4096",
    "NEED_STRING_TYPE": "$comm and texts are strings: leave the type out",
    "NOFENTRY_ARGS": "arguments are there where a function begins: use a register elsewhere",
    "NON_UNIQ_SYMBOL": "several functions have this name: name one by its address",
    "NOSUP_BTFARG": "names of variables need the kernel's types, and a probe at a function's "
    "start: use $argN or a register",
    "NOSUP_DAT_ARG": "only members of what a pointer points to can be read: A->B",
    "NOSUP_PERCPU": "per-CPU variables are for kprobes",
    "NO_ARG_BODY": "nothing stands behind the argument's =",
    "NO_ARG_NAME": "nothing stands before the argument's =",
    "NO_BTFARG": "the function has no argument of that name or number",
    "NO_BTF_ENTRY": "the kernel's types do not have the function: use a register",
    "NO_BTF_FIELD": "the struct has no such member",
    "NO_EP_FILTER": "a filter stands behind if",
    "NO_EVENT_INFO": "an event probe names GROUP.EVENT",
    "NO_EVENT_NAME": "nothing stands behind the colon",
    "NO_GROUP_NAME": "nothing stands before the /",
    "NO_PTR_STRCT": "it points to no struct, and has no members",
    "NO_RETVAL": "the function returns nothing",
    "RETVAL_ON_PROBE": "$retval is for return probes: write r",
    "SAME_PROBE": "the very same probe is there already",
    "TOO_MANY_ARGS": "a probe reads at most 128 values; kernels before 6.12 drop the others",
    "TOO_MANY_EARGS": "a return probe keeps fewer arguments from the function's start",
    "TOO_MANY_NESTED": "at most 8 dereferences and casts may be in each other",
    "TOO_MANY_OPS": "dereferences are nested too deeply",
    "TYPECAST_BAD_ARROW": "the member of a cast is in the struct itself: write A.B",
    "TYPECAST_NOT_ALIGNED": "the member of a cast starts at a byte",
    "TYPECAST_NOT_EVENT": "casts came with Linux 7.3 and need the kernel's types",
    "TYPECAST_REQ_FIELD": "a cast is written (STRUCT)WHAT->MEMBER",
    "TYPECAST_SYM_OFFSET": "write (STRUCT)(@SYMBOL+OFFSET)->MEMBER",
    "USED_ARG_NAME": "the argument's name is in use already: take another",
}
