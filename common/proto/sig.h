/* The signaling vocabulary (docs/SIGNALING.md): types, error codes, close codes, reasons, and the
 * envelope of what a client sends.
 *
 * What is in `data`: sig_client.h (reading). What the server says: sig_server.h (writing).
 * Pure; any thread. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_PROTO_SIG_H
#define SORI_PROTO_SIG_H

#include "base/bytes.h"

enum {
    SIG_HELLO_BYTES = 8192,  /* a message before welcome */
    SIG_SMALL_BYTES = 8192,  /* most types */
    SIG_LARGE_BYTES = 65536, /* what carries a description: call.invite, room.join … */
    SIG_DEPTH = 16,
    SIG_VALUES = 512,
    SIG_ID_MAX = 64, /* request id, negotiation id */
    SIG_USER_MAX = 128,
    SIG_DEVICE_MAX = 64,
    SIG_CUSTOM_MAX = 1024,   /* metadata.custom, call.info custom, raw */
    SIG_METADATA_MAX = 2048, /* metadata, raw */
    SIG_CANDIDATES_MAX = 32, /* in one call.candidates */
    SIG_USERS_MAX = 500,     /* in one presence.subscribe */
    SIG_ROOM_MAX = 128,
    SIG_CALL_ID_TEXT = 36,
    SIG_SCRATCH_BYTES = 8192, /* enough for every string of a small message, decoded */
};

/* Message types. Client and server share one enum: many names travel both ways. */
enum sig_type {
    SIG_UNKNOWN = 0,
    SIG_HELLO,
    SIG_WELCOME,
    SIG_ACK,
    SIG_PING,
    SIG_PONG,
    SIG_AUTH_EXPIRING,
    SIG_AUTH_REFRESH,
    SIG_SESSION_CLOSE,
    SIG_SERVER_GOAWAY,
    SIG_ERROR,
    SIG_PRESENCE,
    SIG_PRESENCE_SUBSCRIBE,
    SIG_PRESENCE_UNSUBSCRIBE,
    SIG_PRESENCE_SET,
    SIG_CALL_INVITE,
    SIG_CALL_INCOMING,
    SIG_CALL_RINGING,
    SIG_CALL_ANSWER,
    SIG_CALL_ACCEPTED,
    SIG_CALL_REJECT,
    SIG_CALL_CANCEL,
    SIG_CALL_HANGUP,
    SIG_CALL_ENDED,
    SIG_CALL_CANDIDATES,
    SIG_CALL_NEGOTIATE,
    SIG_CALL_INFO,
    SIG_CALL_STATE,
    SIG_CALL_SYNC,
    SIG_CALL_UPGRADE,
    SIG_CALL_QUALITY,
    SIG_TURN_CREDENTIALS,
    SIG_DEVICE_REGISTER,
    SIG_DEVICE_UNREGISTER,
    SIG_DEVICE_LIST,
    SIG_HISTORY_LIST,
    SIG_HISTORY_SEEN,
    SIG_HISTORY_DELETE,
    SIG_PRIVACY_EXPORT,
    SIG_PRIVACY_DELETE,
    SIG_PRIVACY_CANCEL,
    SIG_PRIVACY_STATUS,
    SIG_ROOM_JOIN,
    SIG_ROOM_OFFER,
    SIG_ROOM_ANSWER,
    SIG_ROOM_CANDIDATES,
    SIG_ROOM_SUBSCRIBE,
    SIG_ROOM_UNPUBLISH,
    SIG_ROOM_MUTE,
    SIG_ROOM_UPDATE,
    SIG_ROOM_KICK,
    SIG_ROOM_CLOSE,
    SIG_ROOM_LEAVE,
    SIG_ROOM_SYNC,
    SIG_ROOM_INVITE,
    SIG_ROOM_PARTICIPANT,
    SIG_ROOM_TRACK,
    SIG_ROOM_SLOTS,
    SIG_ROOM_LAYERS,
    SIG_ROOM_NEGOTIATE,
    SIG_ROOM_SPEAKERS,
    SIG_ROOM_QUALITY,
    SIG_ROOM_STATE,
    SIG_ROOM_RESTART,
    SIG_ROOM_CLOSED,
    SIG_TYPE_COUNT
};

/* "call.invite" for SIG_CALL_INVITE; "" for SIG_UNKNOWN. Never NULL. */
const char *sig_type_name(enum sig_type t);
/* The other way; SIG_UNKNOWN when there is no such type. */
enum sig_type sig_type_parse(struct slice name);
/* A client may send it. */
bool sig_type_from_client(enum sig_type t);
/* A request that needs an `id` and always gets one answer. The others ("no reply") are answered,
 * by an error only, when they carry an id. */
