"""Synthetic events, variables and actions of hist triggers, for ``compare_triggers.py``."""

from __future__ import annotations

__all__ = ["EVENTS", "SYNTHETIC", "TRIGGERS"]

EVENTS = (
    "p:u/a vfs_write num=$arg3:u32 c=$comm",
    *(f"r:u/{name} vfs_write val=$retval:s64" for name in "bcdefgh"),
)
#: Commands to ``synthetic_events``, right ones and wrong ones.
SYNTHETIC = (
    "lat u64 lat; int pid",
    "lat2 s64 lat; int pid; char comm[]; u32 n",
    " bad",
    "bad u7 x",
    "1bad u64 x",
    "lat u64 x",
    "arr char c[x]",
    "arr char c[16]; bool b; gfp_t g",
    "un unsigned long; u8 x",
    "!arr",
    "!none",
    "# c",
    "fl u64 a u32 b",
)
_STARTS = "hist:keys=common_pid:ts0=common_timestamp.usecs,len=num:who=c if {only}"
_BAD = "hist:keys=val:qq=val:"
#: An event, and what is written into its ``trigger``; ``{only}`` is a filter.
TRIGGERS = (
    ("u/a", _STARTS),
    (
        "u/b",
        "hist:keys=common_pid:lat=common_timestamp.usecs-$ts0:onmatch(u.a).trace(lat,$lat,"
        "common_pid) if {only}",
    ),
    ("u/c", "hist:keys=common_pid:diff=val-$len:onmax($diff).save(val,common_pid) if {only}"),
    ("u/d", "hist:keys=common_pid,val:ee=val:onchange($ee).save(val) if {only}"),
    ("u/a", "hist:keys=num:mm=num:onmax($mm).snapshot() if {only}"),
    (
        "u/e",
        "hist:keys=common_pid:vals=val:l2=val,xx=$who:onmatch(u.a).lat2($l2,common_pid,$who,$len) "
        "if {only}",
    ),
    ("u/f", "hist:keys=val:qq=val:onmax($qq).trace(lat,$qq,common_pid) if {only}"),
    ("u/g", "hist:keys=common_pid:vals=$len:zz=val*3:onchange($zz).save(val) if {only}"),
    ("u/g", "hist:keys=val.log2:z2=u.a.$len:onmax($z2).save(val,common_pid) if {only}"),
    (
        "u/h",
        "hist:keys=common_pid:yy=$who,ww=val-$len-$len:onmatch(u.a).lat2($ww,common_pid,$who,$len)"
        " if {only}",
    ),
    ("synthetic/lat", "hist:keys=pid:vals=hitcount:sort=pid"),
    ("synthetic/lat2", "hist:keys=comm,n.log2:vals=lat:sort=lat.descending if lat > 3"),
    ("u/b", "hist:keys=$ts0"),
    ("u/b", "hist:keys=val:qq=$nope"),
    ("u/b", f"{_BAD}onmax($zz).save(val)"),
    ("u/b", f"{_BAD}onmax(qq).save(val)"),
    ("u/b", f"{_BAD}onmatch(u.zz).lat($qq,$qq)"),
    ("u/b", f"{_BAD}onmatch(u.a).nolat($qq,$qq)"),
    ("u/b", f"{_BAD}onmatch(u.a).lat($qq)"),
    ("u/b", f"{_BAD}onmatch(u.a).lat($qq,$qq)"),
    ("u/b", f"{_BAD}onmatch(u.a).save(val)"),
    ("u/b", f"{_BAD}onmatch(u.a)"),
    ("u/b", f"{_BAD}onchange($qq).snapshot()"),
    ("u/a", f"!{_STARTS}"),
)
