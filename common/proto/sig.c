/* The signaling vocabulary as tables, and the envelope of a client's message (docs/SIGNALING.md
 * §2).
 *
 * Called by client.c for each text frame; the tables also by sig_client.c, sig_server.c and the
 * call machine. Pure. One JSON pass validates the text and finds the envelope's fields; a type's
 * rules are one row of `types`. SPDX-License-Identifier: BSD-3-Clause */
#include "proto/sig.h"

#include <errno.h>

#include "proto/json.h"

/* ---- types ---- */

enum {
    FROM_CLIENT = 1,
    NEEDS_ID = 2,
    NEEDS_CALL = 4,
    CLIENT_SEQ = 8,
    SERVER_SEQ = 16,
    LARGE = 32,
    NEEDS_ROOM = 64,
};

/* The usual flags: a session request, a call request, a call message without reply. */
#define REQUEST (FROM_CLIENT | NEEDS_ID | CLIENT_SEQ | SERVER_SEQ)
#define ON_CALL (REQUEST | NEEDS_CALL)
#define IN_ROOM (REQUEST | NEEDS_ROOM)
#define NOTICE  (FROM_CLIENT | NEEDS_CALL | CLIENT_SEQ | SERVER_SEQ)

static const struct {
    const char *name;
    unsigned flags;
} types[SIG_TYPE_COUNT] = {
    [SIG_UNKNOWN] = {"", 0},
    [SIG_HELLO] = {"hello", FROM_CLIENT},
    [SIG_WELCOME] = {"welcome", 0},
    [SIG_ACK] = {"ack", FROM_CLIENT},
    [SIG_PING] = {"ping", FROM_CLIENT},
    [SIG_PONG] = {"pong", 0},
    [SIG_AUTH_EXPIRING] = {"auth.expiring", 0},
    [SIG_AUTH_REFRESH] = {"auth.refresh", REQUEST},
    [SIG_SESSION_CLOSE] = {"session.close", FROM_CLIENT | CLIENT_SEQ | SERVER_SEQ},
    [SIG_SERVER_GOAWAY] = {"server.goaway", 0},
    [SIG_ERROR] = {"error", SERVER_SEQ},
    [SIG_PRESENCE] = {"presence", 0},
    [SIG_PRESENCE_SUBSCRIBE] = {"presence.subscribe", FROM_CLIENT | NEEDS_ID | SERVER_SEQ},
    [SIG_PRESENCE_UNSUBSCRIBE] = {"presence.unsubscribe", FROM_CLIENT | NEEDS_ID | SERVER_SEQ},
    [SIG_PRESENCE_SET] = {"presence.set", FROM_CLIENT | NEEDS_ID | SERVER_SEQ},
    [SIG_CALL_INVITE] = {"call.invite", ON_CALL | LARGE},
    [SIG_CALL_INCOMING] = {"call.incoming", SERVER_SEQ},
    [SIG_CALL_RINGING] = {"call.ringing", ON_CALL},
    [SIG_CALL_ANSWER] = {"call.answer", ON_CALL | LARGE},
    [SIG_CALL_ACCEPTED] = {"call.accepted", SERVER_SEQ},
    [SIG_CALL_REJECT] = {"call.reject", ON_CALL},
    [SIG_CALL_CANCEL] = {"call.cancel", ON_CALL},
    [SIG_CALL_HANGUP] = {"call.hangup", ON_CALL},
    [SIG_CALL_ENDED] = {"call.ended", SERVER_SEQ},
    [SIG_CALL_CANDIDATES] = {"call.candidates", NOTICE},
    [SIG_CALL_NEGOTIATE] = {"call.negotiate", ON_CALL | LARGE},
    [SIG_CALL_INFO] = {"call.info", NOTICE},
    [SIG_CALL_STATE] = {"call.state", NOTICE},
    [SIG_CALL_SYNC] = {"call.sync", ON_CALL},
    [SIG_CALL_UPGRADE] = {"call.upgrade", ON_CALL},
    [SIG_CALL_QUALITY] = {"call.quality", ON_CALL},
    [SIG_TURN_CREDENTIALS] = {"turn.credentials", REQUEST},
    [SIG_DEVICE_REGISTER] = {"device.register", REQUEST},
    [SIG_DEVICE_UNREGISTER] = {"device.unregister", REQUEST},
    [SIG_DEVICE_LIST] = {"device.list", REQUEST},
    [SIG_HISTORY_LIST] = {"history.list", REQUEST},
    [SIG_HISTORY_SEEN] = {"history.seen", REQUEST},
    [SIG_HISTORY_DELETE] = {"history.delete", REQUEST},
    [SIG_PRIVACY_EXPORT] = {"privacy.export", REQUEST},
    [SIG_PRIVACY_DELETE] = {"privacy.delete", REQUEST},
    [SIG_PRIVACY_CANCEL] = {"privacy.cancel", REQUEST},
    [SIG_PRIVACY_STATUS] = {"privacy.status", REQUEST},
    [SIG_ROOM_JOIN] = {"room.join", IN_ROOM | LARGE},
    [SIG_ROOM_OFFER] = {"room.offer", IN_ROOM | LARGE},
    [SIG_ROOM_ANSWER] = {"room.answer", IN_ROOM | LARGE},
    [SIG_ROOM_CANDIDATES] = {"room.candidates", FROM_CLIENT | NEEDS_ROOM | CLIENT_SEQ},
    [SIG_ROOM_SUBSCRIBE] = {"room.subscribe", IN_ROOM},
    [SIG_ROOM_UNPUBLISH] = {"room.unpublish", IN_ROOM},
    [SIG_ROOM_MUTE] = {"room.mute", IN_ROOM},
    [SIG_ROOM_UPDATE] = {"room.update", IN_ROOM},
    [SIG_ROOM_KICK] = {"room.kick", IN_ROOM},
    [SIG_ROOM_CLOSE] = {"room.close", IN_ROOM},
    [SIG_ROOM_LEAVE] = {"room.leave", IN_ROOM},
    [SIG_ROOM_SYNC] = {"room.sync", IN_ROOM},
    [SIG_ROOM_INVITE] = {"room.invite", IN_ROOM},
    [SIG_ROOM_PARTICIPANT] = {"room.participant", SERVER_SEQ},
    [SIG_ROOM_TRACK] = {"room.track", SERVER_SEQ},
    [SIG_ROOM_SLOTS] = {"room.slots", SERVER_SEQ},
    [SIG_ROOM_LAYERS] = {"room.layers", SERVER_SEQ},
    [SIG_ROOM_NEGOTIATE] = {"room.negotiate", SERVER_SEQ},
    [SIG_ROOM_SPEAKERS] = {"room.speakers", 0},
    [SIG_ROOM_QUALITY] = {"room.quality", 0},
    [SIG_ROOM_STATE] = {"room.state", SERVER_SEQ},
    [SIG_ROOM_RESTART] = {"room.restart", SERVER_SEQ},
    [SIG_ROOM_CLOSED] = {"room.closed", SERVER_SEQ},
};

