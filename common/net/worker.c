/* One thread and its loop turn: libevent base, cached clock, timer wheel, mailbox, flush hooks.
 *
 * Everything that lives in a worker (streams, sockets, sessions, calls) is driven from turn()
 * below. libevent runs without locks: only the mailbox crosses threads, a lock-free stack that the
 * worker takes whole, and an eventfd that wakes it. libevent 2.1 has no hook between wait and
 * callbacks, so "the clock is read once per turn, after the wait" is done at the turn's first
 * worker_now(). One libevent timeout stands for all timers of the wheel.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "net/worker.h"

#include "base/mem.h"
#include "net/coalesce.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* A timer that sets itself into the past must not keep sockets waiting for ever. */
#define WORKER_TIMERS_PER_TURN 4096

struct mail {
    struct mail *next;
    worker_fn *fn;
    void *arg;
};

/* Apart from the rest because worker_now(const struct worker *) fills it on demand. */
struct turn_clock {
    uint64_t now_us;
    bool fresh;
};

struct worker {
    struct event_base *base;
    struct event *tick, *wake;
    struct timerwheel *wheel;
    struct turn_clock *clock;
    struct list flush;
    struct coalesce coalesce;
    struct histogram *busy; /* NULL: not measured */
    unsigned handled;       /* packets of this turn */
    uint64_t armed_us;      /* when tick fires, CLOCK_NEVER: not armed */
    bool again;             /* something is left for the next turn: it must not wait */
    bool started;
    int efd;
    unsigned index;
    pthread_t thread;
    _Atomic(struct mail *) mail;
    atomic_bool stop;
};

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct worker *w = arg;
    w->armed_us = CLOCK_NEVER;
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    uint64_t n;
    (void)what;
    (void)arg;
    /* Only resets the counter; the mailbox itself is emptied later in the turn. */
    if (read(fd, &n, sizeof n) == -1)
        return;
}

static void wake(struct worker *w)
{
    uint64_t one = 1;
    /* The only possible failure is a counter at its maximum: then the worker wakes anyway. */
    if (write(w->efd, &one, sizeof one) == -1)
        return;
}

/* Makes the wait end when the wheel wants to be looked at. An earlier wake-up than needed does no
 * harm, so tick only ever moves closer. */
static void arm_tick(struct worker *w)
{
    uint64_t next = timerwheel_next(w->wheel);
    if (next >= w->armed_us)
        return;
    uint64_t now = clock_now_us();
    uint64_t wait = next > now ? next - now : 0;
    struct timeval tv = {(time_t)(wait / US_PER_S), (suseconds_t)(wait % US_PER_S)};
    if (event_add(w->tick, &tv) == 0)
        w->armed_us = next;
    else
        w->again = true; /* no memory for libevent's heap: poll instead of sleeping too long */
}

static void run_timers(struct worker *w)
{
    uint64_t now = worker_now(w);
    for (unsigned i = 0; i < WORKER_TIMERS_PER_TURN; i++) {
        struct timer *t = timerwheel_pop(w->wheel, now);
        if (!t)
            return;
        struct wtimer *wt = CONTAINER_OF(t, struct wtimer, timer);
        wt->fn(wt->arg, now);
    }
    w->again = true;
}

/* Takes the whole stack and turns it round: mail runs in the order in which it was posted. */
static struct mail *take_mail(struct worker *w)
{
    struct mail *m = atomic_exchange_explicit(&w->mail, NULL, memory_order_acquire);
    struct mail *first = NULL;
    while (m) {
        struct mail *next = m->next;
        m->next = first;
        first = m;
        m = next;
    }
    return first;
}

static bool run_mail(struct worker *w)
{
    struct mail *m = take_mail(w);
    bool some = m != NULL;
    while (m) {
        struct mail *next = m->next;
        m->fn(m->arg, worker_now(w));
        mem_free(m);
        m = next;
    }
    return some;
}

/* Runs the hooks asked for so far. What they ask for in their turn runs right after the next,
 * non-blocking wait, so that a hook which always asks again can't starve the sockets. */
static void run_flush(struct worker *w)
{
    struct list todo;
    list_init(&todo);
    if (!list_empty(&w->flush)) {
        todo = w->flush;
        todo.next->prev = &todo;
        todo.prev->next = &todo;
        list_init(&w->flush);
    }
    for (struct list *it; (it = list_first(&todo));) {
        struct wflush *f = CONTAINER_OF(it, struct wflush, _link);
        list_del(it);
        f->fn(f->arg, worker_now(w));
    }
    if (!list_empty(&w->flush))
        w->again = true;
}

/* Lets company gather for what comes next, under load. */
static void linger(struct worker *w)
{
    uint64_t us = w->handled > 0 ? coalesce_after(&w->coalesce, w->handled, worker_now(w)) : 0;
    const struct timespec t = {.tv_nsec = (long)(us * 1000)};

    w->handled = 0;
    if (us > 0 && !w->again)
        nanosleep(&t, NULL);
}

