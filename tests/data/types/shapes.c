/* Types of odd shapes. shapes.btf is what clang -target bpf makes of them; see ../../kernel_types/test_shapes.py. */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int (*compare_t)(const void *, const void *);
typedef struct { int counter; } atomic_t;
typedef u8 mac_t[6];

struct nowhere;
enum colour { RED, GREEN = 7, BLUE = -1 };
enum wide { WIDE = 1ULL << 63, NARROW = 2 };
enum __attribute__((packed)) tiny { TINY, SMALL };

struct holes {
	u8 first;
	u32 second;
	u8 third;
	u64 fourth;
	u16 last;
};

struct __attribute__((packed)) packed {
	u8 first;
	u64 second;
	u16 third;
};

struct bits {
	u32 a : 3;
	u32 b : 7;
	u8 whole;
	u32 c : 1;
	u64 d : 33;
	u8 e : 4;
	u16 f;
};

struct nested {
	struct nested *next;
	union {
		struct {
			u8 low;
			u32 high;
		};
		u64 whole;
		struct {
			u16 parts[4];
		} named;
	};
	struct {
		int x, y;
	} points[3];
	enum { INNER_ONE = 1, INNER_TWO } inner;
	mac_t address;
	u8 data[];
};

struct functions {
	compare_t compare;
	int (*plain)(void);
	void (*with)(struct nested *, const char *, ...);
	void (*(*returns)(int))(char *);
	int (*table[4])(struct nowhere *);
	int (*(*pointer)[2])(const struct holes *const);
	const char *const *const volatile names;
	void (*takes)(int (*)(int (*)(void)), u32 (*)[8]);
};

struct matrix {
	int rows[3][5];
	const u8 constant[2][2];
	int (*to_row)[5];
	struct nowhere **unknown;
	enum colour colour;
	enum wide wide;
	enum tiny tiny;
	_Bool flag;
	double real;
	__int128 huge;
};

union either {
	struct packed packed;
	u64 aligned;
	u8 bytes[9];
};

struct empty { };

struct holes holes;
struct packed packed;
struct bits bits;
struct nested nested;
struct functions functions;
struct matrix matrix;
union either either;
struct empty empty;
atomic_t counter;

int take(struct nested *first, const struct functions *second, int (*third)(u32))
{
	return first->inner + second->plain() + third(nested.named.parts[1]);
}

u64 nothing(void)
{
	return 0;
}
