/* The allocator: calloc and friends with a count of live objects and a switch that fails the N-th.
 *
 * Called by everything that owns heap objects. Any thread. The count and the switch are relaxed
 * atomics: exact when the program is quiet, which is when tests look.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/mem.h"

#include <stdatomic.h>
#include <stdlib.h>

static atomic_uint_fast64_t mem_live_count;
static atomic_int_fast64_t mem_fail_in = -1; /* allocations to go before the failure; < 0: off */
static atomic_bool mem_has_failed;

/* True when this allocation is the one that has to fail. */
static bool mem_must_fail(void)
{
    if (atomic_load_explicit(&mem_fail_in, memory_order_relaxed) < 0)
        return false;
    if (atomic_fetch_sub_explicit(&mem_fail_in, 1, memory_order_relaxed) != 0)
        return false;
    atomic_store_explicit(&mem_has_failed, true, memory_order_relaxed);
    return true;
}

static void *mem_counted(void *p)
{
    if (p)
        atomic_fetch_add_explicit(&mem_live_count, 1, memory_order_relaxed);
    return p;
}

void *mem_calloc(size_t count, size_t size)
{
    size_t bytes;

    if (mem_must_fail() || __builtin_mul_overflow(count, size, &bytes))
        return NULL;
    if (count == 0 || size == 0)
        count = size = 1; /* NULL shall always mean failure */
    return mem_counted(calloc(count, size));
}

void *mem_zalloc(size_t n)
{
    return mem_calloc(n, 1);
}

void *mem_realloc(void *p, size_t n)
{
    if (mem_must_fail())
        return NULL;
    void *q = realloc(p, n > 0 ? n : 1);
    return p ? q : mem_counted(q);
}

char *mem_strndup(struct slice s)
{
    if (s.len == SIZE_MAX)
        return NULL;
    char *copy = mem_zalloc(s.len + 1);
    if (copy && s.len > 0)
        memcpy(copy, s.p, s.len);
    return copy;
}

void mem_free(void *p)
{
    if (p)
        atomic_fetch_sub_explicit(&mem_live_count, 1, memory_order_relaxed);
    free(p);
}

void mem_fail_after(uint64_t n)
{
    atomic_store(&mem_has_failed, false);
    atomic_store(&mem_fail_in, n < INT64_MAX ? (int_fast64_t)n : INT64_MAX);
}

void mem_fail_never(void)
{
    atomic_store(&mem_fail_in, -1);
}

bool mem_failed(void)
{
    return atomic_load(&mem_has_failed);
}

uint64_t mem_live(void)
{
    return atomic_load(&mem_live_count);
}
