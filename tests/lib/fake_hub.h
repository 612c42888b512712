/* The control hub of an SFU between sori-servers and workers that the test plays.
 *
 *     struct fake_hub *f = hub_new("");                  configuration text
 *     struct hub_conn *c = hub_open(f, false);           the challenge has come
 *     hub_hello(c, "node-1", 71, 0, 0);                  answered: c->got[c->n - 1]
 *     hub_request(c, CTL_JOIN, 2, "room", "alice");      f->job[0] is the worker's
 *     hub_reply(f, &f->job[0], CTL_OK);
 *
 * Nothing asserts: a fuzz target uses it, too. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TESTS_FAKE_HUB_H
#define SORI_TESTS_FAKE_HUB_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "proto/ctl.h"
#include "sfu/ctl_hub.h"
#include "sfu/sfu_worker.h"

enum { HUB_CONNS = 160, HUB_JOBS = 64, HUB_GOT = 192, HUB_EPOCH = 99 };
#define HUB_START_US (1000 * US_PER_S)
#define HUB_SAYING   4096

struct fake_hub;

/* What came out of a connection, the last HUB_GOT. */
struct hub_got {
    enum ctl_type type;
    enum ctl_kind kind;
    enum ctl_err err;
    uint64_t id, seq;
    char text[256];
};

struct hub_conn {
    struct fake_hub *f;
    struct ctl_conn *c;
    bool closed, full; /* full: takes nothing more */
    unsigned n;
    struct hub_got got[HUB_GOT];
    uint8_t nonce[CTL_NONCE_BYTES];
    bool resumed, lost, sfu_proved;
    uint64_t closed_rooms; /* of the last sync_end */
    char name[CTL_NAME_MAX + 1], line[1024];
};

struct hub_job {
    unsigned worker;
    uint64_t epoch, id;
    enum ctl_type type;
    char key[SFU_ROOM_KEY_MAX + 1];
};

struct fake_hub {
    struct sfu_conf conf;
    struct ctl_hub *h;
    uint64_t now_us;
    struct hub_conn *conn[HUB_CONNS];
    unsigned n_conns, n_jobs, n_closed, n_placed;
    struct hub_job job[HUB_JOBS];
    char closed[HUB_JOBS][SFU_ROOM_KEY_MAX + 1];
    bool draining, no_memory;
};

/* ---- what the hub does ---- */

static void hub_line(struct hub_conn *c, const struct ctl_msg *m, struct slice text)
{
    struct hub_got *g = &c->got[c->n++ % HUB_GOT];

    *g = (struct hub_got){.type = m->type, .kind = m->kind, .id = m->id, .seq = m->seq};
    snprintf(g->text, sizeof(g->text), "%.*s", SLICE_FMT(slice_sub(text, 0, 255)));
    if (m->kind == CTL_KIND_ERROR)
        g->err = m->u.error.code;
    else if (m->type == CTL_CHALLENGE)
        memcpy(c->nonce, m->u.challenge.nonce, sizeof(c->nonce));
    else if (m->type == CTL_HELLO)
        c->resumed = m->u.welcome.resumed, c->lost = m->u.welcome.lost;
    else if (m->type == CTL_SYNC_END)
        c->closed_rooms = m->u.sync_end.closed;
}

static inline bool hub_send(void *user, struct slice bytes)
{
    static uint8_t scratch[CTL_MESSAGE_MAX + CTL_SCRATCH_SPARE];
    static struct ctl_msg m;
    struct hub_conn *c = user;
    struct wr s = wr_init(scratch, sizeof(scratch));
    struct slice text;
    size_t used;
    const char *why;

    if (c->full)
        return false;
    if (ctl_frame(bytes, &text, &used) != 0 || used != bytes.len) {
        snprintf(c->line, sizeof(c->line), "%.*s", SLICE_FMT(slice_sub(bytes, 0, 1000)));
        return true; /* the operator's: lines */
    }
    int e = ctl_decode(&m, text, &s, &why);
    if (e != 0 && (e != -EPROTO || m.type != CTL_NONE)) {
        fprintf(stderr, "unreadable (%s): %.*s\n", why, SLICE_FMT(text));
        abort();
    }
    hub_line(c, &m, text);
    return true;
}

static inline void hub_close(void *user)
{
    ((struct hub_conn *)user)->closed = true;
}

static inline unsigned hub_place(void *arg)
{
    struct fake_hub *f = arg;

    return f->n_placed++ % 2;
}

static inline int hub_to_worker(void *arg, unsigned worker, uint64_t epoch, struct slice key,
                                struct slice text)
{
    static uint8_t scratch[CTL_MESSAGE_MAX + CTL_SCRATCH_SPARE];
    static struct ctl_msg m;
    struct fake_hub *f = arg;
    struct wr s = wr_init(scratch, sizeof(scratch));
    const char *why;
    struct hub_job *j = &f->job[f->n_jobs % HUB_JOBS];