static void turn(struct worker *w)
{
    arm_tick(w);
    linger(w);
    int flags = EVLOOP_ONCE | (w->again ? EVLOOP_NONBLOCK : 0);
    w->again = false;
    w->clock->fresh = false;
    event_base_loop(w->base, flags);
    run_timers(w);
    run_mail(w);
    run_flush(w);
    if (w->busy)
        histogram_add(w->busy, clock_now_us() - worker_now(w));
}

static struct event_base *base_new(void)
{
    struct event_config *cfg = event_config_new();
    if (!cfg)
        return NULL;
    event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_IGNORE_ENV);
    struct event_base *base = event_base_new_with_config(cfg);
    event_config_free(cfg);
    return base;
}

struct worker *worker_new(unsigned index)
{
    struct worker *w = mem_zalloc(sizeof *w);
    if (!w)
        return NULL;
    list_init(&w->flush);
    w->index = index;
    w->armed_us = CLOCK_NEVER;
    w->efd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    w->clock = mem_zalloc(sizeof *w->clock);
    w->wheel = timerwheel_new(clock_now_us());
    w->base = base_new();
    if (w->efd == -1 || !w->clock || !w->wheel || !w->base)
        goto fail;
    w->tick = evtimer_new(w->base, on_tick, w);
    w->wake = event_new(w->base, w->efd, EV_READ | EV_PERSIST, on_wake, w);
    if (!w->tick || !w->wake || event_add(w->wake, NULL) != 0)
        goto fail;
    return w;
fail:
    worker_free(w);
    return NULL;
}

void worker_free(struct worker *w)
{
    if (!w)
        return;
    for (struct mail *m = take_mail(w), *next; m; m = next) {
        next = m->next;
        mem_free(m);
    }
    if (w->tick)
        event_free(w->tick);
    if (w->wake)
        event_free(w->wake);
    if (w->base)
        event_base_free(w->base);
    timerwheel_free(w->wheel);
    mem_free(w->clock);
    if (w->efd != -1)
        close(w->efd);
    mem_free(w);
}

unsigned worker_index(const struct worker *w)
{
    return w->index;
}

struct event_base *worker_base(struct worker *w)
{
    return w->base;
}

uint64_t worker_now(const struct worker *w)
{
    struct turn_clock *c = w->clock;
    if (!c->fresh) {
        c->now_us = clock_now_us();
        c->fresh = true;
    }
    return c->now_us;
}

void worker_run(struct worker *w)
{
    while (!atomic_load_explicit(&w->stop, memory_order_acquire))
        turn(w);
    atomic_store_explicit(&w->stop, false, memory_order_release);
    w->clock->fresh = false;
}

static void *thread_main(void *arg)
{
    worker_run(arg);
    return NULL;
}

int worker_start(struct worker *w, const char *thread_name)
{
    sigset_t all, old;
    /* Signals are the main thread's; a thread inherits the mask of its creator. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&w->thread, NULL, thread_main, w);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc != 0)
        return -rc;
    w->started = true;
    pthread_setname_np(w->thread, thread_name); /* only a label: too long a name is refused */
    return 0;
}

void worker_join(struct worker *w)
{
    if (!w->started)
        return;
    pthread_join(w->thread, NULL);
    w->started = false;
}

bool worker_settle(struct worker *w)
{
    return run_mail(w);
}

void worker_stop(struct worker *w)
{
    atomic_store_explicit(&w->stop, true, memory_order_release);
    wake(w);
}

void worker_timer(struct worker *w, struct wtimer *t, uint64_t deadline_us)
{
    timer_set(w->wheel, &t->timer, deadline_us);
}

void worker_timer_cancel(struct worker *w, struct wtimer *t)
{
    timer_cancel(w->wheel, &t->timer);
}

void worker_want_flush(struct worker *w, struct wflush *f)
{
    if (!list_linked(&f->_link))
        list_append(&w->flush, &f->_link);
}

void worker_coalesce(struct worker *w, uint64_t max_us)
{
    w->coalesce.max_us = max_us;
}

void worker_measure(struct worker *w, struct histogram *h)
{
    w->busy = h;
}

void worker_handled(struct worker *w, unsigned n)
{
    w->handled += n;
}

void worker_cancel_flush(struct wflush *f)
{
    list_del(&f->_link);
}

int worker_post(struct worker *w, worker_fn *fn, void *arg)
{
    struct mail *m = mem_zalloc(sizeof *m);
    if (!m)
        return -ENOMEM;
    *m = (struct mail){NULL, fn, arg};
    struct mail *head = atomic_load_explicit(&w->mail, memory_order_relaxed);
    do {
        m->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&w->mail, &head, m, memory_order_release,
                                                    memory_order_relaxed));
    /* A stack that was not empty has its wake-up under way already. */
    if (!head)
        wake(w);
    return 0;
}
