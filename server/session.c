/* Sessions and the users they belong to: two tables and the resume token.
 *
 * Called by login.c (makes, finds, resumes) and router.c (ends). The token is single-use: each
 * welcome rotates it. SPDX-License-Identifier: BSD-3-Clause */
#include "server/session.h"

#include "base/crypto.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/rand.h"

struct session_table {
    struct htable sessions, users;
};

struct session_table *session_table_new(void)
{
    struct session_table *t = mem_zalloc(sizeof(*t));

    if (t && htable_init(&t->sessions, 64) == 0 && htable_init(&t->users, 64) == 0)
        return t;
    session_table_free(t);
    return NULL;
}

void session_table_free(struct session_table *t)
{
    struct hnode *saved = NULL;
    size_t pos = 0;

    if (!t)
        return;
    if (t->sessions._slots && t->users._slots)
        for (struct session *s; (s = session_walk(t, &pos, &saved));)
            session_free(t, s);
    htable_fini(&t->sessions);
    htable_fini(&t->users);
    mem_free(t);
}

size_t session_table_count(const struct session_table *t)
{
    return t->sessions.count;
}

struct session *session_walk(const struct session_table *t, size_t *pos, struct hnode **saved)
{
    struct hnode *n = htable_walk(&t->sessions, pos, saved);

    return n ? CONTAINER_OF(n, struct session, by_id) : NULL;
}

struct user *user_find(const struct session_table *t, struct slice user)
{
    for (struct hnode *n = htable_first(&t->users, hash_bytes(user)); n; n = htable_next(n)) {
        struct user *u = CONTAINER_OF(n, struct user, by_id);
        if (slice_eq(user_id(u), user))
            return u;
    }
    return NULL;
}

static struct user *user_get(struct session_table *t, struct slice user)
{
    struct user *u = user_find(t, user);

    if (u || user.len > SESSION_USER_MAX)
        return u;
    u = mem_zalloc(sizeof(*u) + user.len + 1);
    if (!u)
        return NULL;
    list_init(&u->sessions);
    u->id_len = (uint16_t)user.len;
    memcpy(u->id, user.p, user.len);
    htable_add(&t->users, &u->by_id, hash_bytes(user));
    return u;
}

static void user_put(struct session_table *t, struct user *u)
{
    if (u->sessions_n > 0)
        return;
    htable_del(&t->users, &u->by_id);
    mem_free(u);
}

struct session *session_new(struct session_table *t, struct slice user, struct slice device,
                            struct slice name)
{
    if (device.len > SESSION_DEVICE_MAX || name.len > SESSION_NAME_MAX)
        return NULL;
    struct user *u = user_get(t, user);
    if (!u)
        return NULL;
    struct session *s = mem_zalloc(sizeof(*s) + device.len + 1);
    char *name_copy = name.len > 0 ? mem_strndup(name) : NULL;
    if (!s || (name.len > 0 && !name_copy)) {
        mem_free(name_copy);
        mem_free(s);
        user_put(t, u);
        return NULL;
    }
    reliable_init(&s->rel);
    rand_bytes(s->id, sizeof(s->id));
    rand_bytes(s->_token, sizeof(s->_token));
    s->user = u;
    s->name = name_copy;
    s->name_len = (uint8_t)name.len;
    s->device_len = (uint8_t)device.len;
    memcpy(s->device, device.p, device.len);
    list_append(&u->sessions, &s->of_user);
    u->sessions_n++;
    htable_add(&t->sessions, &s->by_id, hash_bytes(slice_of(s->id, sizeof(s->id))));
    return s;
}

void session_free(struct session_table *t, struct session *s)
{
    struct user *u = s->user;

    htable_del(&t->sessions, &s->by_id);
    list_del(&s->of_user);
    u->sessions_n--;
    user_put(t, u);
    reliable_fini(&s->rel);
    crypto_wipe(s->_token, sizeof(s->_token));
    crypto_wipe(s->_token_before, sizeof(s->_token_before));
    mem_free(s->name);
    mem_free(s->room);
    mem_free(s);
}

struct session *session_find(const struct session_table *t, struct slice id_text)
{
    uint8_t id[SESSION_ID_BYTES];
    size_t len;

    if (base64url_decode(id_text, id, sizeof(id), &len) != 0 || len != sizeof(id))
        return NULL;
    return session_by_id(t, id);
}

struct session *session_by_id(const struct session_table *t, const uint8_t id[SESSION_ID_BYTES])
{
    struct slice key = slice_of(id, SESSION_ID_BYTES);

    for (struct hnode *n = htable_first(&t->sessions, hash_bytes(key)); n; n = htable_next(n)) {
        struct session *s = CONTAINER_OF(n, struct session, by_id);
        if (slice_eq(slice_of(s->id, sizeof(s->id)), key))
            return s;
    }
    return NULL;
}

void session_restore(struct session_table *t, struct session *s, const uint8_t id[SESSION_ID_BYTES],
                     const uint8_t token[SESSION_ID_BYTES])
{
    htable_del(&t->sessions, &s->by_id);
    memcpy(s->id, id, sizeof(s->id));
    memcpy(s->_token, token, sizeof(s->_token));
    htable_add(&t->sessions, &s->by_id, hash_bytes(slice_of(s->id, sizeof(s->id))));
}

void session_tokens(const struct session *s, uint8_t out[2][32],
                    void (*hash)(const uint8_t token[SESSION_ID_BYTES], uint8_t out[32]))
{
    hash(s->_token, out[0]);
    hash(s->_token_before_ok ? s->_token_before : s->_token, out[1]);
}

struct session *session_find_device(const struct user *u, struct slice device)
{
    LIST_EACH(l, tmp, &u->sessions)
    {
        struct session *s = CONTAINER_OF(l, struct session, of_user);
        if (slice_eq(session_device(s), device))
            return s;
    }
    return NULL;
}

static void id_text(const uint8_t id[SESSION_ID_BYTES], char out[SESSION_ID_TEXT])
{
    struct wr w = wr_init(out, SESSION_ID_TEXT);

    base64url_encode(&w, slice_of(id, SESSION_ID_BYTES));
}

void session_id_text(const struct session *s, char out[SESSION_ID_TEXT])
{
    id_text(s->id, out);
}

/* Whether text is the token; constant time in the token. */
static bool token_is(const uint8_t token[SESSION_ID_BYTES], struct slice text)
{
    uint8_t given[SESSION_ID_BYTES];
    size_t len;

    return base64url_decode(text, given, sizeof(given), &len) == 0 &&
           crypto_equal(slice_of(given, len), slice_of(token, SESSION_ID_BYTES));
}

void session_rotate(struct session *s, struct slice used, char out[SESSION_ID_TEXT])
{
    if (!(s->_token_before_ok && token_is(s->_token_before, used)))
        memcpy(s->_token_before, s->_token, sizeof(s->_token));
    s->_token_before_ok = used.len > 0;
    rand_bytes(s->_token, sizeof(s->_token));
    id_text(s->_token, out);
}

bool session_confirm(struct session *s)
{
    if (!s->_token_before_ok)
        return false;
    s->_token_before_ok = false;
    crypto_wipe(s->_token_before, sizeof(s->_token_before));
    return true;
}

bool session_token_ok(const struct session *s, struct slice text)
{
    bool now = token_is(s->_token, text);
    bool before = token_is(s->_token_before, text);

    return now || (before && s->_token_before_ok);
}
