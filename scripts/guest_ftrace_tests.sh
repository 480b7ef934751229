#!/bin/busybox sh
busybox mount -t proc proc /proc
busybox --install -s /bin
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tracefs tracefs /sys/kernel/tracing
cd /sys/kernel/tracing
entry='0x[04]' # behind ENDBR64, where a kernel has it: what stands there is no NOP of ftrace's
case $(uname -m) in x86_64) SECOND=%si FIRST=%di ;; *) SECOND=%x1 FIRST=%x0 ;; esac

clean() { echo 0 > events/enable; echo > kprobe_events; echo nop > current_tracer; echo > trace; }
tell() { [ $? = 0 ] && echo "test $1: ok" || echo "test $1: FAILED"; clean; }
add() { echo "$1" >> kprobe_events; }
refused() { ! echo "$1" >> kprobe_events; }
on() { echo 1 > events/$1/enable; }
off() { echo 0 > events/$1/enable; }
fork() { (echo forked > /dev/null); }
clean

! add p:myevent1 2> /dev/null && ! grep -q myevent1 kprobe_events
tell "an event without a place is none"

add "p:myevent kernel_clone" && grep -q myevent kprobe_events && [ -d events/kprobes/myevent ] &&
  echo > kprobe_events && ! [ -d events/kprobes/myevent ]
tell "add and remove"

add "p:myevent kernel_clone" && on kprobes/myevent && ! echo > kprobe_events 2> /dev/null &&
  off kprobes/myevent && echo > kprobe_events
tell "a busy event stays"

add 'p:args kernel_clone $stack $stack0 +0($stack)' && on kprobes/args && fork && off kprobes/args &&
  grep -q "args: (kernel_clone+$entry/.*arg1=0x.*arg2=0x.*arg3=0x" trace
tell "arguments on the stack"

add "p:args do_sys_openat2 name=+0($SECOND):ustring" && on kprobes/args && cat /proc/version > /dev/null &&
  off kprobes/args && grep -q 'name="/proc/version"' trace
tell "a string of user space"

string='' wanted='' # not every kernel keeps the names of data
grep -q ' linux_proc_banner$' /proc/kallsyms && string='d=@linux_proc_banner:string' wanted='d="%s version'
add "p:sym kernel_clone c=@kernel_clone:x32 $string" && on kprobes/sym && fork && off kprobes/sym &&
  grep -q "c=0x[0-9a-f]* *$wanted" trace
tell "memory at a symbol"

for bad in 'p:x kernel_clone %unknown' 'p:x kernel_clone $stack:u128' 'p:x kernel_clone $unknown' \
  'p:x kernel_clone +0(' 'p:x kernel_clone a=@no_such_symbol_here' 'p:x kernel_clone $retval' \
  'p:x kernel_clone $stack0:b33@0/32' 'p:x no_such_function' 'p:1x kernel_clone' 'q:x kernel_clone' \
  'p10:x kernel_clone' 'p:x kernel_clone+99999999' 'p:x kernel_clone a$=%ax'
do refused "$bad" 2> /dev/null || echo "accepted: $bad"; done > /tmp/accepted; ! grep . /tmp/accepted
tell "what is wrong is refused"

refused "p:x no_such_function" 2> /dev/null && grep -q no_such_function error_log
tell "the error log names it"

add 'p:types kernel_clone a=$stack0:s32 b=$stack0:u32 c=$stack0:x32 d=$stack0:b8@4/32 e=$comm' &&
  on kprobes/types && fork && off kprobes/types &&
  grep -Eq 'a=-?[0-9]+ b=[0-9]+ c=0x[0-9a-f]+ d=[0-9]+ e="' trace
tell "types of arguments"

add "p:mine/one kernel_clone" && add "p:mine/two do_sys_openat2" && [ -d events/mine/one ] &&
  [ -d events/mine/two ] && add "-:mine/one" && ! [ -d events/mine/one ] && [ -d events/mine/two ]
tell "groups of events"

add "p kernel_clone" && [ -d events/kprobes/p_kernel_clone_0 ]
tell "a name of its own"

add "p:both kernel_clone" && on kprobes/both && echo kernel_clone > set_ftrace_filter &&
  echo function > current_tracer && fork && off kprobes/both && echo nop > current_tracer
seen=$?; echo > set_ftrace_filter; [ $seen = 0 ]
tell "with the function tracer"

echo kernel_clone > set_ftrace_filter && echo function > current_tracer &&
  add "p:both kernel_clone" && on kprobes/both && fork && grep -q 'both: (kernel_clone' trace &&
  grep -q 'kernel_clone <-' trace && off kprobes/both
seen=$?; echo nop > current_tracer; echo > set_ftrace_filter; [ $seen = 0 ]
tell "below the function tracer"

add "r5:back kernel_clone" && grep -q '^r5:kprobes/back' kprobe_events && refused "r1000000:more kernel_clone" 2> /dev/null
tell "as many returns as are asked for"

add 'r:back kernel_clone got=$retval:x32' && on kprobes/back && fork && off kprobes/back &&
  grep -q 'back: (.* <- kernel_clone) got=0x' trace
tell "a value that is returned"

add "p:many kernel_clone" && add "p:many do_sys_openat2" && on kprobes/many && fork &&
  cat /proc/version > /dev/null && off kprobes/many && grep -q 'many: (kernel_clone' trace &&
  grep -q 'many: (do_sys_openat2' trace && [ $(grep -c many kprobe_events) = 2 ]
tell "two places of one event"

add "p:count kernel_clone" && on kprobes/count && fork && fork && off kprobes/count &&
  set -- $(grep count kprobe_profile) && [ $2 -ge 2 ] && [ $3 = 0 ]
tell "hits and misses are counted"

at=$(grep ' [tT] kernel_clone$' /proc/kallsyms | cut -d' ' -f1) && add "p:number 0x$at" &&
  on kprobes/number && fork && off kprobes/number && grep -q "number: (kernel_clone+$entry/" trace
tell "a place by its address"

seen=0; offset=0
while [ $offset -lt 64 ]; do
  add "p:at$offset vfs_read+$offset" 2> /dev/null && seen=$((seen + 1)); offset=$((offset + 1))
done
on kprobes && cat /proc/version > /dev/null; off kprobes; [ $seen -ge 8 ] && [ $seen -lt 64 ]
tell "every instruction of a function, and none in between"

for each in 1 2 3 4 5 6 7 8 9 10; do
  add "p:again vfs_read" && on kprobes/again && cat /proc/version > /dev/null && off kprobes/again && add "-:again" || break
done; [ $each = 10 ]
tell "ten times on and off"

refused "p:x notifier_call_chain" 2> /dev/null
tell "the blacklist"

instances=instances/one; mkdir $instances && add "p:inst kernel_clone" &&
  echo 1 > $instances/events/kprobes/inst/enable && fork &&
  grep -q 'inst: (kernel_clone' $instances/trace && ! grep -q 'inst: (kernel_clone' trace &&
  echo 0 > $instances/events/kprobes/inst/enable && rmdir $instances
tell "an instance of its own"

echo "ftrace tests end"
poweroff -f