static unsigned type_flags(enum sig_type t)
{
    return (unsigned)t < SIG_TYPE_COUNT ? types[t].flags : 0;
}

const char *sig_type_name(enum sig_type t)
{
    return (unsigned)t < SIG_TYPE_COUNT ? types[t].name : "";
}

/* Candidates for a name: its group's first and last row, by the text before the dot. */
enum sig_type sig_type_parse(struct slice name)
{
    enum sig_type from = SIG_HELLO, to = SIG_PRESENCE_SET;

    if (name.len == 0)
        return SIG_UNKNOWN;
    if (slice_starts(name, SLICE_LIT("call."))) {
        from = SIG_CALL_INVITE;
        to = SIG_CALL_QUALITY;
    } else if (slice_starts(name, SLICE_LIT("room."))) {
        from = SIG_ROOM_JOIN;
        to = SIG_ROOM_CLOSED;
    } else if (name.p[0] == 't') {
        from = to = SIG_TURN_CREDENTIALS;
    } else if (name.p[0] == 'd' || slice_starts(name, SLICE_LIT("history.")) ||
               slice_starts(name, SLICE_LIT("privacy."))) {
        from = SIG_DEVICE_REGISTER;
        to = SIG_PRIVACY_STATUS;
    }
    for (enum sig_type t = from; t <= to; t++)
        if (slice_is(name, types[t].name))
            return t;
    return SIG_UNKNOWN;
}

bool sig_type_from_client(enum sig_type t)
{
    return type_flags(t) & FROM_CLIENT;
}

bool sig_type_needs_id(enum sig_type t)
{
    return type_flags(t) & NEEDS_ID;
}

bool sig_type_needs_call(enum sig_type t)
{
    return type_flags(t) & NEEDS_CALL;
}

bool sig_type_needs_room(enum sig_type t)
{
    return type_flags(t) & NEEDS_ROOM;
}

