/* A node's entry in the list that sori-servers read.
 *
 * Called by net/registrar.c. Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "net/enroll.h"

#include <errno.h>

#include "base/crypto.h"

#define RENEWALS  3 /* of a lease in its life */
#define RETRY_US  (500 * US_PER_MS)
#define LEAVE_US  (1 * US_PER_S)
#define WORDS_MAX 5

static void show(struct counter *c, bool on)
{
    if (on && counter_get(c) == 0)
        counter_inc(c);
    else if (!on && counter_get(c) == 1)
        counter_sub(c, 1);
}

static void write_epoch(struct wr *w, uint64_t epoch)
{
    uint8_t bytes[8];
    struct wr b = wr_init(bytes, sizeof(bytes));

    wr_be64(&b, epoch);
    hex_encode(w, wr_done(&b));
}

static bool ask(struct enroll *e, enum node_script script, const struct slice *args, size_t n,
                uint64_t now_us)
{
    struct slice words[1 + WORDS_MAX] = {slice_of(e->key, e->key_len)};

    for (size_t i = 0; i < n; i++)
        words[1 + i] = args[i];
    return redis_client_eval(e->client, &e->call, script, 1, words, 1 + n, now_us) == 0;
}

/* ---- writing ---- */

static void on_entered(struct redis_call *call, enum redis_end end, const struct resp *reply,
                       uint64_t now_us)
{
    struct enroll *e = call->arg;
    struct slice said = end == REDIS_ANSWERED ? resp_text(reply) : (struct slice){0};

    e->asking = false;
    if (slice_is(said, "lost")) {
        e->is_lost = true;
        show(&e->count.entered, false);
        e->lost(e->arg);
        return;
    }
    if (!slice_is(said, "ok") && !slice_is(said, "new")) {
        counter_inc(&e->count.failures);
        if (now_us + RETRY_US < e->renew_us)
            e->renew_us = now_us + RETRY_US;
        return;
    }
    e->taken = true;
    e->stands_us = now_us + e->conf.lease_us;
    show(&e->count.entered, true);
    counter_inc(&e->count.renewals);
}

static void renew(struct enroll *e, uint64_t now_us)
{
    uint8_t epoch_buf[2 * sizeof(e->epoch)], ms_buf[24];
    struct wr epoch = wr_init(epoch_buf, sizeof(epoch_buf)), ms = wr_init(ms_buf, sizeof(ms_buf));

    if (e->asking || e->is_lost || e->leaving || e->text_len == 0)
        return;
    e->urgent = false;
    e->renew_us = now_us + e->conf.lease_us / RENEWALS;
    write_epoch(&epoch, e->epoch);
    wr_u64(&ms, e->conf.lease_us / US_PER_MS);
    const struct slice args[] = {e->conf.name, wr_done(&epoch), wr_done(&ms),
                                 e->taken ? SLICE_LIT("0") : SLICE_LIT("1"),
                                 slice_of(e->text, e->text_len)};
    e->call = (struct redis_call){
        .fn = on_entered, .arg = e, .deadline_us = now_us + e->conf.lease_us, .again = true};
    e->asking = ask(e, NODE_SCRIPT_ENTER, args, ARRAY_LEN(args), now_us);
}

int enroll_say(struct enroll *e, const struct node_record *r, bool urgent, uint64_t now_us)
{
    uint8_t text[NODE_RECORD_TEXT_MAX];
    struct wr w = wr_init(text, sizeof(text));

    node_record_encode(&w, r);
    if (w.bad)
        return -EMSGSIZE;
    memcpy(e->text, text, w.len);
    e->text_len = w.len;
    e->epoch = r->epoch;
    e->urgent = e->urgent || urgent;
    if (e->urgent && redis_client_ready(e->client))
        renew(e, now_us);
    return 0;
}

void enroll_up(struct enroll *e, uint64_t now_us)
{
    renew(e, now_us);
}

/* ---- leaving ---- */

static void on_left(struct redis_call *call, enum redis_end end, const struct resp *reply,
                    uint64_t now_us)
{
    struct enroll *e = call->arg;

    (void)end;
    (void)reply;
    (void)now_us;
    e->asking = false;
    e->left = true;
    show(&e->count.entered, false);
}

void enroll_leave(struct enroll *e, uint64_t now_us)
{
    uint8_t epoch_buf[2 * sizeof(e->epoch)];
    struct wr epoch = wr_init(epoch_buf, sizeof(epoch_buf));

    if (e->leaving)
        return;
    e->leaving = true;
    if (e->asking) /* what was sent is done before */
        redis_client_cancel(e->client, &e->call);
    e->asking = false;
    write_epoch(&epoch, e->epoch);
    const struct slice args[] = {e->conf.name, wr_done(&epoch)};
    e->call = (struct redis_call){
        .fn = on_left, .arg = e, .deadline_us = now_us + LEAVE_US, .again = true};
    if (redis_client_ready(e->client) && !e->is_lost && e->text_len > 0)
        e->asking = ask(e, NODE_SCRIPT_LEAVE, args, ARRAY_LEN(args), now_us);
    e->left = !e->asking;
}

bool enroll_is_left(const struct enroll *e)
{
    return e->left;
}

/* ---- life ---- */

void enroll_init(struct enroll *e, const struct enroll_conf *conf, struct redis_client *client,
                 void (*lost)(void *arg), void *arg)
{
    struct wr key = wr_init(e->key, sizeof(e->key));

    *e = (struct enroll){.conf = *conf, .client = client, .lost = lost, .arg = arg};
    node_record_key(&key, conf->prefix, conf->kind);
    e->key_len = wr_done(&key).len;
}

void enroll_fini(struct enroll *e)
{
    if (e->asking)
        redis_client_cancel(e->client, &e->call);
    e->asking = false;
}

uint64_t enroll_deadline(const struct enroll *e)
{
    uint64_t at = CLOCK_NEVER;

    if (e->is_lost || e->leaving || e->text_len == 0)
        return at;
    if (!e->asking && redis_client_ready(e->client))
        at = e->urgent ? 0 : e->renew_us;
    if (counter_get(&e->count.entered) && e->stands_us < at)
        at = e->stands_us;
    return at;
}

void enroll_tick(struct enroll *e, uint64_t now_us)
{
    if (now_us >= e->stands_us)
        show(&e->count.entered, false);
    if (redis_client_ready(e->client) && (e->urgent || now_us >= e->renew_us))
        renew(e, now_us);
}
