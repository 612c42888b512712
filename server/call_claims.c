/* Claims on pairs and users in Redis: keys, values, commands.
 *
 * Called by router_far_invite.c. Pure. Entries:
 *
 *     P ring:{A B}      list of "CALL EPOCH NODE CALLER"
 *     P busy:{USER}     list of "CALL EPOCH NODE"
 *
 * An entry that is there twice, because its command was sent again, does no harm: the first counts,
 * and both are taken out together. SPDX-License-Identifier: BSD-3-Clause */
#include "server/call_claims.h"

#include <errno.h>

#include "server/presence_wire.h"

#define TAKE_OUT_US \
    (60 * US_PER_S) /* who is not taken out stays busy: until Redis is back, if it is by then */

enum { NUMBER_MAX = 24, KEY_MAX = PRESENCE_WIRE_KEY_MAX * 2 };

static struct slice ms_text(uint8_t buf[NUMBER_MAX], uint64_t us)
{
    struct wr w = wr_init(buf, NUMBER_MAX);

    wr_u64(&w, us / US_PER_MS);
    return wr_done(&w);
}

/* ---- keys and values ---- */

static void pair_key(struct wr *w, const struct call_claims *c, struct slice a, struct slice b)
{
    uint8_t buf[2 * SIG_USER_MAX + 1];
    struct wr both = wr_init(buf, sizeof(buf));
    size_t n = a.len < b.len ? a.len : b.len;
    int order = n > 0 ? memcmp(a.p, b.p, n) : 0;
    bool swap = order > 0 || (order == 0 && a.len > b.len);

    wr_bytes(&both, swap ? b : a);
    wr_u8(&both, ' ');
    wr_bytes(&both, swap ? a : b);
    w->bad |= both.bad;
    presence_wire_key(w, c->prefix, "ring", wr_done(&both));
}

static void user_key(struct wr *w, const struct call_claims *c, struct slice user)
{
    presence_wire_key(w, c->prefix, "busy", user);
}

static void user_value(struct wr *w, const struct sig_call_id *id, struct slice node,
                       uint64_t epoch)
{
    sig_call_id_write(w, id);
    wr_u8(w, ' ');
    presence_wire_owner(w, epoch, node);
}

static void pair_value(struct wr *w, const struct call_claims *c, const struct sig_call_id *id,
                       struct slice caller)
{
    sig_call_id_write(w, id);
    wr_u8(w, ' ');
    presence_wire_owner(w, c->epoch, c->node);
    wr_u8(w, ' ');
    wr_bytes(w, caller);
}

static struct slice cut(struct slice *s)
{
    const uint8_t *end = s->len > 0 ? memchr(s->p, ' ', s->len) : NULL;
    size_t n = end ? (size_t)(end - s->p) : s->len;
    struct slice word = slice_sub(*s, 0, n);

    *s = slice_sub(*s, n + 1, s->len);
    return word;
}

int call_claim_of_user(struct call_claim *out, struct slice text)
{
    struct call_claim v = {.text = text};

    if (sig_call_id_parse(&v.call, cut(&text)) != 0 ||
        presence_wire_epoch_decode(&v.epoch, cut(&text)) != 0 || text.len == 0 ||
        text.len > PRESENCE_WIRE_NODE_MAX)
        return -EBADMSG;
    v.node = text;
    *out = v;
    return 0;
}

int call_claim_of_pair(struct call_claim *out, struct slice text)
{
    struct call_claim v = {.text = text};

    if (sig_call_id_parse(&v.call, cut(&text)) != 0 ||
        presence_wire_epoch_decode(&v.epoch, cut(&text)) != 0)
        return -EBADMSG;
    v.node = cut(&text);
    v.caller = text;
    if (v.node.len == 0 || v.node.len > PRESENCE_WIRE_NODE_MAX || !sig_user_ok(v.caller))
        return -EBADMSG;
    *out = v;
    return 0;
}

/* ---- commands ---- */

/* Adds an entry, for at most life_us from now. */
static int add(const struct call_claims *c, struct redis_call *call, const struct wr *key,
               const struct wr *value, uint64_t life_us, uint64_t now_us)
{
    uint8_t life[NUMBER_MAX];
    const struct slice words[] = {SLICE_LIT("RPUSH"), wr_done(key), wr_done(value)};
    const struct slice expire[] = {SLICE_LIT("PEXPIRE"), wr_done(key), ms_text(life, life_us)};

    if (key->bad || value->bad)
        return -EINVAL;
    int err = redis_client_call(c->client, call, words, ARRAY_LEN(words), now_us);
    if (!err)
        (void)redis_client_call(c->client, NULL, expire, ARRAY_LEN(expire), now_us);
    return err;
}

