/* Payloads that must wait: a bounded first-in first-out of copies. Embedded by call legs; a zeroed
 * one is empty. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_CALL_KEEP_H
#define SORI_SERVER_CALL_KEEP_H

#include "base/bytes.h"

struct call_keep {
    uint8_t *_base;
    size_t _len, _cap;
    unsigned n;
};

/* Appends a copy. Returns 0; -ENOSPC beyond CALL_KEPT_MAX payloads or CALL_KEPT_BYTES_MAX bytes,
 * -ENOMEM: nothing was kept. */
int call_keep_add(struct call_keep *k, struct slice payload);

/* Walks from the first: zero *pos before. The payload borrows until the next add or clear. */
bool call_keep_next(const struct call_keep *k, size_t *pos, struct slice *payload);

/* Forgets all and frees the memory. */
void call_keep_clear(struct call_keep *k);

#endif
