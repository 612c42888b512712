/* Lines of record files: what is accepted is written and read again the same, and any number of
 * them can be summed up. SPDX-License-Identifier: BSD-3-Clause */
#include <stdlib.h>

#include "server/usage_report.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same(struct relay_record *a)
{
    static uint8_t text[2 * RELAY_RECORD_LINE_MAX], scratch_bytes[RELAY_RECORD_LINE_MAX];
    struct wr w = wr_init(text, sizeof(text)),
              scratch = wr_init(scratch_bytes, sizeof(scratch_bytes));
    struct relay_record b;

    relay_record_encode(&w, a);
    if (w.bad || w.len > RELAY_RECORD_LINE_MAX)
        return;
    if (relay_record_decode(&b, slice_of(text, w.len - 1), &scratch) != 0)
        abort();
    if (a->boot != b.boot || a->serial != b.serial || a->at_s != b.at_s ||
        a->seconds != b.seconds || a->up_pkts != b.up_pkts || a->up_bytes != b.up_bytes ||
        a->down_pkts != b.down_pkts || a->down_bytes != b.down_bytes || a->ended != b.ended ||
        a->tcp_peers != b.tcp_peers || a->transport != b.transport || !slice_eq(a->user, b.user) ||
        !slice_eq(a->call, b.call) || !slice_eq(a->region, b.region) || !slice_eq(a->node, b.node))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct usage_conf conf = {.to = USAGE_DAY_MAX,
                                    .now_s = UINT64_C(1900000000),
                                    .relayed_bytes_s = 200,
                                    .most = 1000,
                                    .user_key = SLICE_LIT("key")};
    struct usage_report *r = usage_report_new(&conf);
    struct slice rest = slice_of(data, size);
    uint64_t bytes = 0;
    size_t n;

    while (r && rest.len > 0) {
        static uint8_t scratch_bytes[RELAY_RECORD_LINE_MAX];
        struct wr scratch = wr_init(scratch_bytes, sizeof(scratch_bytes));
        size_t end = 0;
        struct relay_record rec;
        while (end < rest.len && rest.p[end] != '\n')
            end++;
        if (relay_record_decode(&rec, slice_sub(rest, 0, end), &scratch) == 0) {
            same(&rec);
            if (usage_report_relay(r, &rec) != 0)
                break;
        }
        rest = slice_sub(rest, end + 1, rest.len);
    }
    if (r && usage_report_close(r) == 0) {
        const struct usage_row *v = usage_report_rows(r, &n);
        for (size_t i = 0; i < n; i++)
            bytes += v[i].traffic.up_bytes; /* all of it is read */
    }
    usage_report_free(r);
    return bytes == UINT64_MAX;
}