static int range(const struct call_claims *c, struct redis_call *call, const struct wr *key,
                 struct slice last, uint64_t now_us)
{
    const struct slice words[] = {SLICE_LIT("LRANGE"), wr_done(key), SLICE_LIT("0"), last};

    return key->bad ? -EINVAL : redis_client_call(c->client, call, words, ARRAY_LEN(words), now_us);
}

static void take_out(const struct call_claims *c, const struct wr *key, struct slice value,
                     uint64_t now_us)
{
    const struct slice words[] = {SLICE_LIT("LREM"), wr_done(key), SLICE_LIT("0"), value};

    if (!key->bad)
        (void)redis_client_say(c->client, words, ARRAY_LEN(words), TAKE_OUT_US, now_us);
}

int call_claims_pair(const struct call_claims *c, struct redis_call *call,
                     const struct sig_call_id *id, struct slice caller, struct slice callee,
                     uint64_t life_us, uint64_t now_us)
{
    uint8_t key_buf[KEY_MAX], value_buf[CALL_CLAIMS_TEXT_MAX];
    struct wr key = wr_init(key_buf, sizeof(key_buf)),
              value = wr_init(value_buf, sizeof(value_buf));

    pair_key(&key, c, caller, callee);
    pair_value(&value, c, id, caller);
    return add(c, call, &key, &value, life_us, now_us);
}

int call_claims_first(const struct call_claims *c, struct redis_call *call, struct slice caller,
                      struct slice callee, uint64_t now_us)
{
    uint8_t key_buf[KEY_MAX];
    struct wr key = wr_init(key_buf, sizeof(key_buf));

    pair_key(&key, c, caller, callee);
    return range(c, call, &key, SLICE_LIT("0"), now_us);
}

int call_claims_user(const struct call_claims *c, struct redis_call *call,
                     const struct sig_call_id *id, struct slice user, uint64_t life_us,
                     uint64_t now_us)
{
    uint8_t key_buf[PRESENCE_WIRE_KEY_MAX], value_buf[CALL_CLAIMS_TEXT_MAX];
    struct wr key = wr_init(key_buf, sizeof(key_buf)),
              value = wr_init(value_buf, sizeof(value_buf));

    user_key(&key, c, user);
    user_value(&value, id, c->node, c->epoch);
    return add(c, call, &key, &value, life_us, now_us);
}

int call_claims_look(const struct call_claims *c, struct redis_call *call, struct slice user,
                     uint64_t now_us)
{
    uint8_t key_buf[PRESENCE_WIRE_KEY_MAX];
    struct wr key = wr_init(key_buf, sizeof(key_buf));

    user_key(&key, c, user);
    return range(c, call, &key, SLICE_LIT("-1"), now_us);
}

void call_claims_user_again(const struct call_claims *c, const struct sig_call_id *id,
                            struct slice user, uint64_t life_us, uint64_t now_us)
{
    call_claims_drop_user(c, id, user, now_us);
    (void)call_claims_user(c, NULL, id, user, life_us, now_us);
}

void call_claims_drop_pair(const struct call_claims *c, const struct sig_call_id *id,
                           struct slice caller, struct slice callee, uint64_t now_us)
{
    uint8_t value_buf[CALL_CLAIMS_TEXT_MAX];
    struct wr value = wr_init(value_buf, sizeof(value_buf));

    pair_value(&value, c, id, caller);
    call_claims_purge_pair(c, &(struct call_claim){.text = wr_done(&value)}, caller, callee,
                           now_us);
}

void call_claims_drop_user(const struct call_claims *c, const struct sig_call_id *id,
                           struct slice user, uint64_t now_us)
{
    call_claims_purge_user(c, &(struct call_claim){.call = *id, .node = c->node, .epoch = c->epoch},
                           user, now_us);
}

void call_claims_purge_pair(const struct call_claims *c, const struct call_claim *dead,
                            struct slice caller, struct slice callee, uint64_t now_us)
{
    uint8_t key_buf[KEY_MAX];
    struct wr key = wr_init(key_buf, sizeof(key_buf));

    pair_key(&key, c, caller, callee);
    take_out(c, &key, dead->text, now_us);
}

void call_claims_purge_user(const struct call_claims *c, const struct call_claim *dead,
                            struct slice user, uint64_t now_us)
{
    uint8_t key_buf[PRESENCE_WIRE_KEY_MAX], value_buf[CALL_CLAIMS_TEXT_MAX];
    struct wr key = wr_init(key_buf, sizeof(key_buf)),
              value = wr_init(value_buf, sizeof(value_buf));

    user_key(&key, c, user);
    user_value(&value, &dead->call, dead->node, dead->epoch);
    if (!value.bad)
        take_out(c, &key, wr_done(&value), now_us);
}
