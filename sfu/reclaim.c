/* jemalloc's background thread, at the lowest priority.
 *
 * What handshakes have freed goes back to the kernel within about a second. The worker that
 * forwards is not held up for it, as by glibc's malloc_trim(), which took 90 ms at a time. Giving
 * pages back takes the kernel milliseconds, too: a thread of the workers' own priority on a
 * worker's core has held up its packets for 6 ms, so it is ordinary even when the daemon is
 * real-time, and comes after everything else. Called by main.c. SPDX-License-Identifier:
 * BSD-3-Clause */
#include "sfu/reclaim.h"

#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <sys/resource.h>

#define LEAST_NICE 19

/* jemalloc reads it before main(). */
extern const char *malloc_conf;
const char *malloc_conf = "background_thread:false,dirty_decay_ms:1000,muzzy_decay_ms:0";

extern int mallctl(const char *name, void *old, size_t *old_len, void *value, size_t value_len)
    __attribute__((weak));

/* jemalloc's thread inherits what the one that asks for it has. */
static void *ask(void *ok)
{
    bool on = true;
    struct sched_param none = {0};

    if (sched_setscheduler(0, SCHED_OTHER, &none) == 0)
        setpriority(PRIO_PROCESS, 0, LEAST_NICE); /* of this thread, on Linux */
    *(bool *)ok = mallctl("background_thread", NULL, NULL, &on, sizeof(on)) == 0;
    return NULL;
}

bool reclaim_start(void)
{
    pthread_t t;
    bool ok = false;

    if (!mallctl)
        return true;
    return pthread_create(&t, NULL, ask, &ok) == 0 && pthread_join(t, NULL) == 0 && ok;
}
