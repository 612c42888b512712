/* Access tokens: JWS compact form (RFC 7515) and JWT claims (RFC 7519).
 *
 * Called for each client at hello and at token refresh.
 * Order of the checks: size, three strict base64url parts, header object, key from our table, the
 * key's algorithm against the header's, signature over the bytes as they came, and only then the
 * payload's claims. What the header says beyond alg, kid and crit has no effect (RFC 8725 §3.1,
 * §3.8 to §3.10): no jku, no jwk, no x5u.
 *
 * Pure: keys are cached OpenSSL objects behind base/crypto.h; jansson is fine here, since a token
 * is read once per connection, not per message. SPDX-License-Identifier: BSD-3-Clause */
#include "server/token.h"

#include "proto/utf8.h"
#include "server/token_json.h"

#include <errno.h>

#define SIG_MAX          1024 /* RSA of 8192 bits */
#define JSON_DEPTH_MAX   8    /* of a header or of claims */
#define JSON_VALUES_MAX  256
#define DATE_MAX         ((uint64_t)253402300799) /* 9999-12-31T23:59:59Z */
#define HS256_HEADER_MAX (64 + 2 * TOKEN_KID_MAX)

/* ---- names ---- */

static const char *const error_names[] = {
    [TOKEN_OK] = "ok",
    [TOKEN_MALFORMED] = "malformed",
    [TOKEN_UNKNOWN_KEY] = "unknown_key",
    [TOKEN_WRONG_ALG] = "wrong_alg",
    [TOKEN_BAD_SIGNATURE] = "bad_signature",
    [TOKEN_BAD_CLAIM] = "bad_claim",
    [TOKEN_EXPIRED] = "expired",
    [TOKEN_NOT_YET] = "not_yet",
    [TOKEN_WRONG_ISSUER] = "wrong_issuer",
    [TOKEN_WRONG_AUDIENCE] = "wrong_audience",
    [TOKEN_NO_MEMORY] = "no_memory",
};

const char *token_error_name(enum token_error e)
{
    return error_names[e];
}

const char *token_error_code(enum token_error e)
{
    switch (e) {
    case TOKEN_EXPIRED:
        return "token_expired";
    case TOKEN_NOT_YET:
        return "token_not_valid_yet";
    default:
        return "unauthorized";
    }
}

/* ---- JSON ---- */

/* The object that fills s. NULL: *e is TOKEN_MALFORMED or TOKEN_NO_MEMORY. */
static json_t *load_object(struct slice s, enum token_error *e)
{
    static const struct token_json_limits max = {TOKEN_JWS_MAX, JSON_DEPTH_MAX, JSON_VALUES_MAX};
    json_t *v;
    int rc = token_json_load(&v, s, &max, NULL, 0);
    *e = rc == -ENOMEM ? TOKEN_NO_MEMORY : TOKEN_MALFORMED;
    if (rc != 0)
        return NULL;
    if (json_is_object(v))
        return v;
    json_decref(v);
    return NULL;
}

/* Copies an optional text member, "" when absent. False: wrong type, too long, not allowed. */
static bool take_text(const json_t *obj, const char *name, char *out, size_t cap,
                      bool (*allowed)(struct slice, size_t))
{
    out[0] = '\0';
    if (!json_object_get(obj, name))
        return true;
    struct slice s = token_json_text(obj, name);
    return s.p && allowed(s, cap - 1) && slice_to_cstr(s, out, cap) == 0;
}

/* ---- JWS ---- */

/* The compact form taken apart (RFC 7515 §7.1). */
struct jws {
    struct slice header, payload, signature; /* base64url text */
    struct slice signed_part;                /* header.payload */
};

static bool jws_split(struct slice s, struct jws *out)
{
    size_t dot[2], n = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.p[i] != '.')
            continue;
        if (n == ARRAY_LEN(dot))
            return false;
        dot[n++] = i;
    }
    if (n != ARRAY_LEN(dot))
        return false;
    out->header = slice_sub(s, 0, dot[0]);
    out->payload = slice_sub(s, dot[0] + 1, dot[1] - dot[0] - 1);
    out->signature = slice_sub(s, dot[1] + 1, s.len);
    out->signed_part = slice_sub(s, 0, dot[1]);
    return out->header.len > 0;
}