bool sig_type_needs_id(enum sig_type t);
/* `callId` is required (turn.credentials may have one). */
bool sig_type_needs_call(enum sig_type t);
/* `roomId` is required. */
bool sig_type_needs_room(enum sig_type t);
/* device.*, history.*, privacy.*: about what outlives the session (proto/sig_record.h). */
bool sig_type_is_record(enum sig_type t);
/* Carries a `seq` when the client, or the server, sends it. An `error` from the server is numbered
 * only when it answers a message that could be read. */
bool sig_type_numbered_by_client(enum sig_type t);
bool sig_type_numbered_by_server(enum sig_type t);
/* Longest message of this type from a client, bytes. */
size_t sig_type_max_bytes(enum sig_type t);

/* Error codes (SIGNALING.md §7). SIG_OK is no error. */
enum sig_err {
    SIG_OK = 0,
    SIG_ERR_BAD_JSON,
    SIG_ERR_BAD_REQUEST,
    SIG_ERR_UNSUPPORTED_TYPE,
    SIG_ERR_TOO_LARGE,
    SIG_ERR_UNAUTHORIZED,
    SIG_ERR_TOKEN_EXPIRED,
    SIG_ERR_TOKEN_NOT_VALID_YET,
    SIG_ERR_FORBIDDEN,
    SIG_ERR_DUPLICATE_REQUEST,
    SIG_ERR_CALL_NOT_FOUND,
    SIG_ERR_CALL_EXISTS,
    SIG_ERR_CALL_ALREADY_ANSWERED,
    SIG_ERR_CALL_ENDED,
    SIG_ERR_CALL_INVALID_STATE,
    SIG_ERR_CALL_GLARE,
    SIG_ERR_CALL_BUSY,
    SIG_ERR_CALL_TOO_MANY,
    SIG_ERR_CALLEE_UNREACHABLE,
    SIG_ERR_RATE_LIMITED,
    SIG_ERR_ROOM_NOT_FOUND,
    SIG_ERR_ROOM_FORBIDDEN,
    SIG_ERR_ROOM_FULL,
    SIG_ERR_ROOM_TOO_MANY,
    SIG_ERR_ROOM_EXISTS,
    SIG_ERR_ROOM_PARTICIPANT_NOT_FOUND,
    SIG_ERR_ROOM_TRACK_NOT_FOUND,
    SIG_ERR_ROOM_INVALID_STATE,
    SIG_ERR_SFU_UNAVAILABLE,
    SIG_ERR_SFU_REJECTED,
    SIG_ERR_TURN_UNAVAILABLE,
    SIG_ERR_DEVICE_TOO_MANY,
    SIG_ERR_PRIVACY_PENDING,
    SIG_ERR_PRIVACY_NOT_FOUND,
    SIG_ERR_PRIVACY_TOO_SOON,
    SIG_ERR_STORE_UNAVAILABLE,
    SIG_ERR_OVERLOADED,
    SIG_ERR_INTERNAL,
    SIG_ERR_COUNT
};

const char *sig_err_name(enum sig_err e); /* "call.not_found"; also the metrics label */
unsigned sig_err_status(enum sig_err e);
bool sig_err_retryable(enum sig_err e);
const char *sig_err_text(enum sig_err e); /* a plain sentence for `message` */

/* Close codes (SIGNALING.md §7). */
enum sig_close {
    SIG_CLOSE_NORMAL = 1000,
    SIG_CLOSE_GOING_AWAY = 1001,
    SIG_CLOSE_PROTOCOL = 1002,
    SIG_CLOSE_UNSUPPORTED = 1003,
    SIG_CLOSE_BAD_UTF8 = 1007,
    SIG_CLOSE_TOO_LARGE = 1009,
    SIG_CLOSE_INTERNAL = 1011,
    SIG_CLOSE_RESTART = 1012,
    SIG_CLOSE_OVERLOAD = 1013,
    SIG_CLOSE_MALFORMED = 4400,
    SIG_CLOSE_AUTH = 4401,
    SIG_CLOSE_FORBIDDEN = 4403,
    SIG_CLOSE_TIMEOUT = 4408,
    SIG_CLOSE_REPLACED = 4409,
    SIG_CLOSE_REVOKED = 4423,
    SIG_CLOSE_RATE = 4429,
};
const char *sig_close_text(enum sig_close c); /* the close reason; "" for others */

/* End reasons (SIGNALING.md §5); what each means for SIP, CallKit and missed calls is in
 * server/call_reason.h. */
