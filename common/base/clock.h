/* The two clocks. Only shells read them, once per loop turn; cores get the time as an argument.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_BASE_CLOCK_H
#define SORI_BASE_CLOCK_H

#include <stdint.h>

#define CLOCK_NEVER UINT64_MAX
#define US_PER_MS   UINT64_C(1000)
#define US_PER_S    UINT64_C(1000000)

/* Monotonic microseconds since an arbitrary start. Any thread. */
uint64_t clock_now_us(void);

/* Wall clock, microseconds since the Unix epoch. Jumps with the machine's clock: for tokens,
 * credentials and log lines only, never for timers. Any thread. */
uint64_t clock_wall_us(void);

#endif
