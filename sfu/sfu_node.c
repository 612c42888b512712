/* Workers, control and data threads, made and ended together. Called by main.c.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/sfu_node.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "net/dtls_srtp.h"
#include "sfu/ctl_listener.h"
#include "sfu/sfu_metrics.h"
#include "sfu/sfu_worker.h"

#define LOAD_FULL        1000
#define WORKER_PKTS_FULL 250000 /* forwarded a second by one worker: a core of today */
#define LOAD_MEASURE_US  US_PER_S

struct sfu_node {
    const struct sfu_conf *conf;
    struct worker *control;
    struct ctl_listener *listener;
    struct data_link *data;
    struct sfu_worker *worker[SFU_WORKERS_MAX];
    struct core_census census;
    unsigned n;
    bool running;
    uint64_t pkts[SFU_WORKERS_MAX], measured_us;
    unsigned load; /* written by the control thread */
};

static unsigned threads_of(const struct sfu_conf *c)
{
    long n = c->sfu.threads ? (long)c->sfu.threads : sysconf(_SC_NPROCESSORS_ONLN);

    return n < 1 ? 1 : n > SFU_WORKERS_MAX ? SFU_WORKERS_MAX : (unsigned)n;
}

struct sfu_node *sfu_node_new(const struct sfu_conf *conf, struct metrics *m,
                              char err[CONF_ERR_MAX])
{
    struct sfu_node *n = mem_zalloc(sizeof(*n));
    unsigned threads = threads_of(conf);

    snprintf(err, CONF_ERR_MAX, "out of memory or descriptors");
    if (!n)
        return NULL;
    n->conf = conf;
    if (!dtls_srtp_cert_ready()) {
        snprintf(err, CONF_ERR_MAX, "cannot make a certificate for DTLS");
        goto fail;
    }
    if (conf->sfu.port + threads - 1 > UINT16_MAX) {
        snprintf(err, CONF_ERR_MAX, "[sfu] port: the last worker's would be above 65535");
        goto fail;
    }
    n->control = worker_new(threads);
    if (!n->control)
        goto fail;
    n->data = conf->data.enabled ? data_link_new(threads) : NULL;
    if (conf->data.enabled && !n->data)
        goto fail;
    n->listener = ctl_listener_new(n->control, conf, n, err);
    if (!n->listener)
        goto fail;
    for (; n->n < threads; n->n++) {
        n->worker[n->n] = sfu_worker_new(n->n, conf, &n->census, n->data, n->control,
                                         ctl_listener_said, n->listener, err);
        if (!n->worker[n->n])
            goto fail;
        sfu_metrics_worker(m, n->worker[n->n]);
    }
    ctl_listener_metrics(n->listener, m);
    return n;
fail:
    sfu_node_free(n);
    return NULL;
}

int sfu_node_start(struct sfu_node *n)
{
    char name[16];
    int e = 0;

    n->running = true;
    for (unsigned i = 0; i < n->n && !e; i++) {
        snprintf(name, sizeof(name), "sfu-%u", i);
        e = worker_start(n->worker[i]->loop, name);
    }
    return e ? e : worker_start(n->control, "sfu-control");
}

void sfu_node_free(struct sfu_node *n)
{
    if (!n)
        return;
    if (n->running) {
        for (unsigned i = 0; i < n->n; i++)
            worker_stop(n->worker[i]->loop);
        worker_stop(n->control);
        for (unsigned i = 0; i < n->n; i++)
            worker_join(n->worker[i]->loop);
        worker_join(n->control);
        for (unsigned i = 0; i < n->n; i++)
            while (worker_settle(n->worker[i]->loop))
                ;
        while (worker_settle(n->control))
            ;
    }
    for (unsigned i = 0; i < n->n; i++)
        sfu_worker_end(n->worker[i]);
    data_link_free(n->data);
    for (unsigned i = 0; i < n->n; i++)
        sfu_worker_free(n->worker[i]);
    ctl_listener_free(n->listener);
    worker_free(n->control);
    mem_free(n);
}

void sfu_node_drain(struct sfu_node *n, bool on)
{
    for (unsigned i = 0; i < n->n; i++)
        sfu_worker_drain(n->worker[i], on);
    ctl_listener_drain(n->listener, on);
}

uint64_t sfu_node_rooms(const struct sfu_node *n)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < n->n; i++)
        v += counter_get(&n->worker[i]->core->count.rooms);
    return v;
}

uint64_t sfu_node_participants(const struct sfu_node *n)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < n->n; i++)
        v += counter_get(&n->worker[i]->core->count.participants);
    return v;
}

const char *sfu_node_io(const struct sfu_node *n, const char **why)
{
    *why = n->worker[0]->io_why;
    return udp_io_backend(n->worker[0]->io);
}

unsigned sfu_node_threads(const struct sfu_node *n)
{
    return n->n;
}

struct sfu_worker *sfu_node_worker(const struct sfu_node *n, unsigned i)
{
    return n->worker[i];
}

unsigned sfu_node_load(struct sfu_node *n, uint64_t now_us)
{
    uint64_t passed = now_us - n->measured_us, most = 0;
    uint64_t full = n->conf->limits.participants_total;

    if (passed < LOAD_MEASURE_US)
        return n->load;
    for (unsigned i = 0; i < n->n; i++) {
        const struct core_counters *c = &n->worker[i]->core->count;
        uint64_t pkts = counter_get(&c->forwarded_pkts), per_s;

        per_s = (pkts - n->pkts[i]) * US_PER_S / passed;
        n->pkts[i] = pkts;
        uint64_t by_pkts = per_s * LOAD_FULL / WORKER_PKTS_FULL;
        uint64_t by_people = counter_get(&c->participants) * n->n * LOAD_FULL / full;
        most = by_pkts > most ? by_pkts : most;
        most = by_people > most ? by_people : most;
    }
    n->measured_us = now_us;
    __atomic_store_n(&n->load, most > LOAD_FULL ? LOAD_FULL : (unsigned)most, __ATOMIC_RELAXED);
    return n->load;
}

unsigned sfu_node_load_last(const struct sfu_node *n)
{
    return __atomic_load_n(&n->load, __ATOMIC_RELAXED);
}
