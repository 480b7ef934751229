/* What the objects of the tests need of a program's usual headers, in our own words. */
#pragma once

typedef _Bool bool;
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long s64;

#define SEC(name) __attribute__((section(name), used))
#define CORE __attribute__((preserve_access_index))
#define __weak __attribute__((weak))
#define __noinline __attribute__((noinline))
#define __ksym __attribute__((section(".ksyms")))
#define __kconfig __attribute__((section(".kconfig")))
#define NULL ((void *)0)

/* The second argument of clang's builtins, by what they ask for. */
enum { FIELD_BYTE_OFFSET, FIELD_BYTE_SIZE, FIELD_EXISTS, FIELD_SIGNED, FIELD_LSHIFT, FIELD_RSHIFT };
enum { TYPE_EXISTS, TYPE_SIZE, TYPE_MATCHES };
enum { ENUM_VALUE_EXISTS, ENUM_VALUE };
enum { TYPE_ID_LOCAL, TYPE_ID_TARGET };

#define field_info(field, what) __builtin_preserve_field_info(field, what)
#define field_exists(field) field_info(field, FIELD_EXISTS)
#define type_info(type, what) __builtin_preserve_type_info(*(typeof(type) *)0, what)
#define type_id(type, what) __builtin_btf_type_id(*(typeof(type) *)0, what)
#define enum_value(type, value, what) __builtin_preserve_enum_value(*(typeof(type) *)value, what)

static long (*probe_read_kernel)(void *to, u32 size, const void *from) = (void *)113;
static u64 (*get_current_task)(void) = (void *)35;
static u64 (*get_current_pid_tgid)(void) = (void *)14;
static long (*override_return)(void *registers, u64 value) = (void *)58;

char LICENSE[] SEC("license") = "GPL";
