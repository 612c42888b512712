/* Offers and answers of a client that does what it likes: no state is left half taken, and whatever
 * is written can be read back and says what the sections say.
 *
 * Input: descriptions that NUL bytes separate, offered (or answered) one after the other to one
 * negotiation. A first byte below ' ' is no text: its bits choose a policy, and who offers.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "proto/sdp_attr.h"
#include "sfu/negotiate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { WE_OFFER = 1, RED_FIRST = 2, BARE = 4, FEW = 8 };

static char out[NEG_ANSWER_BYTES_MAX(NEG_SECTIONS_MAX)], copy[sizeof(out)];
static const struct neg_candidate candidate = {{{127, 0, 0, 1}, 9, ADDR_V4, 0}, false};
static const struct neg_local local = {
    .ufrag = {(const uint8_t *)"lite", 4},
    .pwd = {(const uint8_t *)"abcdefghijklmnopqrstuv", 22},
    .candidate = &candidate,
    .n_candidates = 1,
    .cname = {(const uint8_t *)"cn", 2},
};

static bool has_flag(const struct sdp_section *m, const char *name)
{
    struct sdp_line l;
    return sdp_find(sdp_walk_section(m), name, &l);
}

static void check_section(const struct neg_section *s, const struct sdp_section *m)
{
    struct sdp_line l;
    bool rtp = s->kind == RTP_KIND_AUDIO || s->kind == RTP_KIND_VIDEO;

    bool may_close = s->kind == RTP_KIND_DATA && !s->recv;
    if ((m->port == 0) != s->rejected && !may_close)
        abort();
    if (s->mid[0] && (!sdp_find(sdp_walk_section(m), "mid", &l) || !slice_is(l.arg, s->mid)))
        abort();
    if (s->rejected && (s->recv || s->send))
        abort();
    if (!rtp)
        return;
    const char *direction = s->recv && s->send ? "sendrecv"
                            : s->recv          ? "recvonly"
                            : s->send          ? "sendonly"
                                               : "inactive";
    if (!has_flag(m, direction) || has_flag(m, "ssrc") != s->send)
        abort();
    if ((s->recv || s->send) && s->n_codecs == 0)
        abort();
    if (s->send && s->ssrc == 0)
        abort();
    if (s->n_layers > RTP_LAYERS_MAX || (s->recv && s->n_layers == 0))
        abort();
    for (unsigned i = 0; i < s->n_codecs; i++) {
        const struct neg_codec *c;
        struct neg_map map = negotiate_map(s, &s->codec[i]);
        if (neg_section_pt(s, s->codec[i].pt, &c) == NEG_PT_NONE || map.verdict != NEG_MAP_OK)
            abort();
    }
}

static void check_written(const struct negotiation *n)
{
    struct wr w = wr_init(out, sizeof(out));
    struct sdp sdp;
    struct sdp_error e;

    negotiate_write(n, &local, &w);
    if (w.bad || sdp_parse(&sdp, wr_done(&w), &e) != 0 || sdp.n_sections != negotiate_sections(n))
        abort();
    for (unsigned i = 0; i < sdp.n_sections; i++)
        check_section(negotiate_section(n, i), &sdp.section[i]);
    for (unsigned id = 0; id < 256; id++) {
        if (negotiate_ext_map(n)[id] >= RTP_EXT_COUNT)
            abort();
    }
}

/* Our offer goes to a client, whose answer comes back. */
static void check_our_offer(struct negotiation *n, const struct codec_policy *policy,
                            const struct neg_limits *limits)
{
    struct negotiation *client = negotiate_new(policy, limits, false);
    struct wr w = wr_init(out, sizeof(out) - 1);
    struct neg_change change;
    struct neg_error e;
    char *at;

    if (!client || negotiate_make_offer(n, &local, &w) != 0 || w.bad)
        abort();
    out[w.len] = '\0';
    if ((at = strstr(out, "a=ice-lite")) != NULL)
        at[9] = '?';
    if (negotiate_offer(client, slice_of(out, w.len), &change, &e) != 0) {
        fprintf(stderr, "%s, line %u\n", neg_error_name(e.code), e.line);
        abort();
    }
    struct wr a = wr_init(copy, sizeof(copy) - 1);
    negotiate_write(client, &local, &a);
    copy[a.len] = '\0';
    if ((at = strstr(copy, "a=ice-lite")) != NULL)
        at[9] = '?';
    if (a.bad || negotiate_answer(n, slice_of(copy, a.len), &change, &e) != 0)
        abort();
    negotiate_free(client);
}

