/* Copies of test inputs that end at a page without access: one byte read too far is a crash.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TESTS_LIB_GUARD_H
#define SORI_TESTS_LIB_GUARD_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Bytes from the start of a guarded copy's mapping to its guard page. */
static inline size_t guard_span(size_t n)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (n / page + 1) * page;
}

/* Gives a writable copy of n bytes (p NULL: zeroes) whose end is the start of a PROT_NONE page, so
 * that result[n] faults; n may be 0. Ends the process when memory is out. Free with guard_free().
 */
static inline uint8_t *guard_copy(const void *p, size_t n)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t span = guard_span(n);
    uint8_t *map =
        mmap(NULL, span + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (map == MAP_FAILED || mprotect(map + span, page, PROT_NONE) == -1)
        abort();
    uint8_t *copy = map + (span - n);
    if (p && n > 0)
        memcpy(copy, p, n);
    return copy;
}

/* Unmaps a copy; n as in guard_copy(). */
static inline void guard_free(uint8_t *copy, size_t n)
{
    size_t span = guard_span(n);

    if (copy && munmap(copy - (span - n), span + (size_t)sysconf(_SC_PAGESIZE)) == -1)
        abort();
}

#endif
