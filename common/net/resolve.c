/* getaddrinfo() on a thread, its answers by the worker's mailbox.
 *
 * Called by server/h2_client_link.c. The state is shared by the resolver, its thread and queries
 * under way, and counted: getaddrinfo() may take longer than its user lives, so that freeing lets
 * the thread run out alone. SPDX-License-Identifier: BSD-3-Clause */
#include "net/resolve.h"

#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>

#include "base/list.h"
#include "base/mem.h"
#include "net/worker.h"

#define POST_PAUSE_NS 20000000
/* Name service modules want some; and thread-local buffers (sori-sfu has 260 kB) are taken from it.
 */
#define THREAD_STACK_BYTES ((size_t)1 << 20)

struct shared {
    pthread_mutex_t lock;
    pthread_cond_t news;
    struct list todo;
    unsigned refs;         /* the resolver, its thread, each query that the thread has */
    struct worker *worker; /* NULL: the resolver is gone */
};

struct resolver {
    struct shared *shared;
};

struct resolve_query {
    struct list link; /* shared.todo */
    struct shared *shared;
    resolve_fn *fn; /* NULL: cancelled; the worker's */
    void *arg;
    uint16_t port;
    size_t n;
    struct addr addrs[RESOLVE_ADDRS_MAX];
    char why[96], host[RESOLVE_HOST_MAX + 1];
};

/* With the lock held; gives it back. */
static void release(struct shared *s)
{
    bool last = --s->refs == 0;

    pthread_mutex_unlock(&s->lock);
    if (!last)
        return;
    pthread_cond_destroy(&s->news);
    pthread_mutex_destroy(&s->lock);
    mem_free(s);
}

static void query_free(struct resolve_query *q)
{
    struct shared *s = q->shared;

    mem_free(q);
    pthread_mutex_lock(&s->lock);
    release(s);
}

/* On the worker. */
static void deliver(void *arg, uint64_t now_us)
{
    struct resolve_query *q = arg;

    (void)now_us;
    pthread_mutex_lock(&q->shared->lock);
    bool wanted = q->fn && q->shared->worker;
    pthread_mutex_unlock(&q->shared->lock);
    if (wanted)
        q->fn(q->arg, q->addrs, q->n, q->why);
    query_free(q);
}

/* On the thread, without the lock. */
static void look_up(struct resolve_query *q)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    const struct addrinfo numeric = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST};
    struct addrinfo *found = NULL;
    int rc = getaddrinfo(q->host, NULL, &numeric, &found);

    if (rc == EAI_NONAME)
        rc = getaddrinfo(q->host, NULL, &hints, &found);
    if (rc != 0) {
        snprintf(q->why, sizeof(q->why), "%s", gai_strerror(rc));
        return;
    }
    for (struct addrinfo *a = found; a && q->n < RESOLVE_ADDRS_MAX; a = a->ai_next) {
        struct addr addr = addr_from_sockaddr(a->ai_addr);
        if (addr.family != ADDR_NONE)
            q->addrs[q->n++] = addr_with_port(addr, q->port);
    }
    freeaddrinfo(found);
    if (q->n == 0)
        snprintf(q->why, sizeof(q->why), "no IPv4 or IPv6 address");
}

/* Gives q to the worker, or frees it when there is none any more. With the lock held. */
static void post(struct shared *s, struct resolve_query *q)
{
    const struct timespec pause = {.tv_nsec = POST_PAUSE_NS};

    while (s->worker && worker_post(s->worker, deliver, q) != 0) {
        pthread_mutex_unlock(&s->lock); /* memory is out */
        nanosleep(&pause, NULL);
        pthread_mutex_lock(&s->lock);
    }
    if (s->worker)
        return;
    s->refs--; /* the thread's own is left */
    mem_free(q);
}

static void *run(void *arg)
{
    struct shared *s = arg;

    pthread_mutex_lock(&s->lock);
    while (s->worker) {
        struct list *first = list_first(&s->todo);
        if (!first) {
            pthread_cond_wait(&s->news, &s->lock);
            continue;
        }
        struct resolve_query *q = CONTAINER_OF(first, struct resolve_query, link);
        list_del(first);
        pthread_mutex_unlock(&s->lock);
        look_up(q);
        pthread_mutex_lock(&s->lock);
        post(s, q);
    }
    release(s);
    return NULL;
}

static bool start_thread(struct shared *s)
{
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all, old;

    if (pthread_attr_init(&attr) != 0)
        return false;
    pthread_attr_setstacksize(&attr, THREAD_STACK_BYTES);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    sigfillset(&all); /* signals are the main thread's */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&thread, &attr, run, s);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    return rc == 0;
}

struct resolver *resolver_new(struct worker *w)
{
    struct resolver *r = mem_zalloc(sizeof(*r));
    struct shared *s = r ? mem_zalloc(sizeof(*s)) : NULL;

    if (!s) {
        mem_free(r);
        return NULL;
    }
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->news, NULL);
    list_init(&s->todo);
    s->refs = 2;
    s->worker = w;
    r->shared = s;
    if (start_thread(s))
        return r;
    s->refs = 1;
    pthread_mutex_lock(&s->lock);
    release(s);
    mem_free(r);
    return NULL;
}

void resolver_free(struct resolver *r)
{
    struct list *first;

    if (!r)
        return;
    struct shared *s = r->shared;
    pthread_mutex_lock(&s->lock);
    s->worker = NULL;
    while ((first = list_first(&s->todo))) {
        list_del(first);
        s->refs--;
        mem_free(CONTAINER_OF(first, struct resolve_query, link));
    }
    pthread_cond_signal(&s->news);
    release(s);
    mem_free(r);
}

struct resolve_query *resolver_ask(struct resolver *r, const char *host, uint16_t port,
                                   resolve_fn *fn, void *arg)
{
    struct resolve_query *q = mem_zalloc(sizeof(*q));
    struct shared *s = r->shared;

    if (!q || slice_to_cstr(slice_str(host), q->host, sizeof(q->host)) != 0) {
        mem_free(q);
        return NULL;
    }
    q->shared = s;
    q->fn = fn;
    q->arg = arg;
    q->port = port;
    pthread_mutex_lock(&s->lock);
    s->refs++;
    list_append(&s->todo, &q->link);
    pthread_cond_signal(&s->news);
    pthread_mutex_unlock(&s->lock);
    return q;
}

void resolver_cancel(struct resolve_query *q)
{
    if (q)
        q->fn = NULL;
}
