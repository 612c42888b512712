/* Waiting for signals that are blocked, up to a time. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_NET_SIGNAL_WAIT_H
#define SORI_NET_SIGNAL_WAIT_H

#include "base/clock.h"

#include <signal.h>

/* The next signal of set (all of them blocked), or -1 when it is until_us first (CLOCK_NEVER: waits
 * for ever) or the wait was broken off: the caller looks at what is due and waits again. */
int signal_wait(const sigset_t *set, uint64_t until_us);

#endif