bool sig_type_is_record(enum sig_type t)
{
    return t >= SIG_DEVICE_REGISTER && t <= SIG_PRIVACY_STATUS;
}

bool sig_type_numbered_by_client(enum sig_type t)
{
    return type_flags(t) & CLIENT_SEQ;
}

bool sig_type_numbered_by_server(enum sig_type t)
{
    return type_flags(t) & SERVER_SEQ;
}

size_t sig_type_max_bytes(enum sig_type t)
{
    return t == SIG_HELLO          ? SIG_HELLO_BYTES
           : type_flags(t) & LARGE ? SIG_LARGE_BYTES
                                   : SIG_SMALL_BYTES;
}

/* ---- error and close codes ---- */

static const struct {
    const char *name;
    unsigned status;
    bool retry;
    const char *text;
} errors[SIG_ERR_COUNT] = {
    [SIG_OK] = {"", 200, false, ""},
    [SIG_ERR_BAD_JSON] = {"bad_json", 400, false, "not JSON, or over a JSON limit"},
    [SIG_ERR_BAD_REQUEST] = {"bad_request", 400, false, "a field is missing or out of range"},
    [SIG_ERR_UNSUPPORTED_TYPE] = {"unsupported_type", 400, false, "unknown message type"},
    [SIG_ERR_TOO_LARGE] = {"too_large", 413, false, "the message is larger than its type allows"},
    [SIG_ERR_UNAUTHORIZED] = {"unauthorized", 401, false, "the token was refused"},
    [SIG_ERR_TOKEN_EXPIRED] = {"token_expired", 401, true, "the token has expired"},
    [SIG_ERR_TOKEN_NOT_VALID_YET] = {"token_not_valid_yet", 401, true,
                                     "the token is not valid yet"},
    [SIG_ERR_FORBIDDEN] = {"forbidden", 403, false, "the token does not permit this"},
    [SIG_ERR_DUPLICATE_REQUEST] = {"duplicate_request", 409, false,
                                   "this id was handled before, its answer is no longer kept"},
    [SIG_ERR_CALL_NOT_FOUND] = {"call.not_found", 404, false, "no such call"},
    [SIG_ERR_CALL_EXISTS] = {"call.exists", 409, false, "this callId is in use by another call"},
    [SIG_ERR_CALL_ALREADY_ANSWERED] = {"call.already_answered", 409, false,
                                       "another device has answered"},
    [SIG_ERR_CALL_ENDED] = {"call.ended", 410, false, "the call has ended"},
    [SIG_ERR_CALL_INVALID_STATE] = {"call.invalid_state", 409, false,
                                    "not possible in this state of the call"},
    [SIG_ERR_CALL_GLARE] = {"call.glare", 409, false, "the other side's offer goes first"},
    [SIG_ERR_CALL_BUSY] = {"call.busy", 486, true, "the callee is in another call"},
    [SIG_ERR_CALL_TOO_MANY] = {"call.too_many", 429, true, "too many calls at once"},
    [SIG_ERR_CALLEE_UNREACHABLE] = {"callee.unreachable", 480, true, "no device can be reached"},
    [SIG_ERR_RATE_LIMITED] = {"rate_limited", 429, true, "too many requests"},
    [SIG_ERR_ROOM_NOT_FOUND] = {"room.not_found", 404, false, "no such room, or you are not in it"},
    [SIG_ERR_ROOM_FORBIDDEN] = {"room.forbidden", 403, false,
                                "your permissions do not allow this in the room"},
    [SIG_ERR_ROOM_FULL] = {"room.full", 403, true, "the room is full"},
    [SIG_ERR_ROOM_TOO_MANY] = {"room.too_many", 429, true, "you are in too many rooms"},
    [SIG_ERR_ROOM_EXISTS] = {"room.exists", 409, false, "the user is in the room already"},
    [SIG_ERR_ROOM_PARTICIPANT_NOT_FOUND] = {"room.participant_not_found", 404, false,
                                            "no such participant in this room"},
    [SIG_ERR_ROOM_TRACK_NOT_FOUND] = {"room.track_not_found", 404, false,
                                      "no such track in this room, or not yours"},
    [SIG_ERR_ROOM_INVALID_STATE] = {"room.invalid_state", 409, true,
                                    "not possible in this state of your media"},
    [SIG_ERR_SFU_UNAVAILABLE] = {"sfu.unavailable", 503, true, "no media server is available"},
    [SIG_ERR_SFU_REJECTED] = {"sfu.rejected", 400, false,
                              "the media server does not take this description"},
    [SIG_ERR_TURN_UNAVAILABLE] = {"turn.unavailable", 503, false, "no relay is configured"},
    [SIG_ERR_DEVICE_TOO_MANY] = {"device.too_many", 409, false,
                                 "too many devices of this user: unregister one"},
    [SIG_ERR_PRIVACY_PENDING] = {"privacy.pending", 409, false,
                                 "this user's deletion is pending: cancel it first"},
    [SIG_ERR_PRIVACY_NOT_FOUND] = {"privacy.not_found", 404, false,
                                   "there is no deletion that could be cancelled"},
    [SIG_ERR_PRIVACY_TOO_SOON] = {"privacy.too_soon", 429, true, "one export a day"},
    [SIG_ERR_STORE_UNAVAILABLE] = {"store.unavailable", 503, true,
                                   "records can be neither read nor written now"},
    [SIG_ERR_OVERLOADED] = {"overloaded", 503, true, "a server limit is reached"},
    [SIG_ERR_INTERNAL] = {"internal", 500, true, "the server failed"},
};

