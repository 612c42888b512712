/* Allocation with a fault switch: every heap object of Sori comes from here, so that tests can
 * fail the N-th allocation and count what is live. Any thread.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_BASE_MEM_H
#define SORI_BASE_MEM_H

#include "base/bytes.h"

/* Gives n zeroed bytes, or NULL when memory is out (the caller fails its one request with -ENOMEM).
 * Free with mem_free(). n may be 0. */
void *mem_zalloc(size_t n);

/* Like mem_zalloc(count * size), NULL when the product overflows. */
void *mem_calloc(size_t count, size_t size);

/* Resizes p (may be NULL) to n bytes; new bytes are not zeroed. NULL leaves p as it was. */
void *mem_realloc(void *p, size_t n);

/* A NUL-terminated heap copy of s, or NULL. */
char *mem_strndup(struct slice s);

/* Frees; NULL is allowed. */
void mem_free(void *p);

/* Tests only. mem_fail_after(n): the n-th allocation from now (0 = the next) fails, once;
 * mem_fail_never() turns it off. mem_live() counts allocations not yet freed. */
void mem_fail_after(uint64_t n);
void mem_fail_never(void);
bool mem_failed(void); /* the armed failure has happened since it was armed */
uint64_t mem_live(void);

#endif
