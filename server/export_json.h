/* A user's file: everything that is kept about them, as one JSON document or as one object a line.
 *
 *     export_open(); devices…; EXPORT_CALLS; calls…; …; export_close()
 *
 * docs/export.schema.json describes both shapes. The writer keeps no more than a few numbers: each
 * call adds one record to the caller's buffer, so that a file of any length needs little memory.
 * Pure. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_EXPORT_JSON_H
#define SORI_SERVER_EXPORT_JSON_H

#include "server/privacy.h"

#define EXPORT_RECORD_MAX 16384 /* room that every call below finds enough */

/* The parts of the file, in this order. */
enum export_part {
    EXPORT_HEAD,
    EXPORT_DEVICES,
    EXPORT_CALLS,
    EXPORT_SAMPLES,
    EXPORT_PUSHES,
    EXPORT_LOG,
    EXPORT_END
};

struct export_json {
    bool ndjson;
    enum export_part part;
    bool more; /* the part has a record already */
};

/* What the log of privacy says of this user. */
struct export_log {
    uint64_t at_ms;
    struct slice actor, action;
};

/* Begins: who, when, the newest moment that is in it. */
void export_open(struct export_json *e, struct wr *w, bool ndjson, struct slice user,
                 uint64_t now_ms);
/* Begins the next part; parts may be empty, but none is left out. */
void export_part(struct export_json *e, struct wr *w, enum export_part part);
/* One record each, within its part. Tokens are shown by the SHA-256 of what the client gave. */
void export_device(struct export_json *e, struct wr *w, const struct ledger_device *d);
void export_call(struct export_json *e, struct wr *w, const struct ledger_entry *c);
void export_sample(struct export_json *e, struct wr *w, const struct ledger_sample *v);
void export_push(struct export_json *e, struct wr *w, const struct ledger_push *p);
void export_log(struct export_json *e, struct wr *w, const struct export_log *l);
/* Ends the document. */
void export_close(struct export_json *e, struct wr *w);

#endif