static enum sig_err err_row(enum sig_err e)
{
    return (unsigned)e < SIG_ERR_COUNT ? e : SIG_ERR_INTERNAL;
}

const char *sig_err_name(enum sig_err e)
{
    return errors[err_row(e)].name;
}

unsigned sig_err_status(enum sig_err e)
{
    return errors[err_row(e)].status;
}

bool sig_err_retryable(enum sig_err e)
{
    return errors[err_row(e)].retry;
}

const char *sig_err_text(enum sig_err e)
{
    return errors[err_row(e)].text;
}

const char *sig_close_text(enum sig_close c)
{
    static const struct {
        enum sig_close code;
        const char *text;
    } closes[] = {
        {SIG_CLOSE_NORMAL, "bye"},
        {SIG_CLOSE_GOING_AWAY, "going away"},
        {SIG_CLOSE_PROTOCOL, "protocol error"},
        {SIG_CLOSE_UNSUPPORTED, "text frames only"},
        {SIG_CLOSE_BAD_UTF8, "not UTF-8"},
        {SIG_CLOSE_TOO_LARGE, "message too large"},
        {SIG_CLOSE_INTERNAL, "internal error"},
        {SIG_CLOSE_RESTART, "server restarts"},
        {SIG_CLOSE_OVERLOAD, "overloaded, or you read too slowly"},
        {SIG_CLOSE_MALFORMED, "malformed message or sequence gap"},
        {SIG_CLOSE_AUTH, "authentication failed or expired"},
        {SIG_CLOSE_FORBIDDEN, "forbidden"},
        {SIG_CLOSE_TIMEOUT, "nothing heard in time"},
        {SIG_CLOSE_REPLACED, "replaced by a newer connection"},
        {SIG_CLOSE_REVOKED, "session revoked"},
        {SIG_CLOSE_RATE, "too many messages"},
    };

    for (size_t i = 0; i < ARRAY_LEN(closes); i++)
        if (closes[i].code == c)
            return closes[i].text;
    return "";
}

/* ---- small vocabularies ---- */

const char *sig_reason_name(enum sig_reason r)
{
    static const char *const names[SIG_REASON_COUNT] = {
        [SIG_REASON_NONE] = "",
        [SIG_REASON_HANGUP] = "hangup",
        [SIG_REASON_CANCELLED] = "cancelled",
        [SIG_REASON_TIMEOUT] = "timeout",
        [SIG_REASON_UNREACHABLE] = "unreachable",
        [SIG_REASON_DECLINED] = "declined",
        [SIG_REASON_BUSY] = "busy",
        [SIG_REASON_ANSWERED_ELSEWHERE] = "answered_elsewhere",
        [SIG_REASON_DECLINED_ELSEWHERE] = "declined_elsewhere",
        [SIG_REASON_BUSY_ELSEWHERE] = "busy_elsewhere",
        [SIG_REASON_FORBIDDEN] = "forbidden",
        [SIG_REASON_NEED_PERMISSION] = "need_permission",
        [SIG_REASON_SUPERSEDED] = "superseded",
        [SIG_REASON_GLARE] = "glare",
        [SIG_REASON_ROOM_MIGRATED] = "room_migrated",
        [SIG_REASON_MEDIA_FAILED] = "media_failed",
        [SIG_REASON_CONNECTION_LOST] = "connection_lost",
        [SIG_REASON_MAX_DURATION] = "max_duration",
        [SIG_REASON_ADMIN] = "admin",
        [SIG_REASON_SERVER_ERROR] = "server_error",
    };

    return (unsigned)r < SIG_REASON_COUNT ? names[r] : "";
}

