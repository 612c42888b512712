/* The record of one allocation's use, as a log line and as JSON.
 *
 * Called by turn_worker.c when an allocation ends, and at intervals while it lives. Pure.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/usage.h"

#include <inttypes.h>

#include "base/hash.h"
#include "proto/json.h"
#include "proto/turncred.h"

#define DUE_AT_LEAST 64 /* records at once */

static void put_user(struct wr *w, struct slice user, enum usage_user privacy)
{
    if (privacy == USAGE_USER_PLAIN)
        wr_bytes(w, user);
    else if (privacy == USAGE_USER_HASHED)
        wr_fmt(w, "%016" PRIx64, hash_bytes(user));
    else
        wr_str(w, "-");
}

static const char *transport_of(const struct alloc *a)
{
    static const char *const transport[] = {
        [FIVE_TUPLE_UDP] = "udp",
        [FIVE_TUPLE_TCP] = "tcp",
        [FIVE_TUPLE_TLS] = "tls",
        [FIVE_TUPLE_DTLS] = "dtls",
    };

    return transport[a->tuple.transport];
}

void usage_format(struct wr *w, const struct alloc *a, struct slice realm, enum usage_user privacy,
                  const char *why, uint64_t now_us)
{
    struct turncred cred = {.user = alloc_user(a)};
    uint64_t up, down;

    alloc_bytes(a, &up, &down);
    turncred_parse(&cred, alloc_user(a)); /* a static name stays as it is */
    wr_str(w, why ? "allocation ended: user=" : "allocation alive: user=");
    put_user(w, cred.user, privacy);
    wr_str(w, " call=");
    wr_bytes(w, cred.call_id.len > 0 ? cred.call_id : SLICE_LIT("-"));
    wr_fmt(w,
           " transport=%s seconds=%" PRIu64 " up_packets=%" PRIu64 " up_bytes=%" PRIu64
           " down_packets=%" PRIu64 " down_bytes=%" PRIu64,
           transport_of(a), (now_us - a->start_us) / US_PER_S, a->up_pkts, up, a->down_pkts, down);
    wr_str(w, " realm=");
    wr_bytes(w, realm);
    if (why)
        wr_fmt(w, " why=%s", why);
}

static const char *families(const struct alloc *a)
{
    return alloc_addresses(a) > 1 ? "dual" : a->relayed.family == ADDR_V6 ? "ipv6" : "ipv4";
}

void usage_json(struct wr *w, const struct alloc *a, struct slice realm, enum usage_user privacy,
                const char *why, const struct usage_stamp *stamp)
{
    struct turncred cred = {.user = alloc_user(a)};
    uint8_t buf[STUN_USERNAME_MAX];
    struct wr user = wr_init(buf, sizeof(buf));
    uint64_t up, down;

    alloc_bytes(a, &up, &down);
    turncred_parse(&cred, alloc_user(a)); /* a static name stays as it is */
    put_user(&user, cred.user, privacy);
    wr_fmt(w,
           "{\"v\":%d,\"id\":\"%016" PRIx64 "-%" PRIu64 "\",\"alloc\":\"%016" PRIx64 "-%" PRIu64
           "\",\"time\":%" PRIu64 ",\"event\":\"%s\",\"node\":",
           USAGE_VERSION, stamp->boot, stamp->id, stamp->boot, a->serial, stamp->wall_us / US_PER_S,
           why ? "ended" : "alive");
    json_write_text(w, stamp->node);
    wr_str(w, ",\"region\":");
    json_write_text(w, stamp->region);
    wr_str(w, ",\"realm\":");
    json_write_text(w, realm);
    wr_str(w, ",\"user\":");
    json_write_text(w, wr_done(&user));
    wr_str(w, ",\"call\":");
    json_write_text(w, cred.call_id);
    wr_fmt(w,
           ",\"transport\":\"%s\",\"relay\":\"%s\",\"family\":\"%s\",\"seconds\":%" PRIu64
           ",\"up_packets\":%" PRIu64 ",\"up_bytes\":%" PRIu64 ",\"down_packets\":%" PRIu64
           ",\"down_bytes\":%" PRIu64,
           transport_of(a), a->tcp ? "tcp" : "udp", families(a),
           (stamp->now_us - a->start_us) / US_PER_S, a->up_pkts, up, a->down_pkts, down);
    if (why)
        wr_fmt(w, ",\"why\":\"%s\"", why);
    wr_str(w, "}");
}

void usage_due(const struct alloc_table *t, uint64_t interval_us, uint64_t now_us, usage_fn *fn,
               void *arg)
{
    size_t budget = alloc_table_count(t) / 8 + DUE_AT_LEAST, pos = 0;
    struct hnode *saved = NULL;
    struct alloc *a;

    while (budget > 0 && (a = alloc_table_walk(t, &pos, &saved))) {
        uint64_t last_us = a->reported_us ? a->reported_us : a->start_us;
        if (now_us - last_us < interval_us)
            continue;
        a->reported_us = now_us;
        fn(arg, a);
        budget--;
    }
}
