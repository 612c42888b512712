/* server/h2_session.c under a hostile server: whatever bytes come, in whatever pieces, each request
 * is told of exactly once or was forgotten, limits hold, and the session ends or goes on.
 *
 * Input: a byte of options, then the server's bytes. Bytes 0x00-0x0f of every 64-byte step choose
 * what we do between the pieces. SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "server/h2_proxy.h"
#include "server/h2_session.h"

#define REQUESTS 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct req {
    struct h2_stream *stream;
    unsigned told;
    bool forgotten;
};

static struct req reqs[REQUESTS];
static unsigned n_reqs;

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void tell(void *req)
{
    struct req *r = req;

    must(r->told++ == 0 && !r->forgotten);
}

static void on_answered(void *user, void *req, const struct h2_response *r)
{
    size_t bytes = 0;

    (void)user;
    must(r->status >= 200 && r->status <= 999 && r->outcome == H2_ANSWERED);
    must(r->n_fields <= H2_RESPONSE_FIELDS_MAX && r->body.len <= H2_RESPONSE_BODY_MAX);
    for (size_t i = 0; i < r->n_fields; i++)
        bytes += r->fields[i].name.len + r->fields[i].value.len;
    must(bytes <= H2_RESPONSE_HEAD_MAX);
    must(h2_field(r, "no-such-field").len == 0 || bytes > 0);
    tell(req);
}
static void on_refused(void *user, void *req, bool goaway)
{
    (void)user, (void)goaway;
    tell(req);
}
static void on_failed(void *user, void *req, const char *why)
{
    (void)user;
    must(why && why[0]);
    tell(req);
}
static void on_limit(void *user, unsigned streams)
{
    (void)user;
    must(streams <= REQUESTS);
}
static void on_goaway(void *user, const char *why)
{
    (void)user;
    must(strlen(why) < H2_WHY_MAX);
}
static const struct h2_session_ops OPS = {on_answered, on_refused, on_failed, on_limit, on_goaway};

static uint64_t drain(struct h2_session *s, bool all)
{
    uint64_t n = 0;
    struct slice b;

    while ((b = h2_session_send(s)).len > 0) {
        n += b.len;
        if (!all)
            break;
    }
    return n;
}

static void submit(struct h2_session *s, uint64_t now)
{
    static const struct h2_header h[] = {{SLICE_LIT("apns-id"), SLICE_LIT("1"), H2_INDEX_FIRST}};
    static const struct h2_request q = {.path = SLICE_LIT("/3/device/x"),
                                        .authorization = SLICE_LIT("bearer y"),
                                        .headers = h,
                                        .n_headers = 1,
                                        .body = SLICE_LIT("{\"aps\":{}}")};

    if (n_reqs == REQUESTS)
        return;
    struct req *r = &reqs[n_reqs];
    *r = (struct req){0};
    unsigned room = h2_session_room(s);
    int rc = h2_session_submit(s, &q, r, &r->stream, now);
    must((rc == 0) == (room > 0) && (rc == 0 || rc == -EAGAIN || rc == -EPIPE));
    n_reqs += rc == 0;
}

static void forget(struct h2_session *s, unsigned i)
{
    if (i >= n_reqs || reqs[i].told || reqs[i].forgotten)
        return;
    reqs[i].forgotten = true;
    h2_session_forget(s, reqs[i].stream);
}

/* Something that a pool does. */
static void act(struct h2_session *s, uint8_t what, uint64_t now)
{
    switch (what & 7) {
    case 0:
    case 1:
    case 2:
        submit(s, now);
        break;
    case 3:
        forget(s, what >> 3);
        break;
    case 4:
        (void)h2_session_tick(s, now);
        break;
    case 5:
        drain(s, false);
        break;
    default:
        drain(s, true);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct h2_session_conf conf = {"api.example", REQUESTS, US_PER_S, 60 * US_PER_S, US_PER_S};
    uint64_t now = US_PER_S, live = mem_live();
    unsigned status;
    int rc = h2_proxy_read(slice_of(data, size), &status);

    must(rc == 0 || rc == -EAGAIN || rc == -EACCES || rc == -EBADMSG);
    must(rc != 0 || (status >= 200 && status <= 299));
    n_reqs = 0;
    struct h2_session *s = h2_session_new(&conf, &OPS, NULL, now);
    if (!s || size == 0) {
        h2_session_free(s);
        return 0;
    }
    size_t step = (data[0] & 0x3f) + 1u;
    bool flat = (data[0] & 0x40) != 0; /* all bytes are the server's */
    drain(s, true);
    rc = 0;
    for (size_t at = 1; at < size && rc == 0;) {
        if (!flat)
            act(s, data[at++], now);
        else
            submit(s, now);
        struct slice piece = slice_sub(slice_of(data, size), at, step);
        rc = h2_session_recv(s, piece, now);
        must(rc == 0 || rc == -EPROTO);
        must(rc == 0 || h2_session_why(s)[0] != '\0');
        at += piece.len;
        now += 100 * US_PER_MS;
        must(h2_session_inflight(s) <= REQUESTS);
        if (flat)
            drain(s, true);
    }
    h2_session_end(s, data[0] & 0x80 ? 0 : UINT64_MAX, "end");
    for (unsigned i = 0; i < n_reqs; i++)
        must(reqs[i].told == 1 || reqs[i].forgotten);
    h2_session_free(s);
    must(mem_live() == live);
    return 0;
}
