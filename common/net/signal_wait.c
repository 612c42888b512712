/* Waiting for signals that are blocked, up to a time.
 *
 * Called by the main threads of sori-turn and sori-sfu. SPDX-License-Identifier: BSD-3-Clause */
#include "net/signal_wait.h"

#include <time.h>

int signal_wait(const sigset_t *set, uint64_t until_us)
{
    if (until_us == CLOCK_NEVER)
        return sigwaitinfo(set, NULL);
    uint64_t now_us = clock_now_us(), us = until_us > now_us ? until_us - now_us : 0;
    const struct timespec wait = {.tv_sec = (time_t)(us / US_PER_S),
                                  .tv_nsec = (long)(us % US_PER_S * 1000)};

    return sigtimedwait(set, NULL, &wait);
}
