/* An update in parts: one function loads, one counts, another one stores. Each part is marked; what
 * is lost is lost all the same. */
#include "races.h"

static u64 balance;
static spinlock_t balance_lock;

static noinline u64 balance_of(void)
{
	return READ_ONCE(balance);
}

static noinline void set_balance(u64 value)
{
	WRITE_ONCE(balance, value);
}

inline_both s64 deposit(bool fixed, u64 amount)
{
	u64 value;

	if (fixed)
		spin_lock(&balance_lock);
	value = balance_of() + amount;
	set_balance(value);
	if (fixed)
		spin_unlock(&balance_lock);
	return (s64)value;
}
RACY_AND_FIXED_OF(deposit)

/* Looks at the balance, and sets another one that has nothing to do with it. */
noinline s64 close_account(void)
{
	u64 value = balance_of();

	set_balance(7);
	return (s64)value;
}
