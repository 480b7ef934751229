/* The other function of a name. */
extern volatile int sink;
extern int psi_task_switch(int x);
__attribute__((noinline)) static int ip_rcv_finish(int x) { sink = x + 8; return 8; }
int ip6_rcv(int x) { return ip_rcv_finish(x) + psi_task_switch(x) + 1; }
