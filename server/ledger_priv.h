/* Inside of the ledger, shared by ledger.c (the queue), ledger_job.c (what goes in) and
 * ledger_answer.c (a job on the store's thread). Nobody else includes it.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_LEDGER_PRIV_H
#define SORI_SERVER_LEDGER_PRIV_H

#include "base/list.h"
#include "server/ledger_store.h"

#include <pthread.h>

enum ledger_job_kind {
    JOB_PUT_CALL,
    JOB_PUT_PUSH,
    JOB_PUT_QUALITY,
    JOB_PUT_SAMPLE,
    JOB_BAD_TOKEN,
    JOB_SET_ENV,
    JOB_TOUCH,
    JOB_DEVICES,
    JOB_DEVICES_OF,
    JOB_SWEEP,
    JOB_NEWS, /* of others, on its way to the worker only */
    /* requests: they do not wait for a store in trouble */
    JOB_PUT_DEVICE,
    JOB_DEL_DEVICE,
    JOB_HISTORY,
    JOB_BADGE,
    JOB_SEEN,
    JOB_HIDE,
    JOB_ERASE,
    JOB_KEEP,
    JOB_EXPORT,
    JOB_PRIVACY,
    JOB_HOLD,
    JOB_UNHOLD,
    JOB_HOLDS,
};

/* The answer of a read, made on the store's thread: entries or devices with their texts. */
struct ledger_answer {
    struct ledger_result r;
    struct list blocks;
    bool out_of_memory;
    size_t cap;
    struct ledger_entry *entries;
    struct ledger_device *devices;
};

struct ledger_job {
    struct list link;
    enum ledger_job_kind kind;
    ledger_done_fn *done;
    void *ctx;
    uint64_t since_us;
    size_t bytes, text_bytes;
    int rc;
    struct ledger_answer *answer;
    union {
        struct ledger_call call;
        struct ledger_push push;
        struct ledger_quality quality;
        struct ledger_sample sample;
        struct ledger_device device;
        struct {
            struct slice user, device, token, actor;
            struct sig_call_id *ids;
            struct ledger_cursor cursor;
            uint64_t ms;
            size_t n;
            enum ledger_env env;
            enum ledger_privacy_kind privacy;
            bool after, missed_only;
        } ask;
    };
    uint8_t *text; /* behind the job's arrays */
};

struct ledger {
    struct ledger_conf conf;
    struct ledger_store *store;
    void (*wake)(void *arg);
    void *arg;
    uint64_t retry_us, retries; /* in trouble: when to try again; how often it was in vain */
    unsigned health;            /* atomic */
    struct ledger_counters count;
    pthread_mutex_t lock;
    struct list waiting, finished;
    size_t news; /* the store's thread: taken in by this ledger_run() */
    size_t waiting_bytes;
};

/* Records and what the server itself needs; the others are requests of somebody who waits. */
static inline bool ledger_job_waits(enum ledger_job_kind k)
{
    return k < JOB_PUT_DEVICE;
}

/* Reads, which a full or write-protected disk does not hinder. */
static inline bool ledger_job_reads(enum ledger_job_kind k)
{
    return k == JOB_DEVICES || k == JOB_DEVICES_OF || k == JOB_HISTORY || k == JOB_BADGE ||
           k == JOB_PRIVACY || k == JOB_HOLDS;
}

static inline bool ledger_job_is_record(enum ledger_job_kind k)
{
    return k <= JOB_TOUCH;
}

/* ---- jobs (ledger_job.c) ---- */

/* A JOB_NEWS; NULL when memory is out. */
struct ledger_job *ledger_job_news(struct slice user);
/* Wipes and frees a job with its answer; NULL is allowed. */
void ledger_job_free(struct ledger_job *j);

/* ---- on the store's thread (ledger_answer.c) ---- */

/* Does what the job says; what it brings is in j->answer. Returns as the store does, or -ENOMEM. */
int ledger_job_perform(struct ledger *l, struct ledger_job *j);
/* NULL is allowed. */
void ledger_answer_free(struct ledger_answer *a);

#endif