/* Picks the key that the header names. */
static enum token_error pick_key(const struct token_keys *k, const json_t *header,
                                 const struct crypto_key **out)
{
    const json_t *kid = json_object_get(header, "kid");
    struct slice name = token_json_text(header, "kid");
    /* RFC 7515 §4.1.11: a crit that is not understood makes the JWS invalid; we understand none. */
    if (json_object_get(header, "crit") || !json_is_string(json_object_get(header, "alg")) ||
        (kid && (!name.p || name.len > TOKEN_KID_MAX)))
        return TOKEN_MALFORMED;
    enum crypto_alg alg = crypto_alg_parse(token_json_text(header, "alg"));
    if (alg == CRYPTO_ALG_NONE)
        return TOKEN_WRONG_ALG;
    const struct crypto_key *key = token_keys_find(k, name, alg);
    if (!key)
        return TOKEN_UNKNOWN_KEY;
    if (crypto_key_alg(key) != alg)
        return TOKEN_WRONG_ALG;
    *out = key;
    return TOKEN_OK;
}

static enum token_error read_header(const struct token_keys *k, struct slice text,
                                    const struct crypto_key **key)
{
    uint8_t buf[TOKEN_JWS_MAX];
    size_t len;
    if (base64url_decode(text, buf, sizeof buf, &len) != 0)
        return TOKEN_MALFORMED;
    enum token_error e;
    json_t *header = load_object(slice_of(buf, len), &e);
    if (!header)
        return e;
    e = pick_key(k, header, key);
    json_decref(header);
    return e;
}

enum token_error token_verify_jws(const struct token_keys *k, struct slice jws, struct wr *payload)
{
    struct jws j;
    uint8_t sig[SIG_MAX], body[TOKEN_JWS_MAX];
    size_t sig_len, body_len;
    const struct crypto_key *key = NULL;
    if (jws.len > TOKEN_JWS_MAX || !jws_split(jws, &j) ||
        base64url_decode(j.signature, sig, sizeof sig, &sig_len) != 0 ||
        base64url_decode(j.payload, body, sizeof body, &body_len) != 0)
        return TOKEN_MALFORMED;
    enum token_error e = read_header(k, j.header, &key);
    if (e != TOKEN_OK)
        return e;
    if (!crypto_key_verify(key, j.signed_part, slice_of(sig, sig_len)))
        return TOKEN_BAD_SIGNATURE;
    wr_bytes(payload, slice_of(body, body_len));
    return payload->bad ? TOKEN_MALFORMED : TOKEN_OK;
}

/* ---- claims ---- */

bool token_id_valid(struct slice id, size_t max)
{
    for (size_t i = 0; i < id.len; i++) {
        uint8_t c = id.p[i];
        bool ok = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                  (c != 0 && strchr("._@+-", c));
        if (!ok)
            return false;
    }
    return id.len > 0 && id.len <= max;
}

/* Text for people: UTF-8, no C0 or C1 control characters. */
static bool name_valid(struct slice s, size_t max)
{
    if (s.len > max || !utf8_valid(s))
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (s.p[i] < 0x20 || s.p[i] == 0x7F ||
            (s.p[i] == 0xC2 && s.p[i + 1] < 0xA0)) /* valid, so a second byte is there */
            return false;
    return true;
}

/* A NumericDate (RFC 7519 §2), whole seconds of it. Returns false for anything but a number that
 * is a date. */
static bool date_of(const json_t *v, uint64_t *out)
{
    if (!json_is_number(v))
        return false;
    double d = json_number_value(v);
    if (!(d >= 0 && d <= (double)DATE_MAX))
        return false;
    *out = (uint64_t)d;
    return true;
}

static enum token_error check_dates(const json_t *c, uint32_t leeway, uint64_t now, uint64_t *exp)
{
    static const char *const starts[] = {"nbf", "iat"};
    uint64_t at;
    if (!date_of(json_object_get(c, "exp"), exp))
        return TOKEN_BAD_CLAIM;
    for (size_t i = 0; i < ARRAY_LEN(starts); i++) {
        const json_t *v = json_object_get(c, starts[i]);
        if (v && !date_of(v, &at))
            return TOKEN_BAD_CLAIM;
        if (v && at > now && at - now > leeway)
            return TOKEN_NOT_YET;
    }
    /* RFC 7519 §4.1.4: "on or after which the JWT MUST NOT be accepted". */
    return now >= *exp && now - *exp >= leeway ? TOKEN_EXPIRED : TOKEN_OK;
}

static bool audience_has(const json_t *aud, const char *want)
{
    const json_t *v;
    size_t i;
    if (json_is_string(aud))
        return slice_is(slice_of(json_string_value(aud), json_string_length(aud)), want);
    json_array_foreach(aud, i, v)
    {
        if (json_is_string(v) &&
            slice_is(slice_of(json_string_value(v), json_string_length(v)), want))
            return true;
    }
    return false;
}