const char *sig_call_state_name(enum sig_call_state s)
{
    static const char *const names[SIG_CALL_STATE_COUNT] = {
        "inviting", "ringing", "connecting", "active", "reconnecting", "ended",
    };

    return (unsigned)s < SIG_CALL_STATE_COUNT ? names[s] : "";
}

const char *sig_conn_name(enum sig_conn c)
{
    static const char *const names[SIG_CONN_COUNT] = {
        "new", "connecting", "connected", "disconnected", "failed", "closed",
    };

    return (unsigned)c < SIG_CONN_COUNT ? names[c] : "";
}

const char *sig_presence_name(enum sig_presence p)
{
    static const char *const names[SIG_PRESENCE_COUNT] = {
        "offline", "online", "away", "busy", "invisible", "unknown",
    };

    return (unsigned)p < SIG_PRESENCE_COUNT ? names[p] : "";
}

/* ---- ids ---- */

static bool is_hyphen_place(size_t i)
{
    return i == 8 || i == 13 || i == 18 || i == 23;
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int sig_call_id_parse(struct sig_call_id *out, struct slice text)
{
    struct sig_call_id id = {{0}};
    size_t digits = 0;

    if (text.len != SIG_CALL_ID_TEXT)
        return -EBADMSG;
    for (size_t i = 0; i < text.len; i++) {
        if (is_hyphen_place(i)) {
            if (text.p[i] != '-')
                return -EBADMSG;
            continue;
        }
        int v = hex_digit(text.p[i]);
        if (v < 0)
            return -EBADMSG;
        id.b[digits / 2] = (uint8_t)(id.b[digits / 2] << 4 | v);
        digits++;
    }
    *out = id;
    return 0;
}

void sig_call_id_write(struct wr *w, const struct sig_call_id *id)
{
    static const char hex[] = "0123456789abcdef";
    uint8_t *text = wr_reserve(w, SIG_CALL_ID_TEXT);
    size_t digits = 0;

    if (!text)
        return;
    for (size_t i = 0; i < SIG_CALL_ID_TEXT; i++) {
        if (is_hyphen_place(i)) {
            text[i] = '-';
            continue;
        }
        uint8_t byte = id->b[digits / 2];
        text[i] = (uint8_t)hex[digits % 2 == 0 ? byte >> 4 : byte & 15];
        digits++;
    }
}

const char *sig_call_id_text(const struct sig_call_id *id, char buf[SIG_CALL_ID_TEXT + 1])
{
    struct wr w = wr_init(buf, SIG_CALL_ID_TEXT);

    sig_call_id_write(&w, id);
    buf[SIG_CALL_ID_TEXT] = '\0';
    return buf;
}

static bool is_alnum(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

bool sig_id_ok(struct slice s)
{
    if (s.len == 0 || s.len > SIG_ID_MAX)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.p[i];
        if (!is_alnum(c) && c != '.' && c != '_' && c != '-')
            return false;
    }
    return true;
}

bool sig_user_ok(struct slice s)
{
    if (s.len == 0 || s.len > SIG_USER_MAX)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.p[i];
        if (!is_alnum(c) && c != '.' && c != '_' && c != '@' && c != '+' && c != '-')
            return false;
    }
    return true;
}

/* ---- the envelope ---- */

enum { E_TYPE, E_ID, E_SEQ, E_ACK, E_CALL_ID, E_ROOM, E_TO, E_DATA, E_COUNT };

static int refuse(struct sig_fault *fault, enum sig_err code, const char *text)
{
    *fault = (struct sig_fault){code, text ? text : sig_err_text(code)};
    return -EBADMSG;
}

static int refuse_json(struct sig_fault *fault, int err)
{
    switch (err) {
    case -E2BIG:
        return refuse(fault, SIG_ERR_BAD_JSON, "nested too deep, or too many values");
    case -EMSGSIZE:
        return refuse(fault, SIG_ERR_TOO_LARGE, NULL);
    case -EEXIST:
        return refuse(fault, SIG_ERR_BAD_JSON, "a key is there twice");
    default:
        return refuse(fault, SIG_ERR_BAD_JSON, "not a JSON object in UTF-8");
    }
}

