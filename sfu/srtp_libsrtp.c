/* SRTP by libsrtp2.
 *
 * Called by srtp_sess.c when the configuration wants it. Debian's build runs on NSS, which makes a
 * context per packet and locks: 9 to 30 times the cost of packet_cipher.c. Why it is here at all:
 * a second opinion, for tests and for who mistrusts the first.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/srtp_libsrtp.h"

#include <limits.h>
#include <pthread.h>
#include <srtp2/srtp.h>

#include "base/crypto.h"
#include "base/mem.h"
#include "sfu/srtp_index.h"

struct srtp_lib {
    srtp_t session;
};

static bool ready;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void lib_init(void)
{
    ready = srtp_init() == srtp_err_status_ok;
}

static bool policy_set(srtp_policy_t *p, enum srtp_sess_profile profile)
{
    srtp_profile_t which;

    switch (profile) {
    case SRTP_SESS_CM_SHA1_80:
        which = srtp_profile_aes128_cm_sha1_80;
        break;
    case SRTP_SESS_GCM_128:
        which = srtp_profile_aead_aes_128_gcm;
        break;
    case SRTP_SESS_GCM_256:
        which = srtp_profile_aead_aes_256_gcm;
        break;
    default:
        return false;
    }
    return srtp_crypto_policy_set_from_profile_for_rtp(&p->rtp, which) == srtp_err_status_ok &&
           srtp_crypto_policy_set_from_profile_for_rtcp(&p->rtcp, which) == srtp_err_status_ok;
}

struct srtp_lib *srtp_lib_new(enum srtp_sess_profile profile, struct slice key, struct slice salt,
                              bool outbound)
{
    uint8_t both[SRTP_SESS_KEY_MAX + SRTP_SESS_SALT_MAX];
    struct wr w = wr_init(both, sizeof(both));
    srtp_policy_t policy = {
        .ssrc.type = outbound ? ssrc_any_outbound : ssrc_any_inbound,
        .key = both,
        .window_size = SRTP_INDEX_WINDOW,
        .allow_repeat_tx = 1,
    };

    pthread_once(&once, lib_init);
    wr_bytes(&w, key);
    wr_bytes(&w, salt);
    if (!ready || w.bad || !policy_set(&policy, profile))
        return NULL;
    struct srtp_lib *l = mem_zalloc(sizeof(*l));
    if (l && srtp_create(&l->session, &policy) != srtp_err_status_ok) {
        mem_free(l);
        l = NULL;
    }
    crypto_wipe(both, sizeof(both));
    return l;
}

void srtp_lib_free(struct srtp_lib *l)
{
    if (!l)
        return;
    srtp_dealloc(l->session);
    mem_free(l);
}

typedef srtp_err_status_t work_fn(srtp_t session, void *packet, int *len);

static bool work(struct srtp_lib *l, work_fn *fn, uint8_t *p, size_t *len)
{
    int n = (int)*len;

    if (*len > INT_MAX || fn(l->session, p, &n) != srtp_err_status_ok)
        return false;
    *len = (size_t)n;
    return true;
}

bool srtp_lib_protect(struct srtp_lib *l, uint8_t *p, size_t *len)
{
    return work(l, srtp_protect, p, len);
}

bool srtp_lib_unprotect(struct srtp_lib *l, uint8_t *p, size_t *len)
{
    return work(l, srtp_unprotect, p, len);
}

bool srtp_lib_protect_rtcp(struct srtp_lib *l, uint8_t *p, size_t *len)
{
    return work(l, srtp_protect_rtcp, p, len);
}

bool srtp_lib_unprotect_rtcp(struct srtp_lib *l, uint8_t *p, size_t *len)
{
    return work(l, srtp_unprotect_rtcp, p, len);
}
