/* Cursor text: version, milliseconds and call id, in base64url.
 *
 * Called by the router (history.list). Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "server/history.h"

#include "base/crypto.h"

#include <errno.h>

enum { VERSION = 1, CURSOR_BYTES = 1 + 8 + 16 };
#define TIME_MAX_MS ((uint64_t)INT64_MAX) /* what a database can compare with */

void history_cursor_write(struct wr *w, const struct ledger_entry *e)
{
    uint8_t bytes[CURSOR_BYTES];
    struct wr b = wr_init(bytes, sizeof(bytes));

    wr_u8(&b, VERSION);
    wr_be64(&b, e->created_ms);
    wr_bytes(&b, slice_of(e->id.b, sizeof(e->id.b)));
    base64url_encode(w, wr_done(&b));
}

int history_cursor_parse(struct ledger_cursor *out, struct slice text)
{
    uint8_t bytes[CURSOR_BYTES];
    struct ledger_cursor c;
    size_t len;

    if (base64url_decode(text, bytes, sizeof(bytes), &len) != 0 || len != CURSOR_BYTES)
        return -EBADMSG;
    struct rd r = rd_init(slice_of(bytes, len));
    if (rd_u8(&r) != VERSION)
        return -EBADMSG;
    c.created_ms = rd_be64(&r);
    memcpy(c.id.b, rd_rest(&r).p, sizeof(c.id.b));
    if (c.created_ms > TIME_MAX_MS)
        return -EBADMSG;
    *out = c;
    return 0;
}
