/* What the ledger reads of others: cursors of clients, the list of the erased, pages of a damaged
 * file. What is accepted is written again the same; what is cleared of a page lies between its cell
 * pointers and its cells. SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdlib.h>

#include "server/history.h"
#include "server/ledger_store_sqlite_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void cursor(struct slice text)
{
    uint8_t again[HISTORY_CURSOR_TEXT];
    struct wr w = wr_init(again, sizeof(again));
    struct ledger_cursor c;

    if (history_cursor_parse(&c, text) != 0)
        return;
    history_cursor_write(&w, &(struct ledger_entry){.id = c.id, .created_ms = c.created_ms});
    if (!slice_eq(wr_done(&w), text))
        abort();
}

static void erased(struct slice text)
{
    static struct privacy_keys *k;
    uint8_t subject[PRIVACY_SUBJECT_BYTES], again[PRIVACY_ERASED_LINE];
    struct slice rest = text;
    uint64_t at_ms;
    int rc;

    if (!k)
        k = privacy_keys_new(SLICE_LIT("0123456789abcdef0123456789abcdef"));
    while (k && (rc = privacy_erased_read(k, &rest, subject, &at_ms)) == 0) {
        struct wr w = wr_init(again, sizeof(again));
        privacy_erased_write(k, &w, subject, at_ms);
        size_t at = text.len - rest.len - w.len;
        if (w.bad || !slice_eq(slice_sub(text, at, w.len), wr_done(&w)))
            abort();
    }
    if (rest.len > text.len)
        abort();
}

static void page(struct slice bytes, bool first)
{
    static uint8_t whole[SQLITE_STORE_PAGE];
    size_t at, len;

    memset(whole, 0, sizeof(whole));
    if (bytes.len > 0)
        memcpy(whole, bytes.p, bytes.len < sizeof(whole) ? bytes.len : sizeof(whole));
    if (sq_page_gap(whole, first, &at, &len) &&
        (len == 0 || at < 8 || at > sizeof(whole) || len > sizeof(whole) - at))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice rest = slice_of(data, size);

    if (size == 0)
        return 0;
    rest = slice_sub(rest, 1, size);
    switch (data[0]) {
    case 'c':
        cursor(rest);
        break;
    case 'e':
        erased(rest);
        break;
    default:
        page(rest, data[0] == '1');
        break;
    }
    return 0;
}