    if (f->no_memory)
        return -ENOMEM;
    if (ctl_decode(&m, text, &s, &why) != 0 || m.kind != CTL_KIND_REQUEST)
        abort(); /* a worker relies on it */
    *j = (struct hub_job){.worker = worker, .epoch = epoch, .id = m.id, .type = m.type};
    if (slice_to_cstr(key, j->key, sizeof(j->key)) != 0)
        abort();
    f->n_jobs++;
    return 0;
}

static inline void hub_close_room(void *arg, unsigned worker, struct slice key)
{
    struct fake_hub *f = arg;

    (void)worker;
    slice_to_cstr(key, f->closed[f->n_closed++ % HUB_JOBS], SFU_ROOM_KEY_MAX + 1);
}

static inline void hub_drain(void *arg, bool on)
{
    struct fake_hub *f = arg;

    f->draining = on;
    ctl_hub_drain(f->h, on, f->now_us);
}

static inline void hub_state(void *arg, struct ctl_hub_state *out)
{
    (void)arg;
    *out = (struct ctl_hub_state){.workers = 2, .load = 13, .rooms = 1, .participants = 2};
}

static const struct ctl_hub_ops hub_ops = {hub_send,       hub_close, hub_place, hub_to_worker,
                                           hub_close_room, hub_drain, hub_state};

/* ---- life ---- */

/* NULL: no memory, or a bad configuration. */
static inline struct fake_hub *hub_new(const char *conf)
{
    struct fake_hub *f = calloc(1, sizeof(*f));
    char err[CONF_ERR_MAX];

    if (!f || sfu_conf_load_text(&f->conf, slice_str(conf), "test", err) != 0)
        abort();
    f->now_us = HUB_START_US;
    f->h = ctl_hub_new(&f->conf, HUB_EPOCH, &hub_ops, f);
    if (!f->h)
        abort();
    return f;
}

static inline void hub_free(struct fake_hub *f)
{
    ctl_hub_free(f->h);
    for (unsigned i = 0; i < f->n_conns; i++)
        free(f->conn[i]);
    sfu_conf_free(&f->conf);
    free(f);
}

/* NULL: refused. */
static inline struct hub_conn *hub_open(struct fake_hub *f, bool operator_)
{
    struct hub_conn *c = f->n_conns < HUB_CONNS ? calloc(1, sizeof(*c)) : NULL;

    if (!c)
        return NULL;
    c->f = f;
    f->conn[f->n_conns] = c;
    c->c = ctl_hub_open(f->h, c, operator_, f->now_us);
    if (!c->c) {
        free(c);
        return NULL;
    }
    f->n_conns++;
    return c;
}

/* The connection is gone: by us, or after the hub closed it. */
static inline void hub_end(struct hub_conn *c)
{
    if (c->c)
        ctl_hub_closed(c->f->h, c->c, c->f->now_us);
    c->c = NULL;
}

static inline size_t hub_bytes(struct hub_conn *c, struct slice bytes)
{
    return c->c && !c->closed ? ctl_hub_data(c->f->h, c->c, bytes, c->f->now_us) : 0;
}

/* ---- a sori-server ---- */

static inline void hub_say(struct hub_conn *c, const struct ctl_msg *m)
{
    static uint8_t buf[CTL_HEADER_BYTES + CTL_MESSAGE_MAX];
    struct wr w = wr_init(buf, sizeof(buf));

    ctl_encode(&w, m);
    if (w.bad)
        abort();
    hub_bytes(c, wr_done(&w));
}

static inline void hub_hello_as(struct hub_conn *c, const char *name, uint64_t epoch,
                                uint64_t sfu_epoch, uint64_t last_seq, uint64_t version, bool wrong)
{
    struct ctl_msg m = {.type = CTL_HELLO, .kind = CTL_KIND_REQUEST, .id = 1};
    const struct conf_secret *k = &c->f->conf.control.secret;

    m.u.hello.version = version;
    m.u.hello.server = slice_str(name);
    m.u.hello.epoch = epoch;
    m.u.hello.sfu_epoch = sfu_epoch;
    m.u.hello.last_seq = last_seq;
    memset(m.u.hello.nonce, 7, sizeof(m.u.hello.nonce));
    const struct ctl_proof p = {.sfu_nonce = c->nonce,
                                .server_nonce = m.u.hello.nonce,
                                .server = m.u.hello.server,
                                .server_epoch = epoch};
    if (ctl_mac(slice_of(k->p, k->len), &p, m.u.hello.mac) != 0)
        abort();
    m.u.hello.mac[0] ^= wrong;
    snprintf(c->name, sizeof(c->name), "%s", name);
    hub_say(c, &m);
}

