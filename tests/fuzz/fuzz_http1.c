/* Request heads: no crash, stable verdicts (more bytes never turn a verdict round), and everything
 * that is found lies inside the head.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/mem.h"
#include "proto/http1.h"

#include <errno.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must_lie_in(struct slice outer, struct slice s)
{
    if (s.len > 0 && (s.p < outer.p || s.p + s.len > outer.p + outer.len))
        abort();
}

static void use(const struct http1_request *r, struct slice in)
{
    uint8_t buf[256];
    char accept[HTTP1_ACCEPT_BYTES];
    unsigned status;
    char *const allowed[] = {"https://app.example.com"};
    struct slice head = slice_sub(in, 0, r->len);
    if (r->len > in.len || r->len > HTTP1_HEAD_MAX || r->n_headers > HTTP1_HEADERS_MAX)
        abort();
    must_lie_in(head, r->path);
    must_lie_in(head, r->query);
    must_lie_in(head, r->host);
    for (size_t i = 0; i < r->n_headers; i++) {
        must_lie_in(head, r->headers[i].name);
        must_lie_in(head, r->headers[i].value);
    }
    struct wr w = wr_init(buf, sizeof buf);
    (void)http1_percent_decode(r->path, &w);
    w = wr_init(buf, sizeof buf);
    (void)http1_query_get(r->query, "user", &w);
    (void)http1_origin_allowed(http1_header(r, "origin"), true, allowed, 1);
    uint64_t from, len, size = head.len;
    if (http1_range(http1_header(r, "range"), size, &from, &len) == 1 &&
        (len == 0 || from >= size || len > size - from))
        abort();
    if (http1_websocket_check(r, "sori.v1", accept, &status) == -EBADMSG && status != 400 &&
        status != 426)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_of(data, size);
    struct http1_request r;
    unsigned status = 0;
    int whole = http1_decode(&r, in, &status);
    if (whole == 0)
        use(&r, in);
    if (whole == -EBADMSG && (status < 400 || status > 505))
        abort();
    /* A prefix may say "more", or what the whole says; never something else. */
    uint8_t *half = mem_zalloc(size / 2);
    if (size / 2 > 0)
        memcpy(half, data, size / 2);
    int part = http1_decode(&r, slice_of(half, size / 2), &status);
    if (part != -EAGAIN && part != whole)
        abort();
    mem_free(half);
    return 0;
}
