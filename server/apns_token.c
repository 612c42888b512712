/* Provider tokens: when one is made, when the old one goes on.
 *
 * Called by apns_flight.c for each request. A token is sent while it is at most APNS_TOKEN_OLD_US
 * old by both clocks: the monotonic one (which tells true ages) and the wall clock (which Apple's
 * is compared with). SPDX-License-Identifier: BSD-3-Clause */
#include "server/apns_token.h"

#include "base/crypto.h"
#include "base/mem.h"
#include "base/rand.h"

#include <errno.h>

#define PREFIX_BYTES 7 /* "bearer " */

struct made {
    unsigned gen; /* 0: none */
    bool proved;  /* Apple has accepted a push with it */
    uint64_t made_us, iat_s;
    size_t len;
    uint8_t text[APNS_BEARER_MAX];
};

struct apns_token {
    struct crypto_signer *signer;
    uint8_t team[APNS_TEAM_MAX], kid[APNS_TEAM_MAX];
    size_t team_len, kid_len;
    struct made now, before;
    unsigned last_gen;
    uint64_t renew_us; /* when the current one is due for renewal */
    bool expired;      /* Apple refuses the current one */
    uint64_t minted;
};

static bool id_ok(struct slice s)
{
    if (s.len == 0 || s.len > APNS_TEAM_MAX)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.p[i];
        if ((c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z'))
            return false;
    }
    return true;
}

int apns_token_rekey(struct apns_token *t, struct slice team, struct slice kid,
                     struct crypto_signer *signer)
{
    if (!id_ok(team) || !id_ok(kid))
        return -EINVAL;
    memcpy(t->team, team.p, team.len);
    memcpy(t->kid, kid.p, kid.len);
    t->team_len = team.len;
    t->kid_len = kid.len;
    t->signer = signer;
    t->expired = false;
    crypto_wipe(&t->now, sizeof(t->now));
    crypto_wipe(&t->before, sizeof(t->before));
    return 0;
}

void apns_token_resign(struct apns_token *t, struct crypto_signer *signer)
{
    t->signer = signer;
}

struct apns_token *apns_token_new(struct slice team, struct slice kid, struct crypto_signer *signer)
{
    struct apns_token *t = mem_zalloc(sizeof(*t));

    if (t && apns_token_rekey(t, team, kid, signer) != 0) {
        mem_free(t);
        return NULL;
    }
    return t;
}

void apns_token_free(struct apns_token *t)
{
    if (!t)
        return;
    crypto_wipe(t, sizeof(*t));
    mem_free(t);
}

/* Writes header.claims.signature behind "bearer ". */
static int sign(const struct apns_token *t, struct wr *w, uint64_t iat_s)
{
    uint8_t mem[128], sig[CRYPTO_ES256_BYTES];
    struct wr part = wr_init(mem, sizeof(mem));

    wr_str(w, "bearer ");
    wr_str(&part, "{\"alg\":\"ES256\",\"kid\":\"");
    wr_bytes(&part, slice_of(t->kid, t->kid_len));
    wr_str(&part, "\"}");
    base64url_encode(w, wr_done(&part));
    wr_u8(w, '.');
    part = wr_init(mem, sizeof(mem));
    wr_str(&part, "{\"iss\":\"");
    wr_bytes(&part, slice_of(t->team, t->team_len));
    wr_str(&part, "\",\"iat\":");
    wr_u64(&part, iat_s);
    wr_u8(&part, '}');
    base64url_encode(w, wr_done(&part));
    if (part.bad || w->bad || w->len < PREFIX_BYTES ||
        crypto_signer_sign(t->signer, slice_of(w->base + PREFIX_BYTES, w->len - PREFIX_BYTES),
                           sig) != 0)
        return -EIO;
    wr_u8(w, '.');
    base64url_encode(w, slice_of(sig, sizeof(sig)));
    return w->bad ? -EIO : 0;
}

static int mint(struct apns_token *t, uint64_t now_us, uint64_t wall_us)
{
    struct made next = {.made_us = now_us, .iat_s = wall_us / US_PER_S};
    struct wr w = wr_init(next.text, sizeof(next.text));

    if (sign(t, &w, next.iat_s) != 0)
        return -EIO;
    next.len = w.len;
    next.gen = ++t->last_gen;
    t->before = t->now;
    t->now = next;
    t->expired = false;
    t->renew_us = now_us + APNS_TOKEN_RENEW_US + rand_below(APNS_TOKEN_JITTER_US);
    t->minted++;
    crypto_wipe(&next, sizeof(next));
    return 0;
}

/* Whether Apple would take it, as far as its age goes. Of one that Apple has taken before, the wall
 * clock can say nothing new: it is our clock that has jumped. */
static bool usable(const struct made *m, uint64_t now_us, uint64_t wall_us)
{
    uint64_t iat_us = m->iat_s * US_PER_S;

    if (m->gen == 0 || now_us - m->made_us >= APNS_TOKEN_OLD_US)
        return false;
    return m->proved || (iat_us <= wall_us + APNS_TOKEN_AHEAD_US &&
                         (wall_us < iat_us || wall_us - iat_us < APNS_TOKEN_OLD_US));
}

/* The one before is the current one again. */
static void go_back(struct apns_token *t, uint64_t renew_us)
{
    struct made back = t->before;

    t->before = t->now;
    t->now = back;
    t->expired = false;
    t->renew_us = renew_us;
    crypto_wipe(&back, sizeof(back));
}

/* Whether another one may be made now, for a reason that can't wait. */
static bool may_force(const struct apns_token *t, uint64_t now_us)
{
    return t->now.gen == 0 || now_us - t->now.made_us >= APNS_TOKEN_FORCED_US;
}

int apns_token_bearer(struct apns_token *t, struct slice *bearer, unsigned *gen, uint64_t now_us,
                      uint64_t wall_us)
{
    bool fit = !t->expired && usable(&t->now, now_us, wall_us);

    /* Gone back to an old one, which is too old now: the newer one that Apple did not like then. */
    if (!fit && t->before.gen > t->now.gen && usable(&t->before, now_us, wall_us)) {
        go_back(t, now_us + APNS_TOKEN_PACE_US);
        fit = true;
    }
    if (fit ? now_us >= t->renew_us : may_force(t, now_us)) {
        if (mint(t, now_us, wall_us) != 0 && !fit)
            return -EIO;
    }
    if (t->now.gen == 0)
        return -EIO;
    *bearer = slice_of(t->now.text, t->now.len);
    *gen = t->now.gen;
    return 0;
}

void apns_token_accepted(struct apns_token *t, unsigned gen)
{
    if (gen == t->now.gen)
        t->now.proved = true;
    else if (gen == t->before.gen)
        t->before.proved = true;
}

bool apns_token_refused(struct apns_token *t, unsigned gen, bool expired, uint64_t now_us,
                        uint64_t wall_us)
{
    if (gen != t->now.gen)
        return t->now.gen > 0;
    if (t->before.proved && !t->now.proved && usable(&t->before, now_us, wall_us)) {
        go_back(t, now_us + APNS_TOKEN_AGAIN_US);
        return true;
    }
    if (!expired || !may_force(t, now_us))
        return false;
    t->expired = true;
    return true;
}

bool apns_token_too_often(struct apns_token *t, unsigned gen, uint64_t now_us, uint64_t wall_us)
{
    uint64_t later_us = now_us + APNS_TOKEN_PACE_US;

    if (gen != t->now.gen)
        return t->now.gen > 0;
    if (later_us > t->renew_us)
        t->renew_us = later_us;
    if (!usable(&t->before, now_us, wall_us))
        return false;
    go_back(t, later_us);
    return true;
}

int apns_token_adopt(struct apns_token *t, struct slice jwt, uint64_t iat_s, uint64_t now_us,
                     uint64_t wall_us)
{
    struct made m = {.made_us = now_us, .iat_s = iat_s};
    struct wr w = wr_init(m.text, sizeof(m.text));
    uint64_t age_us = wall_us / US_PER_S > iat_s ? wall_us - iat_s * US_PER_S : 0;

    wr_str(&w, "bearer ");
    wr_bytes(&w, jwt);
    if (w.bad || jwt.len == 0)
        return -EINVAL;
    m.made_us = now_us > age_us ? now_us - age_us : 0;
    m.len = w.len;
    m.gen = t->last_gen + 1;
    if (!usable(&m, now_us, wall_us) || (t->now.gen > 0 && iat_s <= t->now.iat_s))
        return -ESTALE;
    t->last_gen = m.gen;
    t->before = t->now;
    t->now = m;
    t->expired = false;
    t->renew_us = m.made_us + APNS_TOKEN_RENEW_US + rand_below(APNS_TOKEN_JITTER_US);
    return 0;
}

uint64_t apns_token_minted(const struct apns_token *t)
{
    return t->minted;
}
