/* One direction of two connections spliced together.
 *
 * Called by tcp_data_sock.c. Pure. Between two reads there is at most one buffer, of exactly the
 * bytes that are left, and none for a connection that keeps up.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/splice.h"

#include <assert.h>
#include <errno.h>

#include "base/mem.h"

void splice_fini(struct splice *s)
{
    mem_free(s->_left);
    *s = (struct splice){0};
}

bool splice_wants_read(const struct splice *s)
{
    return !s->_in_ended && !s->_left;
}

int splice_keep(struct splice *s, struct slice rest)
{
    assert(!s->_left && !s->_in_ended);
    if (rest.len == 0)
        return 0;
    s->_left = mem_realloc(NULL, rest.len);
    if (!s->_left)
        return -ENOMEM;
    memcpy(s->_left, rest.p, rest.len);
    s->_at = 0;
    s->_end = rest.len;
    return 0;
}

struct slice splice_left(const struct splice *s)
{
    return s->_left ? slice_of(s->_left + s->_at, s->_end - s->_at) : (struct slice){0};
}

void splice_wrote(struct splice *s, size_t n)
{
    assert(n <= s->_end - s->_at);
    s->_at += n;
    if (s->_at < s->_end)
        return;
    mem_free(s->_left);
    s->_left = NULL;
    s->_at = s->_end = 0;
}

void splice_end_in(struct splice *s)
{
    s->_in_ended = true;
}

bool splice_take_end(struct splice *s)
{
    if (!s->_in_ended || s->_left || s->_out_ended)
        return false;
    s->_out_ended = true;
    return true;
}

void splice_abandon(struct splice *s)
{
    splice_fini(s);
    s->_in_ended = s->_out_ended = true;
}

bool splice_done(const struct splice *s)
{
    return s->_out_ended;
}
