/* SipHash-1-3, keyed once per process: table positions that a stranger can't predict.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_BASE_HASH_H
#define SORI_BASE_HASH_H

#include "base/bytes.h"

/* Hash of the bytes under the process's random key (drawn at first use; thread safe). */
uint64_t hash_bytes(struct slice s);

/* SipHash-1-3 of s under an explicit key (tests; any fixed-key use). */
uint64_t hash_siphash13(const uint8_t key[16], struct slice s);

#endif
