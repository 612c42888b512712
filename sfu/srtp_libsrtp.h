/* libsrtp2 behind srtp_sess.h: the other back end, and the oracle of its tests.
 *
 * Indexes and replays are judged before, by srtp_index.h; libsrtp2 does so once more with its own.
 * It works in place, so packets are copied first. An SSRC's first outbound index must be below 2^16
 * here. One thread at a time per object. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_SRTP_LIBSRTP_H
#define SORI_SFU_SRTP_LIBSRTP_H

#include "sfu/srtp_sess.h"

struct srtp_lib;

/* As srtp_sess_new() and its like. The four that work on packets take p of *len bytes, change both
 * and return true; false: p may hold anything. p has room for what protecting adds. */
struct srtp_lib *srtp_lib_new(enum srtp_sess_profile profile, struct slice key, struct slice salt,
                              bool outbound);
void srtp_lib_free(struct srtp_lib *l); /* NULL is allowed */
bool srtp_lib_protect(struct srtp_lib *l, uint8_t *p, size_t *len);
bool srtp_lib_unprotect(struct srtp_lib *l, uint8_t *p, size_t *len);
bool srtp_lib_protect_rtcp(struct srtp_lib *l, uint8_t *p, size_t *len);
bool srtp_lib_unprotect_rtcp(struct srtp_lib *l, uint8_t *p, size_t *len);

#endif
