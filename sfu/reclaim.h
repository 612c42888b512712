/* Freed memory goes back to the kernel in a thread that disturbs nobody.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_RECLAIM_H
#define SORI_SFU_RECLAIM_H

#include <stdbool.h>

/* Starts it, once, after the signals of main() are blocked. Without jemalloc (sanitizers have an
 * allocator of their own) there is nothing to start. False: jemalloc would not; memory then goes
 * back when threads free more. */
bool reclaim_start(void);

#endif
