/* How readers of clients' `data` look at fields: for sig_client.c and sig_room_read.c only.
 * Each `refuse` names the field to the client. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_PROTO_SIG_READ_H
#define SORI_PROTO_SIG_READ_H

#include <errno.h>

#include "proto/json.h"
#include "proto/sig_client.h"

enum { SCALAR_MAX = 64 }; /* longest name in a closed vocabulary, with room for escapes decoded */

static inline int refuse(struct sig_fault *fault, const char *text)
{
    *fault = (struct sig_fault){SIG_ERR_BAD_REQUEST, text};
    return -EBADMSG;
}

/* Finds fields in an object that may be missing altogether. */
static inline int read_fields(struct slice object, struct json_field *f, size_t n,
                              struct sig_fault *fault)
{
    if (json_fields(object.len > 0 ? object : SLICE_LIT("{}"), f, n) == 0)
        return 0;
    *fault = (struct sig_fault){SIG_ERR_BAD_JSON, "a key is there twice"};
    return -EBADMSG;
}

/* The index of a string value in a list of names: from 0; n when it is none of them. */
static inline size_t name_index(struct slice value, const char *const *names, size_t n)
{
    uint8_t buf[SCALAR_MAX];
    struct wr scratch = wr_init(buf, sizeof(buf));
    struct slice text;

    if (!json_text(value, &text, &scratch))
        return n;
    for (size_t i = 0; i < n; i++)
        if (slice_is(text, names[i]))
            return i;
    return n;
}

static inline bool absent(const struct json_field *f)
{
    return f->kind == JSON_KIND_NONE;
}

/* A string of 1 to max bytes. */
static inline bool text_of(const struct json_field *f, size_t max, struct slice *out,
                           struct wr *scratch)
{
    return json_text(f->value, out, scratch) && out->len > 0 && out->len <= max;
}

#define SDP_NAMES_N 3

/* Reads an RTCSessionDescriptionInit: its type, and that it has an sdp (a rollback needs none).
 * Gives SDP_NAMES_N when it is none. *sdp (may be NULL): the raw string. */
static inline size_t sdp_type(const struct json_field *description, struct slice *sdp)
{
    static const char *const sdp_names[SDP_NAMES_N] = {"offer", "answer", "rollback"};
    struct json_field f[] = {{.key = "type"}, {.key = "sdp"}};

    if (description->kind != JSON_KIND_OBJECT ||
        json_fields(description->value, f, ARRAY_LEN(f)) != 0)
        return SDP_NAMES_N;
    size_t i = name_index(f[0].value, sdp_names, SDP_NAMES_N);
    if (f[1].kind != JSON_KIND_STRING && !(i == SIG_SDP_ROLLBACK && absent(&f[1])))
        return SDP_NAMES_N;
    if (sdp)
        *sdp = f[1].value;
    return i;
}

#endif
