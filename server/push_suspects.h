/* Tokens that a push service has called bad, from then until that is believed.
 *
 * A token is not forgotten at once: when a service calls all of them bad, the configuration is at
 * fault (apns_judge.c), and push_suspects_doubt() takes those back. Meanwhile nothing is sent to
 * it. Asked for each device of a callee, so it must not cost more when there are thousands.
 * Pure; worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_PUSH_SUSPECTS_H
#define SORI_SERVER_PUSH_SUSPECTS_H

#include "base/clock.h"
#include "base/htable.h"
#include "server/ledger.h"

enum { PUSH_BAD_MAX = 4096 }; /* tokens that wait to be forgotten; more are forgotten at once */
/* A token that the service calls bad is only forgotten after this, unless it takes that back. */
#define PUSH_BAD_US (90 * US_PER_S)

struct push_suspects {
    struct htable by_token;
    struct list oldest_first;
};

/* 0, or -ENOMEM (then _fini() is allowed all the same). */
int push_suspects_init(struct push_suspects *s);
void push_suspects_fini(struct push_suspects *s);

/* The token was called bad, and nothing is to be sent to it. */
bool push_suspects_has(const struct push_suspects *s, struct slice token);
/* Adds one; a token that is there keeps its time. Texts are copied. -ENOSPC, -ENOMEM: it is to be
 * believed at once. */
int push_suspects_add(struct push_suspects *s, struct slice token, struct slice topic,
                      enum ledger_env env, uint64_t now_us);
/* Drops those of this app and environment (or of an unknown one) from since_us on. */
void push_suspects_doubt(struct push_suspects *s, struct slice topic, enum ledger_env env,
                         uint64_t since_us);

/* When the oldest one is to be believed; CLOCK_NEVER: there is none. */
uint64_t push_suspects_deadline(const struct push_suspects *s);
/* Takes off one whose time is over and copies its token; empty when there is none. token is the
 * caller's memory, LEDGER_TOKEN_MAX bytes. */
struct slice push_suspects_due(struct push_suspects *s, uint64_t now_us, uint8_t *token);

#endif