static bool text_set(const char *s)
{
    return s && *s;
}

static enum token_error check_parties(const json_t *c, const struct token_rules *r)
{
    if (text_set(r->issuer) && !slice_is(token_json_text(c, "iss"), r->issuer))
        return TOKEN_WRONG_ISSUER;
    if (text_set(r->audience) && !audience_has(json_object_get(c, "aud"), r->audience))
        return TOKEN_WRONG_AUDIENCE;
    return TOKEN_OK;
}

static bool take_bool(const json_t *obj, const char *name, bool *out)
{
    const json_t *v = json_object_get(obj, name);
    *out = !v || json_is_true(v);
    return !v || json_is_boolean(v);
}

/* `publish`: true, false, or a list of sources. */
static bool take_publish(const json_t *obj, unsigned *out)
{
    const json_t *v = json_object_get(obj, "publish"), *item;
    enum ctl_source source;
    size_t i;

    if (!v)
        return true;
    *out = json_is_true(v) ? CTL_SOURCES_ALL : 0;
    if (json_is_boolean(v))
        return true;
    if (!json_is_array(v))
        return false;
    json_array_foreach(v, i, item)
    {
        if (!json_is_string(item) ||
            !ctl_source_parse(slice_of(json_string_value(item), json_string_length(item)), &source))
            return false;
        *out |= CTL_SOURCE_BIT(source);
    }
    return true;
}

static bool take_flag(const json_t *obj, const char *name, bool *out)
{
    const json_t *v = json_object_get(obj, name);

    if (v)
        *out = json_is_true(v);
    return !v || json_is_boolean(v);
}

static bool take_room_perms(const json_t *perms, struct sig_room_perms *p)
{
    const json_t *v = json_object_get(perms, "roomPerms");

    *p = TOKEN_ROOM_PERMS;
    if (!v)
        return true;
    return json_is_object(v) && take_publish(v, &p->publish) &&
           take_flag(v, "subscribe", &p->subscribe) && take_flag(v, "data", &p->data) &&
           take_flag(v, "admin", &p->admin) && take_flag(v, "hidden", &p->hidden);
}

static bool take_perms(const json_t *claims, struct token_perms *p)
{
    const json_t *v = json_object_get(claims, "perms");
    return (!v || json_is_object(v)) && take_bool(v, "call", &p->call) &&
           take_bool(v, "presence", &p->presence) &&
           take_text(v, "room", p->room, sizeof p->room, token_id_valid) &&
           take_room_perms(v, &p->in_room);
}

/* `callId`: a token for one call. */
static bool take_call(const json_t *claims, struct token *t)
{
    const json_t *v = json_object_get(claims, "callId");

    t->has_call = v != NULL;
    return !v ||
           (json_is_string(v) && sig_call_id_parse(&t->call, slice_of(json_string_value(v),
                                                                      json_string_length(v))) == 0);
}

static enum token_error read_claims(struct token *out, const json_t *c, const struct token_rules *r,
                                    uint64_t now_s)
{
    struct token t = {0};
    enum token_error e = check_dates(c, r->leeway_s, now_s, &t.expires_at_s);
    if (e == TOKEN_OK)
        e = check_parties(c, r);
    if (e != TOKEN_OK)
        return e;
    if (!take_text(c, "sub", t.user, sizeof t.user, token_id_valid) || t.user[0] == '\0' ||
        !take_text(c, "dev", t.device, sizeof t.device, token_id_valid) ||
        !take_text(c, "name", t.name, sizeof t.name, name_valid) || !take_call(c, &t) ||
        !take_perms(c, &t.perms))
        return TOKEN_BAD_CLAIM;
    *out = t;
    return TOKEN_OK;
}

enum token_error token_verify(struct token *out, const struct token_keys *k,
                              const struct token_rules *rules, struct slice jws, uint64_t now_s)
{
    uint8_t buf[TOKEN_JWS_MAX];
    struct wr payload = wr_init(buf, sizeof buf);
    enum token_error e = token_verify_jws(k, jws, &payload);
    if (e != TOKEN_OK)
        return e;
    json_t *claims = load_object(wr_done(&payload), &e);
    if (!claims)
        return e;
    e = read_claims(out, claims, rules, now_s);
    json_decref(claims);
    return e;
}

/* ---- signing ---- */

