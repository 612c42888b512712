/* Records of use as sori-turn writes them: one JSON object a line (docs/OPERATIONS.md).
 *
 * Pure. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_RELAY_RECORD_H
#define SORI_SERVER_RELAY_RECORD_H

#include "base/bytes.h"

enum {
    RELAY_RECORD_LINE_MAX = 8192, /* bytes of a line without its end */
    RELAY_RECORD_NAME_MAX = 64,   /* node, region */
    RELAY_RECORD_TEXT_MAX = 1024, /* user, call */
};

/* What a client speaks to the relay. */
enum relay_transport { RELAY_UDP, RELAY_TCP, RELAY_TLS, RELAY_DTLS, RELAY_TRANSPORT_COUNT };

/* One record: an allocation's amounts from its beginning up to at_s. */
struct relay_record {
    uint64_t boot, serial; /* together the allocation */
    uint64_t at_s;         /* Unix time */
    uint64_t seconds;      /* that it has lived */
    bool ended, tcp_peers, ipv6;
    enum relay_transport transport;
    struct slice node, region, user, call;             /* "-" or "": none */
    uint64_t up_pkts, up_bytes, down_pkts, down_bytes; /* payload; up: client to peer */
};

/* Decodes one line.
 *
 * out: written only on success; its texts borrow from line or scratch.
 * scratch: room for texts with escapes; RELAY_RECORD_LINE_MAX bytes are always enough.
 *
 * Returns 0; -EBADMSG: not such a record (cut, not JSON, a field missing or of another kind);
 * -EPROTONOSUPPORT: of a version that is not known here; -ERANGE: numbers that can't be (more bytes
 * than packets can carry or a cable can, older than its time). The caller counts it and goes on. */
int relay_record_decode(struct relay_record *out, struct slice line, struct wr *scratch);

/* Writes it as a line, with the line's end; of why the word "released" for one that has ended. For
 * tests and tools. */
void relay_record_encode(struct wr *w, const struct relay_record *r);

#endif