static inline void hub_hello(struct hub_conn *c, const char *name, uint64_t epoch,
                             uint64_t sfu_epoch, uint64_t last_seq)
{
    hub_hello_as(c, name, epoch, sfu_epoch, last_seq, CTL_VERSION, false);
}

static inline void hub_request(struct hub_conn *c, enum ctl_type type, uint64_t id,
                               const char *room, const char *who)
{
    static struct ctl_msg m;

    memset(&m, 0, sizeof(m));
    m.type = type;
    m.kind = CTL_KIND_REQUEST;
    m.id = id;
    m.room = slice_str(room);
    m.participant = slice_str(who);
    if (type == CTL_JOIN)
        m.u.join.offer.text = slice_str("v=0\r\n");
    else if (type == CTL_SYNC)
        m.u.sync.participants = slice_str("[\"a\"]");
    else if (type == CTL_ADOPT)
        m.u.adopt.from = slice_str("node-1");
    else if (type == CTL_MUTE || type == CTL_UNPUBLISH)
        m.u.mute.track = slice_str("a:0");
    hub_say(c, &m);
}

static inline void hub_ack(struct hub_conn *c, uint64_t upto)
{
    struct ctl_msg m = {.type = CTL_ACK, .kind = CTL_KIND_EVENT, .u.ack.upto = upto};

    hub_say(c, &m);
}

/* ---- a worker ---- */

static inline void hub_saying(struct fake_hub *f, enum sfu_say what, const char *key, uint64_t id,
                              uint64_t epoch, const struct ctl_msg *m)
{
    struct sfu_saying *y = mem_zalloc(sizeof(*y) + HUB_SAYING);
    struct list one;
    size_t n = strlen(key);

    if (!y)
        return;
    y->what = what;
    y->id = id;
    y->epoch = epoch;
    y->room_len = n;
    memcpy(y->bytes, key, n);
    if (m) {
        struct wr w = wr_init(y->bytes + n, HUB_SAYING - n);
        ctl_encode(&w, m);
        y->len = wr_done(&w).len;
    }
    list_init(&one);
    list_append(&one, &y->link);
    ctl_hub_said(f->h, &one, f->now_us);
}

static inline void hub_reply(struct fake_hub *f, const struct hub_job *j, enum ctl_err err)
{
    static struct ctl_msg m;

    memset(&m, 0, sizeof(m));
    m.type = j->type;
    m.kind = err ? CTL_KIND_ERROR : CTL_KIND_REPLY;
    m.id = j->id;
    if (err) {
        m.u.error.code = err;
        m.u.error.text = slice_str("no");
    } else if (j->type == CTL_SYNC) {
        m.u.synced.states = slice_str("[]");
    } else if (j->type == CTL_STATS) {
        m.u.stats.raw = slice_str("{}");
    } else if (j->type == CTL_JOIN || j->type == CTL_OFFER) {
        m.u.joined.answer.text = slice_str("v=0\r\n");
    }
    hub_saying(f, SFU_SAY_REPLY, j->key, j->id, j->epoch, &m);
}

/* An event about a participant of that room; kept, or one that passes. */
static inline void hub_event(struct fake_hub *f, const char *key, bool kept)
{
    static struct ctl_msg m;
    const char *room = strchr(key, SFU_ROOM_SEPARATOR);

    memset(&m, 0, sizeof(m));
    m.kind = CTL_KIND_EVENT;
    m.type = kept ? CTL_STATE : CTL_SPEAKERS;
    m.room = slice_str(room ? room + 1 : key);
    if (kept) {
        m.participant = slice_str("a");
        m.u.state.media = CTL_MEDIA_CONNECTED;
    }
    hub_saying(f, kept ? SFU_SAY_EVENT : SFU_SAY_PASSING, key, 0, 0, &m);
}

/* Time passes, in the hub's ticks. */
static inline void hub_wait(struct fake_hub *f, uint64_t us)
{
    for (uint64_t end = f->now_us + us; f->now_us < end;) {
        f->now_us += CTL_HUB_TICK_US;
        ctl_hub_tick(f->h, f->now_us);
    }
}

/* The last message, NULL: none. */
static inline const struct hub_got *hub_last(const struct hub_conn *c)
{
    return c->n ? &c->got[(c->n - 1) % HUB_GOT] : NULL;
}

/* How many of the last HUB_GOT are of this type and kind. */
static inline unsigned hub_count(const struct hub_conn *c, enum ctl_type type, enum ctl_kind kind)
{
    unsigned n = 0;

    for (unsigned i = 0; i < c->n && i < HUB_GOT; i++)
        n += c->got[i].type == type && c->got[i].kind == kind;
    return n;
}

#endif