/* Sets a text member unless it is empty. json_object_set_new() refuses the NULL of a failed
 * json_string(). */
static bool put_text(json_t *obj, const char *name, const char *text)
{
    return !text_set(text) || json_object_set_new(obj, name, json_string(text)) == 0;
}

static bool put(json_t *obj, const char *name, json_t *v)
{
    return json_object_set_new(obj, name, v) == 0;
}

static json_t *sources_of(unsigned bits)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < CTL_SOURCE_COUNT && list; i++) {
        if (!(bits & CTL_SOURCE_BIT(i)) ||
            json_array_append_new(list, json_string(ctl_source_name((enum ctl_source)i))) == 0)
            continue;
        json_decref(list);
        return NULL;
    }
    return list;
}

/* NULL when memory is out. */
static json_t *room_perms_of(const struct sig_room_perms *p)
{
    json_t *v = json_object();

    if (v && put(v, "publish", sources_of(p->publish)) &&
        put(v, "subscribe", json_boolean(p->subscribe)) && put(v, "data", json_boolean(p->data)) &&
        put(v, "admin", json_boolean(p->admin)) && put(v, "hidden", json_boolean(p->hidden)))
        return v;
    json_decref(v);
    return NULL;
}

/* The claims of t as a JSON object, or NULL when memory is out. */
static json_t *claims_of(const struct token *t, const struct token_rules *r, uint64_t now_s)
{
    json_t *c = json_object(), *p = json_object();
    bool ok =
        put_text(c, "sub", t->user) && put(c, "iat", json_integer((json_int_t)now_s)) &&
        put(c, "exp", json_integer((json_int_t)t->expires_at_s)) && put_text(c, "iss", r->issuer) &&
        put_text(c, "aud", r->audience) && put_text(c, "dev", t->device) &&
        put_text(c, "name", t->name) && put(p, "call", json_boolean(t->perms.call)) &&
        put(p, "presence", json_boolean(t->perms.presence)) && put_text(p, "room", t->perms.room) &&
        put(p, "roomPerms", room_perms_of(&t->perms.in_room)) && put(c, "perms", json_incref(p));
    json_decref(p);
    if (ok)
        return c;
    json_decref(c);
    return NULL;
}

static bool could_verify(const struct token *t)
{
    const struct token_perms *p = &t->perms;
    return token_id_valid(slice_str(t->user), TOKEN_USER_MAX) && t->expires_at_s <= DATE_MAX &&
           (!t->device[0] || token_id_valid(slice_str(t->device), TOKEN_DEVICE_MAX)) &&
           name_valid(slice_str(t->name), TOKEN_NAME_MAX) &&
           (!p->room[0] || token_id_valid(slice_str(p->room), TOKEN_ROOM_MAX));
}

/* Writes {"alg":"HS256",...} in base64url. */
static void write_header(struct wr *w, const char *kid)
{
    uint8_t buf[HS256_HEADER_MAX];
    struct wr h = wr_init(buf, sizeof buf);
    wr_str(&h, "{\"alg\":\"HS256\",\"typ\":\"JWT\"");
    if (kid)
        wr_fmt(&h, ",\"kid\":\"%s\"", kid);
    wr_str(&h, "}");
    base64url_encode(w, wr_done(&h));
}

int token_sign_hs256(struct wr *w, struct slice secret, const char *kid, const struct token *t,
                     const struct token_rules *rules, uint64_t now_s)
{
    uint8_t mac[CRYPTO_SHA256_BYTES];
    if (!could_verify(t) || (kid && !token_id_valid(slice_str(kid), TOKEN_KID_MAX)))
        return -EINVAL;
    token_json_begin();
    json_t *claims = claims_of(t, rules, now_s);
    if (!claims)
        return -ENOMEM;
    uint8_t buf[TOKEN_JWS_MAX];
    struct wr text = wr_init(buf, sizeof buf);
    int rc = token_json_dump(claims, &text);
    json_decref(claims);
    if (rc != 0)
        return rc;
    size_t from = w->len;
    write_header(w, kid);
    wr_u8(w, '.');
    base64url_encode(w, wr_done(&text));
    if (w->bad)
        return -ENOSPC;
    struct slice signed_part = slice_of(w->base + from, w->len - from);
    if (crypto_hmac(CRYPTO_SHA256, secret, &signed_part, 1, mac) != 0)
        return -ENOMEM;
    wr_u8(w, '.');
    base64url_encode(w, slice_of(mac, sizeof mac));
    return w->bad ? -ENOSPC : 0;
}
