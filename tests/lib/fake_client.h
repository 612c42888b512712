/* A client without a socket: drives a router through client.c and keeps what it answers.
 *
 * For tests of the router and for tests/sim. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TESTS_LIB_FAKE_CLIENT_H
#define SORI_TESTS_LIB_FAKE_CLIENT_H

#include <errno.h>

#include "base/clock.h"
#include "base/mem.h"
#include "proto/json.h"
#include "proto/ws.h"
#include "server/client.h"
#include "server/router.h"
#include "server/token.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FAKE_SECRET "0123456789abcdef0123456789abcdef"
#define FAKE_WALL   (UINT64_C(1767225600) * US_PER_S)

struct fake {
    struct client *c;
    uint8_t *out; /* bytes from the server, not read yet */
    size_t out_len, out_cap;
    size_t write_max; /* refuse writes beyond this many unread bytes; 0: no limit */
    bool closed;      /* the server has ended the connection */
    uint16_t close_code;
    unsigned pings;
    char text[140000]; /* the message that fake_next() gave last */
};

static inline int fake_write(void *conn, struct slice a, struct slice b)
{
    struct fake *f = conn;
    size_t n = a.len + b.len;

    if (f->write_max && f->out_len + n > f->write_max)
        return -ENOBUFS;
    if (f->out_len + n > f->out_cap) {
        f->out_cap = (f->out_len + n) * 2;
        f->out = realloc(f->out, f->out_cap);
    }
    memcpy(f->out + f->out_len, a.p, a.len);
    if (b.len)
        memcpy(f->out + f->out_len + a.len, b.p, b.len);
    f->out_len += n;
    return 0;
}

static inline void fake_close(void *conn)
{
    ((struct fake *)conn)->closed = true;
}

static const struct client_ops FAKE_OPS = {.write = fake_write, .close = fake_close};

/* A new connection from 192.0.2.n. */
static inline struct fake *fake_open(struct router *r, uint8_t n)
{
    struct fake *f = calloc(1, sizeof(*f));
    struct addr from = {.ip = {192, 0, 2, n}, .port = 4000, .family = ADDR_V4};

    f->c = client_new(r, &FAKE_OPS, f, &from);
    return f;
}

/* The connection breaks, or is cleaned up after the server's close. */
static inline void fake_free(struct fake *f)
{
    client_free(f->c);
    free(f->out);
    free(f);
}

/* Sends one frame, masked. */
static inline void fake_frame(struct fake *f, uint8_t opcode, const void *p, size_t len)
{
    static const uint8_t mask[4] = {1, 2, 3, 4};
    uint8_t *frame = malloc(len + 14);
    size_t n = 0;

    frame[n++] = (uint8_t)(0x80 | opcode);
    if (len < 126) {
        frame[n++] = (uint8_t)(0x80 | len);
    } else if (len < 65536) {
        frame[n++] = 0x80 | 126;
        frame[n++] = (uint8_t)(len >> 8);
        frame[n++] = (uint8_t)len;
    } else {
        frame[n++] = 0x80 | 127;
        for (int i = 7; i >= 0; i--)
            frame[n++] = (uint8_t)((uint64_t)len >> (8 * i));
    }
    memcpy(frame + n, mask, 4);
    n += 4;
    for (size_t i = 0; i < len; i++)
        frame[n + i] = ((const uint8_t *)p)[i] ^ mask[i % 4];
    if (!f->closed)
        client_recv(f->c, frame, n + len);
    free(frame);
}

/* Sends one text message. */
static inline void fake_say(struct fake *f, const char *text)
{
    fake_frame(f, WS_OP_TEXT, text, strlen(text));
}

/* Takes the next text message out of what the server sent: NUL-terminated, or NULL when there is
 * none. Pings and the Close frame are taken note of on the way. */
static inline const char *fake_next(struct fake *f)
{
    while (f->out_len >= 2) {
        size_t len = f->out[1] & 0x7F, head = 2;
        uint8_t op = f->out[0] & 0x0F;
        if (len == 126) {
            len = (size_t)f->out[2] << 8 | f->out[3];
            head = 4;
        } else if (len == 127) {
            len = 0;
            for (int i = 0; i < 8; i++)
                len = len << 8 | f->out[2 + i];
            head = 10;
        }
        if (len >= sizeof(f->text))
            abort();
        memcpy(f->text, f->out + head, len);
        f->text[len] = 0;
        memmove(f->out, f->out + head + len, f->out_len - head - len);
        f->out_len -= head + len;
        if (op == WS_OP_TEXT)
            return f->text;
        if (op == WS_OP_PING)
            f->pings++;
        if (op == WS_OP_CLOSE && len >= 2)
            f->close_code = (uint16_t)((uint8_t)f->text[0] << 8 | (uint8_t)f->text[1]);
    }
    return NULL;
}

/* A token for user, good for life_s from FAKE_WALL on. */
static inline const char *fake_token(const char *user, uint64_t life_s)
{
    static char text[1024];
    const struct token_rules rules = {0};
    struct token t = {.expires_at_s = FAKE_WALL / US_PER_S + life_s,
                      .perms = {.call = true, .presence = true, .in_room = TOKEN_ROOM_PERMS}};
    struct wr w = wr_init(text, sizeof(text) - 1);

    snprintf(t.user, sizeof(t.user), "%s", user);
    token_sign_hs256(&w, SLICE_LIT(FAKE_SECRET), NULL, &t, &rules, FAKE_WALL / US_PER_S);
    text[w.len] = 0;
    return text;
}

/* Says hello; resume is the text of the resume object or NULL. */
static inline void fake_hello(struct fake *f, const char *user, const char *device,
                              const char *resume)
{
    char text[4096];

    snprintf(text, sizeof(text),
             "{\"type\":\"hello\",\"id\":\"h\",\"data\":{\"token\":\"%s\",\"deviceId\":\"%s\","
             "\"capabilities\":[\"call-waiting\"]%s%s}}",
             fake_token(user, 3600), device, resume ? ",\"resume\":" : "", resume ? resume : "");
    fake_say(f, text);
}

/* The value of a string or number field anywhere in a message, by its quoted key ("\"seq\":"); ""
 * when it is not there. For tests: no JSON parser. Up to 8 results live at once. */
static inline const char *fake_field(const char *text, const char *key)
{
    static char ring[8][256];
    static unsigned at;
    const char *p = text ? strstr(text, key) : NULL;
    char *out = ring[at++ % 8];
    size_t n = 0;

    out[0] = 0;
    if (!p)
        return out;
    p += strlen(key);
    bool quoted = *p == '"';
    for (p += quoted; *p && n < 255 && (quoted ? *p != '"' : (*p != ',' && *p != '}')); p++)
        out[n++] = *p;
    out[n] = 0;
    return out;
}

#endif