/* Reads what an error needs to name its request; wrong shapes are found by check_fields(). */
static void read_names(struct sig_msg *out, const struct json_field *f, struct wr *scratch)
{
    struct slice text;

    if (json_text(f[E_TYPE].value, &text, scratch))
        out->type = sig_type_parse(text);
    if (json_text(f[E_ID].value, &text, scratch) && sig_id_ok(text)) {
        out->id = text;
        out->has_id = true;
    }
    if (json_text(f[E_CALL_ID].value, &text, scratch) &&
        sig_call_id_parse(&out->call_id, text) == 0) {
        out->call_id_text = text;
        out->has_call_id = true;
    }
    out->has_seq = json_u64(f[E_SEQ].value, UINT64_MAX, &out->seq) && out->seq > 0;
    out->has_ack = json_u64(f[E_ACK].value, UINT64_MAX, &out->ack);
    if (json_text(f[E_ROOM].value, &text, scratch) && sig_user_ok(text))
        out->room = text;
    if (json_text(f[E_TO].value, &text, scratch))
        out->to = text;
    if (f[E_DATA].kind == JSON_KIND_OBJECT)
        out->data = f[E_DATA].value;
}

/* Fields that are there but could not be read. */
static const char *bad_shape(const struct sig_msg *m, const struct json_field *f)
{
    if (f[E_TYPE].kind != JSON_KIND_STRING)
        return "type: a string is required";
    if (f[E_ID].kind != JSON_KIND_NONE && !m->has_id)
        return "id: 1 to 64 of A-Z a-z 0-9 . _ -";
    if (f[E_SEQ].kind != JSON_KIND_NONE && !m->has_seq)
        return "seq: a whole number from 1";
    if (f[E_ACK].kind != JSON_KIND_NONE && !m->has_ack)
        return "ack: a whole number from 0";
    if (f[E_CALL_ID].kind != JSON_KIND_NONE && !m->has_call_id)
        return "callId: a UUID in lower case is required";
    if (f[E_ROOM].kind != JSON_KIND_NONE && m->room.len == 0)
        return "roomId: 1 to 128 of A-Z a-z 0-9 . _ @ + -";
    if (f[E_DATA].kind != JSON_KIND_NONE && f[E_DATA].kind != JSON_KIND_OBJECT)
        return "data: an object is required";
    return NULL;
}

/* What the type itself asks for. */
static const char *bad_for_type(const struct sig_msg *m)
{
    if (sig_type_needs_id(m->type) && !m->has_id)
        return "id: this type needs one";
    if (sig_type_needs_call(m->type) && !m->has_call_id)
        return "callId: this type needs one";
    if (sig_type_needs_room(m->type) && m->room.len == 0)
        return "roomId: this type needs one";
    if (m->type == SIG_CALL_INVITE && !sig_user_ok(m->to))
        return "to: 1 to 128 of A-Z a-z 0-9 . _ @ + -";
    if (m->type == SIG_ACK && !m->has_ack)
        return "ack: this type needs one";
    if (m->has_seq && !sig_type_numbered_by_client(m->type))
        return "seq: this type has none";
    return NULL;
}

int sig_decode(struct sig_msg *out, struct slice text, struct wr *scratch, struct sig_fault *fault)
{
    static const struct json_limits limits = {SIG_DEPTH, SIG_VALUES, SIG_LARGE_BYTES};
    struct json_field f[E_COUNT] = {
        [E_TYPE] = {.key = "type"},   [E_ID] = {.key = "id"},          [E_SEQ] = {.key = "seq"},
        [E_ACK] = {.key = "ack"},     [E_CALL_ID] = {.key = "callId"}, [E_TO] = {.key = "to"},
        [E_ROOM] = {.key = "roomId"}, [E_DATA] = {.key = "data"},
    };

    *out = (struct sig_msg){0};
    int err = json_scan_object(text, &limits, f, E_COUNT);
    if (err)
        return refuse_json(fault, err);
    read_names(out, f, scratch);
    const char *bad = bad_shape(out, f);
    if (bad)
        return refuse(fault, SIG_ERR_BAD_REQUEST, bad);
    if (!sig_type_from_client(out->type))
        return refuse(fault, SIG_ERR_UNSUPPORTED_TYPE, NULL);
    if (text.len > sig_type_max_bytes(out->type))
        return refuse(fault, SIG_ERR_TOO_LARGE, NULL);
    bad = bad_for_type(out);
    return bad ? refuse(fault, SIG_ERR_BAD_REQUEST, bad) : 0;
}
