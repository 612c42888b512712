/* Records of use as sori-turn writes them.
 *
 * Called by report_main.c for each line of its files. Pure. SPDX-License-Identifier: BSD-3-Clause
 */
#include "server/relay_record.h"

#include <errno.h>
#include <inttypes.h>

#include "base/crypto.h"
#include "proto/json.h"

#define VERSION       1
#define NUMBER_MAX    (UINT64_C(1) << 53) /* exact in every reader of JSON */
#define DATAGRAM_MAX  65535
#define CABLE_BYTES_S UINT64_C(12500000000) /* 100 Gbit/s */
#define TIME_MIN_S    UINT64_C(1577836800)  /* 2020: there was no sori-turn before */
#define TIME_MAX_S    UINT64_C(4102444800)  /* 2100 */
#define BOOT_DIGITS   16
#define VALUES_MAX    64

static const char *const transports[RELAY_TRANSPORT_COUNT] = {"udp", "tcp", "tls", "dtls"};

enum field {
    V,
    ALLOC,
    TIME,
    EVENT,
    NODE,
    REGION,
    USER,
    CALL,
    TRANSPORT,
    RELAY,
    FAMILY,
    SECONDS,
    UP_PACKETS,
    UP_BYTES,
    DOWN_PACKETS,
    DOWN_BYTES,
    FIELDS
};

static bool text(const struct json_field *f, size_t max, struct slice *out, struct wr *scratch)
{
    return json_text(f->value, out, scratch) && out->len <= max;
}

/* One of n words. */
static bool word(const struct json_field *f, const char *const *words, unsigned n, unsigned *out)
{
    for (unsigned i = 0; i < n; i++) {
        size_t len = strlen(words[i]);
        if (f->value.len == len + 2 && slice_is(slice_sub(f->value, 1, len), words[i])) {
            *out = i;
            return true;
        }
    }
    return false;
}

/* "0000000000000abc-7" */
static bool allocation(struct slice name, struct relay_record *r)
{
    uint8_t boot[8];

    if (name.len < BOOT_DIGITS + 2 || name.p[BOOT_DIGITS] != '-' ||
        hex_decode(slice_sub(name, 0, BOOT_DIGITS), boot, sizeof(boot)) != 0 ||
        slice_to_u64(slice_sub(name, BOOT_DIGITS + 1, name.len), UINT64_MAX, &r->serial) != 0)
        return false;
    struct rd rd = rd_init(slice_of(boot, sizeof(boot)));
    r->boot = rd_be64(&rd);
    return true;
}

static bool amounts(const struct json_field *f, struct relay_record *r)
{
    return json_u64(f[SECONDS].value, NUMBER_MAX, &r->seconds) &&
           json_u64(f[UP_PACKETS].value, NUMBER_MAX, &r->up_pkts) &&
           json_u64(f[UP_BYTES].value, NUMBER_MAX, &r->up_bytes) &&
           json_u64(f[DOWN_PACKETS].value, NUMBER_MAX, &r->down_pkts) &&
           json_u64(f[DOWN_BYTES].value, NUMBER_MAX, &r->down_bytes);
}

static bool words(const struct json_field *f, struct relay_record *r)
{
    static const char *const events[] = {"alive", "ended"}, *const relays[] = {"udp", "tcp"},
                             *const families[] = {"ipv4", "ipv6", "dual"};
    unsigned event, transport, relay, family;

    if (!word(&f[EVENT], events, ARRAY_LEN(events), &event) ||
        !word(&f[TRANSPORT], transports, ARRAY_LEN(transports), &transport) ||
        !word(&f[RELAY], relays, ARRAY_LEN(relays), &relay) ||
        !word(&f[FAMILY], families, ARRAY_LEN(families), &family))
        return false;
    r->ended = event == 1;
    r->transport = (enum relay_transport)transport;
    r->tcp_peers = relay == 1;
    r->ipv6 = family == 1;
    return true;
}