static void one(struct negotiation *n, struct slice text, bool we_offer)
{
    struct neg_change change;
    struct neg_error e;
    unsigned before = negotiate_sections(n);
    int err =
        we_offer ? negotiate_answer(n, text, &change, &e) : negotiate_offer(n, text, &change, &e);

    if (err) {
        if (e.code == NEG_OK || e.code == NEG_E_MEMORY || e.text[0] == '\0' ||
            negotiate_sections(n) != before)
            abort();
        return;
    }
    check_written(n);
    unsigned layer;
    bool rtx;
    negotiate_by_ssrc(n, 1, &layer, &rtx);
    negotiate_refuse(n, 0, true, true);
    check_written(n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct codec_policy policy;
    struct neg_limits limits = {
        .sections = 64, .publish = {4, 4, 1}, .slots = {8, 8, 0}, .layers = 3};
    uint64_t live = mem_live();
    unsigned flags = 0;

    if (size > 0 && data[0] < ' ') {
        flags = data[0];
        data++;
        size--;
    }
    codec_policy_default(&policy);
    if (flags & RED_FIRST) {
        codec_policy_voice(&policy);
        policy.red = CODEC_RED_PREFER;
        policy.ptime_ms = policy.maxptime_ms = 20;
        policy.video_max_bps = 1;
    }
    if (flags & BARE) {
        policy.twcc = policy.rtx = policy.audio_nack = false;
        policy.exts = 0;
    }
    if (flags & FEW)
        limits = (struct neg_limits){.sections = 3, .publish = {1, 0, 0}, .slots = {1, 1, 0}};

    bool we_offer = flags & WE_OFFER;
    struct negotiation *n = negotiate_new(&policy, &limits, we_offer);
    if (!n)
        abort();
    while (size > 0) {
        const uint8_t *end = memchr(data, '\0', size);
        size_t len = end ? (size_t)(end - data) : size;
        if (we_offer) {
            struct wr w = wr_init(out, sizeof(out));
            (void)negotiate_slot_add(n, len % 2 ? RTP_KIND_AUDIO : RTP_KIND_VIDEO, SLICE_LIT("s"),
                                     SLICE_LIT("t"));
            if (len % 3 == 0)
                negotiate_slot_del(n, 0);
            if (len % 5 == 0)
                (void)negotiate_data_add(n);
            (void)negotiate_make_offer(n, &local, &w);
        }
        one(n, slice_of(data, len), we_offer);
        if (we_offer && len % 7 == 0)
            negotiate_rollback(n);
        data += len;
        size -= len;
        if (size > 0) {
            data++;
            size--;
        }
    }
    negotiate_free(n);

    /* And once around with nothing but our own. */
    if (we_offer) {
        n = negotiate_new(&policy, &limits, true);
        if (!n || negotiate_slot_add(n, RTP_KIND_VIDEO, SLICE_LIT("s"), SLICE_LIT("t")) != 0 ||
            negotiate_data_add(n) != 1)
            abort();
        check_our_offer(n, &policy, &limits);
        negotiate_slot_del(n, 0);
        check_our_offer(n, &policy, &limits);
        if (negotiate_needed(n))
            abort();
        check_written(n);
        negotiate_free(n);
    }
    if (mem_live() != live)
        abort();
    return 0;
}
