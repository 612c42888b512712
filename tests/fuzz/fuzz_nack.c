/* Lists of missing packets under a script: arrivals in any order, jumps, key frames, time. Whatever
 * comes: only what is missing is asked for, oldest first, no oftener than the conf says, and the
 * list stays within its bounds.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <stdlib.h>

#include "sfu/link_quality.h"
#include "sfu/nack_gen.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STEPS_MAX = 2000, SPAN = 1 << 16, ASK_MAX = 64 };

static uint8_t asked[SPAN], came[SPAN]; /* by number, since the last reset */

static void expect(bool ok)
{
    if (!ok)
        abort();
}

static void take(struct nack_gen *g, const struct nack_conf *conf, size_t max, uint64_t now_us)
{
    uint16_t seq[ASK_MAX];
    bool due = nack_gen_deadline(g) <= now_us;
    size_t n = nack_gen_take(g, now_us, seq, max);

    expect(n <= max && n <= nack_gen_missing(g) && (n == 0 || due));
    for (size_t i = 0; i < n; i++) {
        expect(i == 0 || (int16_t)(seq[i] - seq[i - 1]) > 0);
        expect(!came[seq[i]]);
        expect(++asked[seq[i]] <= conf->max_retries);
    }
    if (n < max) /* all that was due */
        expect(nack_gen_deadline(g) > now_us);
}

static void arrived(struct nack_gen *g, struct link_runs *runs, uint64_t seq, uint64_t *top,
                    uint64_t now_us)
{
    for (; *top < seq; ++*top) /* numbers come again after 65536 */
        asked[(uint16_t)(*top + 1)] = came[(uint16_t)(*top + 1)] = 0;
    enum nack_seen v = nack_gen_recv(g, seq, now_us);
    if (v == NACK_SEEN_REORDERED)
        expect(!asked[(uint16_t)seq]);
    if (v == NACK_SEEN_RECOVERED)
        expect(asked[(uint16_t)seq] > 0);
    if (*top - seq < SPAN)
        came[(uint16_t)seq] = 1;
    link_runs_packet(runs, seq);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rd r = rd_init(slice_of(data, size));
    uint8_t kind = rd_u8(&r);
    struct nack_conf conf = kind & 1 ? nack_conf_audio : nack_conf_video;
    struct link_runs runs = {0};
    struct link_loss loss;
    uint64_t now_us = US_PER_S, top = SPAN - 100;

    if (kind & 2)
        conf.max_missing = 1 + kind / 4;
    struct nack_gen *g = nack_gen_new(&conf);
    if (!g)
        return 0;
    memset(asked, 0, sizeof(asked));
    memset(came, 0, sizeof(came));
    uint64_t seq = top;
    for (unsigned step = 0; r.left > 0 && step < STEPS_MAX; step++) {
        uint8_t op = rd_u8(&r);
        switch (op % 8) {
        case 0: /* the next ones */
        case 1:
            for (unsigned i = 0; i <= op / 8u; i++)
                arrived(g, &runs, ++seq, &top, now_us);
            break;
        case 2: /* some are missing */
            seq += 1 + op / 8u;
            arrived(g, &runs, ++seq, &top, now_us);
            break;
        case 3: /* a late one, or a double */
            arrived(g, &runs, seq - op / 8u, &top, now_us);
            break;
        case 4:
            take(g, &conf, op / 8u * 2 + 1, now_us);
            break;
        case 5:
            now_us += (uint64_t)(op / 8 + 1) * (op / 8 + 1) * 1000;
            break;
        case 6: {
            uint16_t far = rd_be16(&r);
            if (op & 8) {
                seq += far;
                arrived(g, &runs, seq, &top, now_us);
            } else {
                nack_gen_clear(g, seq + (uint64_t)(far % 64) - 32);
            }
            break;
        }
        default:
            nack_gen_rtt(g, (uint64_t)op * op * 100);
        }
        const struct nack_stats *s = nack_gen_stats(g);
        expect(nack_gen_missing(g) <= conf.max_missing);
        expect(s->missing ==
               s->reordered + s->recovered + s->given_up + s->cleared + nack_gen_missing(g));
        expect((nack_gen_deadline(g) == CLOCK_NEVER) == (nack_gen_missing(g) == 0));
        expect(runs.lost <= runs.judged && runs.runs <= runs.lost);
    }
    link_runs_take(&runs, &loss);
    nack_gen_free(g);
    return 0;
}