static bool texts(const struct json_field *f, struct relay_record *r, struct wr *scratch)
{
    struct slice name;

    return text(&f[ALLOC], BOOT_DIGITS + 21, &name, scratch) && allocation(name, r) &&
           text(&f[NODE], RELAY_RECORD_NAME_MAX, &r->node, scratch) &&
           text(&f[REGION], RELAY_RECORD_NAME_MAX, &r->region, scratch) &&
           text(&f[USER], RELAY_RECORD_TEXT_MAX, &r->user, scratch) &&
           text(&f[CALL], RELAY_RECORD_TEXT_MAX, &r->call, scratch);
}

static bool one_way_can_be(const struct relay_record *r, uint64_t pkts, uint64_t bytes)
{
    uint64_t most_s = r->seconds < UINT32_MAX ? r->seconds + 1 : UINT32_MAX;

    /* Of TCP peers there are no packets. */
    if (!r->tcp_peers && bytes > 0 && (bytes - 1) / DATAGRAM_MAX >= pkts)
        return false;
    return bytes / CABLE_BYTES_S <= most_s && pkts / CABLE_BYTES_S <= most_s;
}

static bool can_be(const struct relay_record *r)
{
    return r->at_s >= TIME_MIN_S && r->at_s < TIME_MAX_S && r->seconds <= r->at_s - TIME_MIN_S &&
           one_way_can_be(r, r->up_pkts, r->up_bytes) &&
           one_way_can_be(r, r->down_pkts, r->down_bytes);
}

int relay_record_decode(struct relay_record *out, struct slice line, struct wr *scratch)
{
    static const struct json_limits limits = {
        .depth = 4, .values = VALUES_MAX, .bytes = RELAY_RECORD_LINE_MAX};
    struct json_field f[FIELDS] = {
        [V] = {.key = "v"},
        [ALLOC] = {.key = "alloc"},
        [TIME] = {.key = "time"},
        [EVENT] = {.key = "event"},
        [NODE] = {.key = "node"},
        [REGION] = {.key = "region"},
        [USER] = {.key = "user"},
        [CALL] = {.key = "call"},
        [TRANSPORT] = {.key = "transport"},
        [RELAY] = {.key = "relay"},
        [FAMILY] = {.key = "family"},
        [SECONDS] = {.key = "seconds"},
        [UP_PACKETS] = {.key = "up_packets"},
        [UP_BYTES] = {.key = "up_bytes"},
        [DOWN_PACKETS] = {.key = "down_packets"},
        [DOWN_BYTES] = {.key = "down_bytes"},
    };
    struct relay_record r = {0};
    uint64_t version;

    if (json_scan_object(line, &limits, f, FIELDS) != 0 ||
        !json_u64(f[V].value, NUMBER_MAX, &version))
        return -EBADMSG;
    if (version != VERSION)
        return -EPROTONOSUPPORT;
    if (!json_u64(f[TIME].value, NUMBER_MAX, &r.at_s) || !amounts(f, &r) || !words(f, &r) ||
        !texts(f, &r, scratch))
        return -EBADMSG;
    if (!can_be(&r))
        return -ERANGE;
    *out = r;
    return 0;
}

static void put_text(struct wr *w, const char *key, struct slice value)
{
    wr_fmt(w, ",\"%s\":", key);
    json_write_text(w, value);
}

void relay_record_encode(struct wr *w, const struct relay_record *r)
{
    wr_fmt(w,
           "{\"v\":%d,\"alloc\":\"%016" PRIx64 "-%" PRIu64 "\",\"time\":%" PRIu64
           ",\"event\":\"%s\"",
           VERSION, r->boot, r->serial, r->at_s, r->ended ? "ended" : "alive");
    put_text(w, "node", r->node);
    put_text(w, "region", r->region);
    put_text(w, "user", r->user);
    put_text(w, "call", r->call);
    wr_fmt(w,
           ",\"transport\":\"%s\",\"relay\":\"%s\",\"family\":\"%s\",\"seconds\":%" PRIu64
           ",\"up_packets\":%" PRIu64 ",\"up_bytes\":%" PRIu64 ",\"down_packets\":%" PRIu64
           ",\"down_bytes\":%" PRIu64,
           transports[r->transport], r->tcp_peers ? "tcp" : "udp", r->ipv6 ? "ipv6" : "ipv4",
           r->seconds, r->up_pkts, r->up_bytes, r->down_pkts, r->down_bytes);
    wr_str(w, r->ended ? ",\"why\":\"released\"}\n" : "}\n");
}
