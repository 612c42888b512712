/* One thread and its loop turn: libevent base, cached clock, timer wheel, mailbox, flush hooks.
 *
 * A turn: wait -> read the clock once -> socket callbacks -> due timers -> mailbox -> flush hooks
 * (so that everything written during the turn leaves in as few system calls as possible).
 * Every object belongs to one worker for life. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_NET_WORKER_H
#define SORI_NET_WORKER_H

#include "base/metrics.h"
#include "base/timerwheel.h"

struct event_base;
struct worker;

typedef void worker_fn(void *arg, uint64_t now_us);

/* A timer with the function that a worker calls when it is due (it is unset by then). */
struct wtimer {
    struct timer timer;
    worker_fn *fn;
    void *arg;
};

/* A hook that runs at the end of each loop turn in which it was asked for (worker_want_flush). */
struct wflush {
    struct list _link;
    worker_fn *fn;
    void *arg;
};

/* A worker that does not run yet; NULL when memory or descriptors are out. */
struct worker *worker_new(unsigned index);
void worker_free(struct worker *w); /* after it has stopped; NULL is allowed */

/* The number given to worker_new(), and the libevent base for descriptors and signals. */
unsigned worker_index(const struct worker *w);
struct event_base *worker_base(struct worker *w);

/* This turn's time. Worker thread only (or before it runs). */
uint64_t worker_now(const struct worker *w);

/* Runs turns in the calling thread until worker_stop(). */
void worker_run(struct worker *w);
/* Runs it in a thread of its own; worker_join() waits for its end. Returns 0 or -errno. */
int worker_start(struct worker *w, const char *thread_name);
void worker_join(struct worker *w);
/* Runs what is in the mailbox, in the calling thread, after the worker's has ended. Returns whether
 * there was something. */
bool worker_settle(struct worker *w);
/* Any thread, any number of times; safe in a signal handler's self-pipe, not in the handler. */
void worker_stop(struct worker *w);

/* Sets, moves, cancels. Worker thread only. */
void worker_timer(struct worker *w, struct wtimer *t, uint64_t deadline_us);
void worker_timer_cancel(struct worker *w, struct wtimer *t);

/* Asks for f->fn(f->arg) at the end of this turn, once. Worker thread only. */
void worker_want_flush(struct worker *w, struct wflush *f);
void worker_cancel_flush(struct wflush *f);

/* Under load, lets turns begin with a sleep of max_us (0, the default: never), so that what arrives
 * meanwhile is handled together; timers and mail wait too: net/coalesce.h. worker_handled() tells
 * of n packets handled in this turn. Worker thread only (or before it runs). */
void worker_coalesce(struct worker *w, uint64_t max_us);
void worker_handled(struct worker *w, unsigned n);

/* Adds to h how long each turn takes that had anything to do, from its end of waiting to its end. h
 * outlives the worker; NULL ends it. Worker thread only (or before it runs). */
void worker_measure(struct worker *w, struct histogram *h);

/* Mailbox: runs fn(arg) on w's thread soon. Any thread. Returns 0, -ENOMEM. */
int worker_post(struct worker *w, worker_fn *fn, void *arg);

#endif
