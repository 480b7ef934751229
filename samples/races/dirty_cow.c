/* "mm: remove gup_flags FOLL_WRITE games from __get_user_pages()" (19be0eaffa3a, CVE-2016-5195):
 * who writes through a private mapping forgets that he wants to write once the page is copied; if
 * the copy is thrown away just then he gets the file's own page. The mended kernel remembers that
 * there was a copy, and takes no page that is none. */
#include "races.h"

enum { FOLL_WRITE = 1, FOLL_COW = 2 };
enum { PTE_DIRTY = 1 };

static u64 file_page = 100, private_page;
static u64 pte; /* the page's address, and whether it is dirty */

/* The page, or NULL: it has to be faulted in. */
inline_both u64 *follow_page(u32 flags)
{
	u64 entry = READ_ONCE(pte);

	if ((flags & FOLL_WRITE) && !((flags & FOLL_COW) && (entry & PTE_DIRTY)))
		return NULL; /* the mapping is read-only */
	return (u64 *)(entry & ~(u64)PTE_DIRTY);
}

/* Write to the page as a debugger does; the file must not change. */
inline_both s64 write_private(bool fixed, u64 value)
{
	u32 flags = FOLL_WRITE;
	u64 *page;

	while (!(page = follow_page(flags))) {
		if (READ_ONCE(pte) & PTE_DIRTY) { /* it is a copy: it may be written */
			flags = fixed ? flags | FOLL_COW : flags & ~FOLL_WRITE;
		} else if (flags & FOLL_WRITE) {
			WRITE_ONCE(private_page, READ_ONCE(file_page));
			WRITE_ONCE(pte, (u64)&private_page | PTE_DIRTY);
		} else {
			WRITE_ONCE(pte, (u64)&file_page);
		}
	}
	WRITE_ONCE(*page, value);
	return 0;
}
RACY_AND_FIXED_OF(write_private)

/* madvise(MADV_DONTNEED) */
noinline s64 discard_private(void)
{
	WRITE_ONCE(pte, 0);
	return 0;
}

noinline s64 file_content(void)
{
	return (s64)file_page;
}
