"""What cases of tracefs write: arguments, definitions and filters, good and bad ones."""

from __future__ import annotations

GOOD_ARGUMENTS = (
    "%REG", "@SYM", "@0xADDR", "@SYM+10", "@SYM-10", "$stack", "$stack0", "$stack1", "$comm",
    "+0(%REG)", "-0(%REG)", "+10($stack)", "+0($stack1)", "+10(@SYM-10)", "+0(+10(+20($stack)))",
    "name=%REG", "%REG:x16", "$comm:string", "+0($stack):string",
)  # fmt: skip
BAD_ARGUMENTS = (
    "%ex", "@", "@BADSYM", "@SYM*10", "/10", "%10", "&10", "|10", "$stackp", "$stack0+10",
    "$stack1-10", "$retval", "+(%REG)", "(%REG+10)", "-(%REG)", "(%REG)", "+10($comm)",
    "+0(%REG)+10", "varname=varname2=%REG", "%REG::x16", "%REG:y16", "x16:%REG", "$comm:x64",
    "$stack:string", "%REG:string",
)  # fmt: skip
SYNTAX_ERRORS = (
    "p100 vfs_read", "r1a111 vfs_read", "r100000 vfs_read", "p non_exist_func", "p hoge-fuga",
    "p hoge+1000-1000", "r vfs_read+10", "p:/bar vfs_read", f"p:{65 * 'a'}/bar vfs_read",
    "p:foo.1/bar vfs_read", "p: vfs_read", f"p:foo/{65 * 'a'} vfs_read", "p:foo/bar.1 vfs_read",
    "p vfs_read $retval", "p vfs_read $stack10000", "p vfs_read $arg10000",
    "p vfs_read $none_var", "p vfs_read %none_reg", "p vfs_read @12345678abcde",
    "p vfs_read @+10", "p vfs_read arg1=\\x", 'p vfs_read arg1=\\"abcd', "p vfs_read +0@0)",
    "p vfs_read +0ab1(@0)", "p vfs_read +0(+0(@0)", "p vfs_read +0($comm)", "p vfs_read &1",
    "p vfs_read " + "+0(" * 14 + "@0" + ")" * 14, "p vfs_read +0(@11):u8[10",
    "p vfs_read +0(@11):u8[10]a", "p vfs_read +0(@11):u8[10a]", "p vfs_read +0(@11):u8[256]",
    "p vfs_read @11:unknown_type", "p vfs_read $stack0:string", "p vfs_read @11:b10@a/16",
    f"p vfs_read arg{34 * '1'}=@11", "p vfs_read =@11", "p vfs_read var.1=@11",
    "p vfs_read var1=@11 var1=@12", f"p vfs_read +1234567({60 * 'a'})", "p vfs_read arg1=",
    "p vfs_read+3", "p vfs_read%hoge", "p vfs_read+10%return", "p vfs_read args=$arg*",
    "p vfs_read +0($arg*)", "p vfs_read $arg* $arg*", "p vfs_read+20 $arg*", "p vfs_read hoge",
    "p kfree $arg10", "r kfree $retval", "a:probe vfs_read", "p", "x vfs_read", "-:nosuch", "-",
)  # fmt: skip

FILTERS = (
    "count > 0", "count == 1 && common_pid == 1", "name == nosuch", "count ~ 1", "nosuch == 1",
    "(count > 0", "count > 0)", "count >", 'comm == "init"', 'comm ~ "in*"', "!(count < 1)", "",
    "count & 3 || count == 0x10", "common_pid != 1", "comm == init && count", "0", "x",
)  # fmt: skip
