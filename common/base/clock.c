/* Reads the two clocks of the kernel.
 *
 * Called by shells, once per loop turn, and by log.c. Any thread.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/clock.h"

#include <time.h>

static uint64_t clock_read_us(clockid_t id)
{
    struct timespec ts = {0};

    clock_gettime(id, &ts); /* fails for unknown ids and bad pointers only */
    return (uint64_t)ts.tv_sec * US_PER_S + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t clock_now_us(void)
{
    return clock_read_us(CLOCK_MONOTONIC);
}

uint64_t clock_wall_us(void)
{
    return clock_read_us(CLOCK_REALTIME);
}