enum sig_reason {
    SIG_REASON_NONE = 0,
    SIG_REASON_HANGUP,
    SIG_REASON_CANCELLED,
    SIG_REASON_TIMEOUT,
    SIG_REASON_UNREACHABLE,
    SIG_REASON_DECLINED,
    SIG_REASON_BUSY,
    SIG_REASON_ANSWERED_ELSEWHERE,
    SIG_REASON_DECLINED_ELSEWHERE,
    SIG_REASON_BUSY_ELSEWHERE,
    SIG_REASON_FORBIDDEN,
    SIG_REASON_NEED_PERMISSION,
    SIG_REASON_SUPERSEDED,
    SIG_REASON_GLARE,
    SIG_REASON_ROOM_MIGRATED,
    SIG_REASON_MEDIA_FAILED,
    SIG_REASON_CONNECTION_LOST,
    SIG_REASON_MAX_DURATION,
    SIG_REASON_ADMIN,
    SIG_REASON_SERVER_ERROR,
    SIG_REASON_COUNT
};
const char *sig_reason_name(enum sig_reason r); /* "" for SIG_REASON_NONE */

/* Call states as clients see them. */
enum sig_call_state {
    SIG_CALL_INVITING,
    SIG_CALL_RINGS, /* "ringing"; SIG_CALL_RINGING is the message */
    SIG_CALL_CONNECTING,
    SIG_CALL_ACTIVE,
    SIG_CALL_RECONNECTING,
    SIG_CALL_OVER, /* "ended" */
    SIG_CALL_STATE_COUNT
};
const char *sig_call_state_name(enum sig_call_state s);

/* RTCPeerConnectionState. */
enum sig_conn {
    SIG_CONN_NEW,
    SIG_CONN_CONNECTING,
    SIG_CONN_CONNECTED,
    SIG_CONN_DISCONNECTED,
    SIG_CONN_FAILED,
    SIG_CONN_CLOSED,
    SIG_CONN_COUNT
};
const char *sig_conn_name(enum sig_conn c);

enum sig_presence {
    SIG_PRESENCE_OFFLINE, /* never set by a client */
    SIG_PRESENCE_ONLINE,
    SIG_PRESENCE_AWAY,
    SIG_PRESENCE_BUSY,
    SIG_PRESENCE_INVISIBLE, /* never shown to others */
    SIG_PRESENCE_UNKNOWN,   /* as shown to others: nobody can tell now; never set */
    SIG_PRESENCE_COUNT
};
const char *sig_presence_name(enum sig_presence p);

/* A call id in binary. */
struct sig_call_id {
    uint8_t b[16];
};
static inline bool sig_call_id_eq(const struct sig_call_id *a, const struct sig_call_id *b)
{
    return memcmp(a->b, b->b, sizeof(a->b)) == 0;
}
/* Reads 8-4-4-4-12 lower-case hex digits that fill text. Returns 0, or -EBADMSG. */
int sig_call_id_parse(struct sig_call_id *out, struct slice text);
/* Writes the 36 characters. */
void sig_call_id_write(struct wr *w, const struct sig_call_id *id);
/* The same into buf with a NUL, for log lines. Gives buf. */
const char *sig_call_id_text(const struct sig_call_id *id, char buf[SIG_CALL_ID_TEXT + 1]);

/* Charset and length of ids as the contract has them. */
bool sig_id_ok(struct slice s);   /* 1..64 of A-Z a-z 0-9 . _ - : request, device, negotiation */
bool sig_user_ok(struct slice s); /* 1..128 of A-Z a-z 0-9 . _ @ + - : users and rooms */

/* Why a message was refused. */
struct sig_fault {
    enum sig_err code;
    const char *text; /* a literal; names the field for SIG_ERR_BAD_REQUEST */
};

/* The envelope of one client message. All slices borrow from the text or from scratch. */
struct sig_msg {
    enum sig_type type;
    bool has_id, has_seq, has_ack, has_call_id;
    struct slice id;
    uint64_t seq, ack; /* 1.. / 0.. when has_ */
    struct sig_call_id call_id;
    struct slice call_id_text; /* 36 characters */
    struct slice room;         /* roomId, checked; empty when not there */
    struct slice to;           /* user id; checked by the types that need it (call.invite) */
    struct slice data;         /* raw object; empty when not there */
};

/* Decodes and validates the whole text as JSON in one pass, and its envelope.
 *
 * scratch: memory for strings written with escapes (SIG_SCRATCH_BYTES serve); must live as long as
 *          *out. One scratch serves this call and the sig_client_* calls on the same message.
 *
 * Checks: JSON and its limits (bad_json), wanted fields' shape (bad_request), the type
 * (unsupported_type for unknown names and for types that only a server sends), its size
 * (too_large), `id`, `callId` and `roomId` where the type needs them, `to` of call.invite
 * (bad_request).
 *
 * Returns 0, or -EBADMSG with *fault filled. *out is always written: after a bad_request,
 * unsupported_type or too_large, type, id, seq, ack and callId hold what could be read, so that the
 * error names its request (has_id) and the numbers go on. After SIG_ERR_BAD_JSON, and for a text
 * over SIG_LARGE_BYTES, nothing could be read: the error carries no seq. */
int sig_decode(struct sig_msg *out, struct slice text, struct wr *scratch, struct sig_fault *fault);

#endif
