/* A thread that keeps a relay or media server in the list that sori-servers read: Redis found by
 * its options, a connection made again whenever it breaks, an entry renewed with the load of now
 * (net/enroll.h). Nothing that it does can make a worker wait. Called by the daemons' main.c.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_NET_REGISTRAR_H
#define SORI_NET_REGISTRAR_H

#include "net/enroll.h"
#include "net/redis_options.h"

#define REGISTRAR_ERR_MAX 256

struct registrar;

struct registrar_conf {
    const struct redis_options *redis; /* lent; redis_options_wanted() */
    struct slice name;                 /* lent; of the node */
    enum node_kind kind;
    /* How busy the node is, 0 .. NODE_RECORD_LOAD_MAX. Called in the registrar's thread. */
    unsigned (*load)(void *arg, uint64_t now_us);
    void *arg;
};

/* Begins to connect. what: region, weight, keys and places of the record, copied; the rest of it is
 * filled in here. NULL: err says what is wrong, and which file. */
struct registrar *registrar_start(const struct registrar_conf *conf, const struct node_record *what,
                                  char err[REGISTRAR_ERR_MAX]);

/* From now on the record says this. Main thread, like what follows. Without memory the old one
 * stays. */
void registrar_change(struct registrar *r, const struct node_record *what);
/* Says something to the sori-servers that listen (node_record_media_channel()), as far as Redis is
 * there now; copied. Any thread, never waits: what has no room is lost. */
void registrar_publish(struct registrar *r, struct slice text);
/* It says draining at once: no sori-server chooses this node any more. NULL is allowed. */
void registrar_drain(struct registrar *r);
/* Takes the entry out, as far as that is quickly done, and ends. NULL is allowed. */
void registrar_stop(struct registrar *r);

/* What it counts. Registrar-owned: any thread may read. */
const struct enroll_counters *registrar_count(const struct registrar *r);

#endif
