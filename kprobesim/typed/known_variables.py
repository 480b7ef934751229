"""Variables whose types are in no BTF, and that people and drgn's helpers ask for.

Each with the types that it had, the newest first; of these the first that a kernel knows is it.
From the declarations of Linux 5.10 to 7.3, in the file that is named behind each group. They are
written as in C, but for ``[CONSTANT]``, a value of some enum; ``[0]``, an array of a length that
nothing tells; and ``struct { a b }``, the struct without a name that has these members.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["KNOWN", "KNOWN_PER_CPU"]

KNOWN: Mapping[str, tuple[str, ...]] = {
    # tasks: init/init_task.c, kernel/pid.c, init/version.c, fs/fs_struct.c
    "init_task": ("struct task_struct",),
    "init_pid_ns": ("struct pid_namespace",),
    "init_uts_ns": ("struct uts_namespace",),
    "init_ipc_ns": ("struct ipc_namespace",),
    "init_time_ns": ("struct time_namespace",),
    "init_user_ns": ("struct user_namespace",),
    "init_cred": ("struct cred",),
    "init_fs": ("struct fs_struct",),
    "init_files": ("struct files_struct",),
    "init_nsproxy": ("struct nsproxy",),
    "root_task_group": ("struct task_group",),
    "total_forks": ("unsigned long",),
    "avenrun": ("unsigned long [3]",),
    # fs/proc/array.c, kernel/fork.c, kernel/user.c, fs/nsfs.c, ipc/ipc_sysctl.c
    "task_state_array": ("char *[9]",),
    "task_struct_cachep": ("struct kmem_cache *",),
    "uidhash_table": ("struct hlist_head [128]",),
    "ns_file_operations": ("struct file_operations",),
    "ipc_mni_shift": ("int",),
    # memory: mm/init-mm.c, mm/page_alloc.c, mm/vmalloc.c, mm/slab_common.c, mm/mmzone.c
    "init_mm": ("struct mm_struct",),
    "mem_section": ("struct mem_section **",),
    "contig_page_data": ("struct pglist_data",),
    "vmap_nodes": ("struct vmap_node *",),
    "nr_vmap_nodes": ("unsigned int",),
    "vmap_zone_size": ("unsigned int",),
    "vmap_area_list": ("struct list_head",),
    "vmap_area_root": ("struct rb_root",),
    "__highest_present_section_nr": ("unsigned long",),
    "node_data": ("struct pglist_data *[0]",),
    "node_states": ("nodemask_t [NR_NODE_STATES]",),
    "vm_node_stat": ("atomic_long_t [NR_VM_NODE_STAT_ITEMS]",),
    "vm_zone_stat": ("atomic_long_t [NR_VM_ZONE_STAT_ITEMS]",),
    "vm_numa_event": ("atomic_long_t [NR_VM_NUMA_EVENT_ITEMS]",),
    "vm_numa_stat": ("atomic_long_t [NR_VM_NUMA_STAT_ITEMS]",),
    "vm_committed_as": ("struct percpu_counter",),
    "sysctl_overcommit_ratio": ("int",),
    "sysctl_overcommit_kbytes": ("unsigned long",),
    "memblock": ("struct memblock",),
    "swap_info": ("struct swap_info_struct *[0]",),
    "nr_swapfiles": ("unsigned int",),
    "hstates": ("struct hstate [0]",),
    "hugetlb_max_hstate": ("int",),
    "stack_slabs": ("void *[0]",),
    "slab_kset": ("struct kset *",),
    "slab_caches": ("struct list_head",),
    "_totalram_pages": ("atomic_long_t",),
    "total_swap_pages": ("long",),
    "nr_swap_pages": ("atomic_long_t",),
    "nr_node_ids": ("unsigned int",),
    "max_low_pfn": ("unsigned long",),
    "min_low_pfn": ("unsigned long",),
    "max_pfn": ("unsigned long",),
    "high_memory": ("void *",),
    "vmemmap_base": ("unsigned long",),
    "vmalloc_base": ("unsigned long",),
    "page_offset_base": ("unsigned long",),
    "memstart_addr": ("s64",),
    "kimage_voffset": ("u64",),
    # modules: kernel/module/main.c, tree_lookup.c
    "modules": ("struct list_head",),
    "mod_tree": ("struct mod_tree_root",),
    # interrupts: kernel/irq/irqdesc.c
    "irq_desc_tree": ("struct xarray",),
    "sparse_irqs": ("struct maple_tree",),
    "nr_irqs": ("int",),
    "total_nr_irqs": ("unsigned int",),
    "irq_err_count": ("atomic_t",),
    "idt_table": ("gate_desc [256]",),  # arch/x86/kernel/idt.c
    "poll_spurious_irq_timer": ("struct timer_list",),
    # processors: kernel/cpu.c, mm/percpu.c, lib/cpumask.c
    "nr_cpu_ids": ("unsigned int",),
    "__per_cpu_offset": ("unsigned long [64]",),
    "__cpu_possible_mask": ("struct cpumask",),
    "__cpu_online_mask": ("struct cpumask",),
    "__cpu_present_mask": ("struct cpumask",),
    "__cpu_active_mask": ("struct cpumask",),
    "cpu_possible_mask": ("struct cpumask *",),
    "cpu_online_mask": ("struct cpumask *",),
    "cpu_present_mask": ("struct cpumask *",),
    "pcpu_base_addr": ("void *",),
    # time and printk: kernel/time/timekeeping.c, kernel/printk/printk.c
    "timekeeper_data": ("struct tk_data [TIMEKEEPERS_MAX]",),
    "tk_core": ("struct tk_data", "struct { seq timekeeper }"),
    "jiffies": ("unsigned long",),
    "jiffies_64": ("u64",),
    "system_state": ("enum system_states",),
    "prb": ("struct printk_ringbuffer *",),
    "panic_cpu": ("atomic_t",),
    "tainted_mask": ("unsigned long",),
    "saved_command_line": ("char *",),
    "linux_banner": ("char [0]",),
    # files and devices: fs/super.c, fs/filesystems.c, block/genhd.c, drivers/base/core.c
    "super_blocks": ("struct list_head",),
    "file_systems": ("struct file_system_type *",),
    "blockdev_superblock": ("struct super_block *",),
    "block_class": ("struct class",),
    "class_kset": ("struct kset *",),
    "bus_kset": ("struct kset *",),
    "devices_kset": ("struct kset *",),
    "class_ktype": ("struct kobj_type",),
    "bus_ktype": ("struct kobj_type",),
    "device_ktype": ("struct kobj_type",),
    "driver_ktype": ("struct kobj_type",),
    "module_ktype": ("struct kobj_type",),
    "memory_subsys": ("struct bus_type",),
    "sections_per_block": ("int",),
    "chrdevs": ("struct char_device_struct *[255]",),  # fs/char_dev.c
    "cdev_map": ("struct kobj_map *",),
    "major_names": ("struct blk_major_name *[255]",),
    "pci_bus_type": ("struct bus_type",),
    "pci_root_buses": ("struct list_head",),
    "cgrp_dfl_root": ("struct cgroup_root",),
    "sysfs_root_kn": ("struct kernfs_node *",),
    "userspace_init_fs": ("struct fs_struct *",),
    # networks: net/core/net_namespace.c
    "init_net": ("struct net",),
    "net_namespace_list": ("struct list_head",),
    # BPF: kernel/bpf/syscall.c, btf.c
    "prog_idr": ("struct idr",),
    "map_idr": ("struct idr",),
    "link_idr": ("struct idr",),
    "btf_idr": ("struct idr",),
}

KNOWN_PER_CPU: Mapping[str, tuple[str, ...]] = {  # for BTF that pahole made before 1.18
    "runqueues": ("struct rq",),  # kernel/sched/core.c
    "kstat": ("struct kernel_stat",),
    "kernel_cpustat": ("struct kernel_cpustat",),
    "current_task": ("struct task_struct *",),  # arch/x86/kernel/cpu/common.c
    "cpu_number": ("int",),
    "cpu_info": ("struct cpuinfo_x86",),
    "irq_stat": ("irq_cpustat_t",),  # arch/x86/kernel/irq.c, kernel/softirq.c
    "timer_bases": ("struct timer_base [2]",),  # kernel/time/timer.c
    "hrtimer_bases": ("struct hrtimer_cpu_base",),  # kernel/time/hrtimer.c
    "tick_cpu_sched": ("struct tick_sched",),  # kernel/time/tick-sched.c
    "vm_event_states": ("struct vm_event_state",),  # mm/vmstat.c
    "softnet_data": ("struct softnet_data",),  # net/core/dev.c
    "cpu_tlbstate": ("struct tlb_state",),  # arch/x86/mm/init.c
}
