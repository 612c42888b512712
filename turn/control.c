/* The control protocol: what a request line asks, and what a core answers.
 *
 * Called by control_listener.c: control_decode() in its own thread, control_list() and
 * control_kill() in the workers'. Pure. Whoever may open the socket is trusted with users' names;
 * sizes are bounded all the same, a list is for people to read.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/control.h"

#include <errno.h>
#include <inttypes.h>

#include "proto/json.h"
#include "proto/turncred.h"
#include "turn/allocate.h"

#define ID_PART_MAX (UINT64_MAX / 2)

static const char *const command_name[] = {
    [CONTROL_STATUS] = "status", [CONTROL_LIST] = "list",           [CONTROL_KILL] = "kill",
    [CONTROL_QUOTA] = "quota",   [CONTROL_LOG_LEVEL] = "log-level", [CONTROL_DRAIN] = "drain",
};

static int refuse(const char **why, const char *what)
{
    *why = what;
    return -EBADMSG;
}

static bool decode_command(struct slice name, enum control_command *out)
{
    for (unsigned i = 0; i < ARRAY_LEN(command_name); i++) {
        if (slice_is(name, command_name[i])) {
            *out = (enum control_command)i;
            return true;
        }
    }
    return false;
}

static bool decode_id(struct slice text, struct control_id *out)
{
    const uint8_t *dot = text.len > 0 ? memchr(text.p, '.', text.len) : NULL;
    uint64_t worker;

    if (!dot)
        return false;
    size_t at = (size_t)(dot - text.p);
    if (slice_to_u64(slice_sub(text, 0, at), UINT16_MAX, &worker) != 0 ||
        slice_to_u64(slice_sub(text, at + 1, SIZE_MAX), ID_PART_MAX, &out->serial) != 0)
        return false;
    out->worker = (unsigned)worker;
    return true;
}

int control_decode(struct control_request *out, struct slice line, const char **why)
{
    static const struct json_limits limits = {.depth = 1, .values = 8, .bytes = CONTROL_LINE_MAX};
    enum { COMMAND, USER, REALM, ALLOCATION, LEVEL, FIELDS };
    struct json_field f[FIELDS] = {{"command", {0}, 0},
                                   {"user", {0}, 0},
                                   {"realm", {0}, 0},
                                   {"allocation", {0}, 0},
                                   {"level", {0}, 0}};
    struct control_request r = {0};
    uint8_t buf[CONTROL_LINE_MAX];
    struct wr scratch = wr_init(buf, sizeof(buf)), user = wr_init(r.user, sizeof(r.user));
    struct wr realm = wr_init(r.realm, sizeof(r.realm));
    struct slice text;

    if (json_scan_object(line, &limits, f, FIELDS) != 0)
        return refuse(why, "not one flat JSON object on a line");
    if (!json_text(f[COMMAND].value, &text, &scratch) || !decode_command(text, &r.command))
        return refuse(why, "unknown command");
    if (f[USER].kind != JSON_KIND_NONE) {
        if (!json_text(f[USER].value, &text, &scratch) || text.len > sizeof(r.user))
            return refuse(why, "user: want a text of at most 763 bytes");
        r.has_user = true;
        wr_bytes(&user, text);
        r.user_len = user.len;
    }
    if (f[REALM].kind != JSON_KIND_NONE) {
        if (!json_text(f[REALM].value, &text, &scratch) || text.len > sizeof(r.realm))
            return refuse(why, "realm: want a text of at most 127 bytes");
        r.has_realm = true;
        wr_bytes(&realm, text);
        r.realm_len = realm.len;
    }
    if (r.command == CONTROL_KILL &&
        (!json_text(f[ALLOCATION].value, &text, &scratch) || !decode_id(text, &r.id)))
        return refuse(why, "allocation: want WORKER.SERIAL, as list shows it");
    if (r.command == CONTROL_LOG_LEVEL &&
        (!json_text(f[LEVEL].value, &text, &scratch) || log_level_parse(text, &r.level) != 0))
        return refuse(why, "level: want error, warn, info or debug");
    *out = r;
    return 0;
}

void control_put_error(struct wr *w, const char *why)
{
    wr_str(w, "{\"ok\":false,\"error\":");
    json_write_text(w, slice_str(why));
    wr_str(w, "}\n");
}

static void put_addr(struct wr *w, const char *key, const struct addr *a)
{
    char text[ADDR_TEXT_MAX];

    wr_fmt(w, ",\"%s\":\"%s\"", key, addr_format(a, text));
}

static void put_alloc(struct wr *w, const struct turn_core *c, unsigned worker,
                      const struct alloc *a, const struct turncred *cred, uint64_t now_us)
{
    static const char *const transport[] = {
        [FIVE_TUPLE_UDP] = "udp",
        [FIVE_TUPLE_TCP] = "tcp",
        [FIVE_TUPLE_TLS] = "tls",
        [FIVE_TUPLE_DTLS] = "dtls",
    };
    struct addr shown = addr_with_port(c->shared->relays[a->pool].shown, a->relayed.port);
    uint64_t end_us = a->timer.deadline_us, up, down;

    alloc_bytes(a, &up, &down);
    wr_fmt(w, "{\"allocation\":\"%u.%" PRIu64 "\",\"user\":", worker, a->serial);
    json_write_text(w, cred->user);
    wr_str(w, ",\"call\":");
    json_write_text(w, cred->call_id);
    wr_str(w, ",\"realm\":");
    json_write_text(w, realm_name(&c->shared->realms, a->realm));
    wr_fmt(w, ",\"transport\":\"%s\"", transport[a->tuple.transport]);
    put_addr(w, "client", &a->tuple.client);
    put_addr(w, "relayed", &shown);
    if (alloc_addresses(a) > 1) {
        shown = addr_with_port(c->shared->relays[a->second.pool].shown, a->second.relayed.port);
        put_addr(w, "relayed_second", &shown);
    }
    wr_fmt(w,
           ",\"seconds\":%" PRIu64 ",\"expires_in\":%" PRIu64 ",\"up_packets\":%" PRIu64
           ",\"up_bytes\":%" PRIu64 ",\"down_packets\":%" PRIu64 ",\"down_bytes\":%" PRIu64 "}\n",
           (now_us - a->start_us) / US_PER_S, end_us > now_us ? (end_us - now_us) / US_PER_S : 0,
           a->up_pkts, up, a->down_pkts, down);
}

void control_list(struct wr *w, const struct turn_core *c, unsigned worker,
                  const struct control_request *r, uint64_t now_us, uint64_t *shown, uint64_t *left)
{
    size_t room = w->cap > CONTROL_LAST_MAX ? w->cap - CONTROL_LAST_MAX : 0, pos = 0;
    struct hnode *saved = NULL;
    const struct alloc *a;

    while ((a = alloc_table_walk(&c->allocs, &pos, &saved))) {
        struct turncred cred = {.user = alloc_user(a)};
        struct wr line = wr_init(w->base, room);
        turncred_parse(&cred, alloc_user(a)); /* a static name stays as it is */
        if ((r->has_user && !slice_eq(cred.user, slice_of(r->user, r->user_len))) ||
            (r->has_realm &&
             !slice_eq(realm_name(&c->shared->realms, a->realm), slice_of(r->realm, r->realm_len))))
            continue;
        line.len = w->len;
        line.bad = *left > 0 || w->len > room; /* once full, stay full: no gaps */
        put_alloc(&line, c, worker, a, &cred, now_us);
        if (line.bad) {
            (*left)++;
            continue;
        }
        w->len = line.len;
        (*shown)++;
    }
}

bool control_kill(struct turn_core *c, uint64_t serial, uint64_t now_us)
{
    struct hnode *saved = NULL;
    struct alloc *a;
    size_t pos = 0;

    while ((a = alloc_table_walk(&c->allocs, &pos, &saved))) {
        if (a->serial == serial) {
            allocate_end(c, a, "killed", now_us);
            return true;
        }
    }
    return false;
}
