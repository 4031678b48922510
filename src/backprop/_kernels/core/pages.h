/* Large pages. Arrays of megabytes lie in more pages of 4 KiB than the processor's translation lookaside buffer holds, and every
   miss there takes time: pages of 2 MiB are few. */

#ifndef BACKPROP_PAGES_H
#define BACKPROP_PAGES_H

#include <stddef.h>
#include <stdint.h>

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

#define LARGE_PAGE ((size_t)1 << 21)

/* Ask for large pages in memory that has just been allocated; for less than one, and where the system has none, nothing happens. */
static inline void use_large_pages(void *memory, size_t bytes) {
#if defined(MADV_HUGEPAGE)
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), start = ((uintptr_t)memory + page - 1) / page * page;
    if (memory && bytes >= LARGE_PAGE) madvise((void *)start, ((uintptr_t)memory + bytes - start) / page * page, MADV_HUGEPAGE);
#else
    (void)memory, (void)bytes;
#endif
}

#endif
