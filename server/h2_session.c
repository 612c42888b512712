/* HTTP/2 as a client on libnghttp2, with a memory of its own of what is under way.
 *
 * Called by h2_link.c. The list of streams is ours because nghttp2_session_del() tells of no open
 * stream. A stream ends in one of four ways: answered (END_STREAM after a final status), refused
 * (never serialized, above a GOAWAY's last stream, or RST_STREAM(REFUSED_STREAM)), failed, or
 * forgotten by us. After a whole answer no RST_STREAM is sent: peers count those (rapid reset).
 *
 * PING: one is sent when the peer has said nothing for ping_us while a request waits that long, or
 * for ping_idle_us; any byte that comes puts it off.  SPDX-License-Identifier: BSD-3-Clause */
#include "server/h2_session.h"

#include <assert.h>
#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/mem.h"

#define HEAD_FIRST_BYTES  512
#define NAMES_MAX         16 /* of H2_INDEX_FIRST, per connection */
#define NAME_BYTES        32
#define OUTBOUND_ACKS_MAX 100 /* PING and SETTINGS that the peer makes us owe */
#define HEADER_LIST_BYTES 8192
#define PSEUDO_FIELDS     5 /* :method :scheme :authority :path authorization */
#define STATUS_FINAL      200
#define LIMIT_UNTIL_KNOWN 0

/* Where a field of an answer is in stream.head: name, then value, one after another. */
struct field_len {
    uint16_t name, value;
};

struct h2_stream {
    struct list link; /* session.streams, oldest first */
    void *req;        /* NULL: told of, or forgotten */
    const struct h2_request *q;
    int32_t id;
    uint64_t since_us;
    uint64_t out_at; /* offset of its HEADERS in what the session has sent; UINT64_MAX: not yet */
    size_t body_at;  /* of q->body, taken by nghttp2 */
    unsigned status;
    bool cut;
    unsigned n_fields;
    struct field_len fields[H2_RESPONSE_FIELDS_MAX];
    uint8_t *head, *body;
    size_t head_len, head_cap, body_len;
};

struct h2_session {
    nghttp2_session *ng;
    struct h2_session_conf conf;
    const struct h2_session_ops *ops;
    void *user;
    char *authority;
    struct list streams;
    unsigned n_streams;
    bool ready, gone_away, leaving, ended;
    int32_t last_stream; /* of the peer's GOAWAY */
    uint64_t out_total;
    uint64_t now_us, heard_us, ping_sent_us; /* ping: CLOCK_NEVER while none is out */
    unsigned n_names;
    struct {
        uint8_t text[NAME_BYTES];
        size_t len;
    } names[NAMES_MAX];
    char why[H2_WHY_MAX];
};

/* ---- streams ---- */

static void stream_free(struct h2_session *s, struct h2_stream *t)
{
    list_del(&t->link);
    s->n_streams--;
    mem_free(t->head);
    mem_free(t->body);
    mem_free(t);
}

/* Takes the request off the stream, so that it is told of once. */
static void *take_req(struct h2_stream *t)
{
    void *req = t->req;

    t->req = NULL;
    t->q = NULL;
    return req;
}

static void tell_answered(struct h2_session *s, struct h2_stream *t)
{
    struct h2_header fields[H2_RESPONSE_FIELDS_MAX];
    size_t at = 0;
    void *req = take_req(t);

    if (!req)
        return;
    for (unsigned i = 0; i < t->n_fields; i++) {
        struct slice head = slice_of(t->head, t->head_len);
        fields[i] = (struct h2_header){.name = slice_sub(head, at, t->fields[i].name)};
        at += t->fields[i].name;
        fields[i].value = slice_sub(head, at, t->fields[i].value);
        at += t->fields[i].value;
    }
    const struct h2_response r = {.outcome = H2_ANSWERED,
                                  .status = t->status,
                                  .maybe_done = true,
                                  .cut = t->cut,
                                  .body = slice_of(t->body, t->body_len),
                                  .fields = fields,
                                  .n_fields = t->n_fields,
                                  .why = ""};
    s->ops->answered(s->user, req, &r);
}

static void tell_refused(struct h2_session *s, struct h2_stream *t, bool goaway)
{
    void *req = take_req(t);

    if (req)
        s->ops->refused(s->user, req, goaway);
}

static void tell_failed(struct h2_session *s, struct h2_stream *t, const char *why)
{
    void *req = take_req(t);

    if (req)
        s->ops->failed(s->user, req, why);
}

/* ---- what nghttp2 asks and tells ---- */

static void *ng_malloc(size_t n, void *user)
{
    (void)user;
    return mem_realloc(NULL, n > 0 ? n : 1);
}
static void ng_free(void *p, void *user)
{
    (void)user;
    mem_free(p);
}
static void *ng_calloc(size_t n, size_t size, void *user)
{
    (void)user;
    return mem_calloc(n, size);
}
static void *ng_realloc(void *p, size_t n, void *user)
{
    (void)user;
    return mem_realloc(p, n > 0 ? n : 1);
}

static struct h2_stream *stream_of(nghttp2_session *ng, int32_t id)
{
    return nghttp2_session_get_stream_user_data(ng, id);
}

static ssize_t on_body(nghttp2_session *ng, int32_t id, uint8_t *buf, size_t cap, uint32_t *flags,
                       nghttp2_data_source *source, void *user)
{
    struct h2_stream *t = source->ptr;

    (void)ng, (void)id, (void)user;
    if (!t->q)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* told of or forgotten: reset it */
    struct slice part = slice_sub(t->q->body, t->body_at, cap);
    memcpy(buf, part.p, part.len); /* a body of 0 bytes has no data provider */
    t->body_at += part.len;
    if (t->body_at == t->q->body.len)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)part.len;
}

/* Where in the output a request begins: what the connection has not taken was not sent. */
static int before_frame_send(nghttp2_session *ng, const nghttp2_frame *f, void *user)
{
    struct h2_session *s = user;
    struct h2_stream *t;

    if (f->hd.type == NGHTTP2_HEADERS && (t = stream_of(ng, f->hd.stream_id)))
        t->out_at = s->out_total;
    if (f->hd.type == NGHTTP2_GOAWAY && f->goaway.error_code != NGHTTP2_NO_ERROR)
        snprintf(s->why, sizeof(s->why), "the peer broke the protocol: %s %.*s",
                 nghttp2_http2_strerror(f->goaway.error_code), (int)f->goaway.opaque_data_len,
                 (const char *)f->goaway.opaque_data);
    return 0;
}

static bool head_add(struct h2_stream *t, struct slice name, struct slice value)
{
    size_t need = name.len + value.len;

    if (t->n_fields == H2_RESPONSE_FIELDS_MAX || need > H2_RESPONSE_HEAD_MAX - t->head_len)
        return false;
    if (need > t->head_cap - t->head_len) {
        size_t cap = t->head_cap > 0 ? H2_RESPONSE_HEAD_MAX : HEAD_FIRST_BYTES;
        if (need > cap - t->head_len)
            cap = H2_RESPONSE_HEAD_MAX;
        uint8_t *head = mem_realloc(t->head, cap);
        if (!head)
            return false;
        t->head = head;
        t->head_cap = cap;
    }
    struct wr w = {t->head, t->head_len, t->head_cap, false};
    wr_bytes(&w, name);
    wr_bytes(&w, value);
    assert(!w.bad);
    t->head_len = w.len;
    t->fields[t->n_fields++] = (struct field_len){(uint16_t)name.len, (uint16_t)value.len};
    return true;
}

static int on_header(nghttp2_session *ng, const nghttp2_frame *f, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *user)
{
    struct h2_stream *t = stream_of(ng, f->hd.stream_id);
    struct slice n = slice_of(name, name_len), v = slice_of(value, value_len);
    uint64_t status;

    (void)flags, (void)user;
    if (!t || !t->req)
        return 0;
    if (slice_is(n, ":status")) { /* a final one replaces what an interim one brought */
        if (slice_to_u64(v, 999, &status) != 0)
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        t->status = (unsigned)status;
        t->n_fields = 0;
        t->head_len = 0;
        t->cut = false;
    } else if (!head_add(t, n, v)) {
        t->cut = true;
    }
    return 0;
}

/* Keeps up to H2_RESPONSE_BODY_MAX bytes; an answer that goes on after that is ended by us. */
static int on_data(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *data, size_t len,
                   void *user)
{
    struct h2_session *s = user;
    struct h2_stream *t = stream_of(ng, id);

    (void)flags;
    if (!t || !t->req)
        return 0;
    size_t room = H2_RESPONSE_BODY_MAX - t->body_len, n = len < room ? len : room;
    if (n > 0 && !t->body)
        t->body = mem_realloc(NULL, H2_RESPONSE_BODY_MAX);
    if (n > 0 && t->body) {
        memcpy(t->body + t->body_len, data, n);
        t->body_len += n;
    }
    if (n == len && (t->body || n == 0))
        return 0;
    t->cut = true;
    nghttp2_submit_rst_stream(ng, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
    tell_answered(s, t);
    return 0;
}

/* The peer has said all: told now, though a body that it did not want may still be going out. */
static void on_end_stream(struct h2_session *s, int32_t id)
{
    struct h2_stream *t = stream_of(s->ng, id);

    if (!t || !t->req || t->status < STATUS_FINAL)
        return;
    if (t->body_at < t->q->body.len)
        nghttp2_submit_rst_stream(s->ng, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
    tell_answered(s, t);
}

static unsigned peer_limit(const struct h2_session *s)
{
    uint32_t streams =
        nghttp2_session_get_remote_settings(s->ng, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);

    if (!s->ready)
        return LIMIT_UNTIL_KNOWN;
    return streams < s->conf.streams_max ? streams : s->conf.streams_max;
}

static void on_goaway(struct h2_session *s, const nghttp2_goaway *g)
{
    char why[H2_WHY_MAX];
    const char *code = nghttp2_http2_strerror(g->error_code);
    struct slice text = slice_of(g->opaque_data, g->opaque_data_len);

    if (text.len > 100)
        text.len = 100;
    snprintf(why, sizeof(why), "%s %.*s", code, SLICE_FMT(text));
    s->gone_away = true;
    s->last_stream = g->last_stream_id;
    s->ops->goaway(s->user, why);
}

static int on_frame_recv(nghttp2_session *ng, const nghttp2_frame *f, void *user)
{
    struct h2_session *s = user;

    (void)ng;
    switch (f->hd.type) {
    case NGHTTP2_HEADERS:
    case NGHTTP2_DATA:
        if (f->hd.flags & NGHTTP2_FLAG_END_STREAM)
            on_end_stream(s, f->hd.stream_id);
        break;
    case NGHTTP2_SETTINGS:
        if (f->hd.flags & NGHTTP2_FLAG_ACK)
            break;
        s->ready = true;
        s->ops->limit(s->user, peer_limit(s));
        break;
    case NGHTTP2_GOAWAY:
        on_goaway(s, &f->goaway);
        break;
    case NGHTTP2_PING:
        if (f->hd.flags & NGHTTP2_FLAG_ACK)
            s->ping_sent_us = CLOCK_NEVER;
        break;
    default:
        break;
    }
    return 0;
}

static int on_stream_close(nghttp2_session *ng, int32_t id, uint32_t code, void *user)
{
    struct h2_session *s = user;
    struct h2_stream *t = stream_of(ng, id);
    char why[H2_WHY_MAX];

    if (!t)
        return 0;
    bool above = s->gone_away && id > s->last_stream;
    if (t->out_at == UINT64_MAX || above || code == NGHTTP2_REFUSED_STREAM) {
        tell_refused(s, t, above || t->out_at == UINT64_MAX);
    } else {
        snprintf(why, sizeof(why), "the peer ended the request: %s", nghttp2_http2_strerror(code));
        tell_failed(s, t, why);
    }
    nghttp2_session_set_stream_user_data(ng, id, NULL);
    stream_free(s, t);
    return 0;
}

/* A request that could not be sent and never became a stream for nghttp2. */
static int on_not_sent(nghttp2_session *ng, const nghttp2_frame *f, int code, void *user)
{
    struct h2_session *s = user;

    (void)code;
    if (f->hd.type != NGHTTP2_HEADERS || stream_of(ng, f->hd.stream_id))
        return 0; /* on_stream_close() follows */
    LIST_EACH(it, tmp, &s->streams)
    {
        struct h2_stream *t = CONTAINER_OF(it, struct h2_stream, link);
        if (t->id != f->hd.stream_id)
            continue;
        tell_refused(s, t, true);
        stream_free(s, t);
        break;
    }
    return 0;
}

static int on_error(nghttp2_session *ng, int code, const char *msg, size_t len, void *user)
{
    struct h2_session *s = user;

    (void)ng, (void)code;
    snprintf(s->why, sizeof(s->why), "%.*s", (int)(len < H2_WHY_MAX ? len : H2_WHY_MAX), msg);
    return 0;
}

/* ---- making ---- */

static int make_nghttp2(struct h2_session *s)
{
    static const nghttp2_mem MEM = {NULL, ng_malloc, ng_free, ng_calloc, ng_realloc};
    nghttp2_mem mem = MEM;
    nghttp2_session_callbacks *cb = NULL;
    nghttp2_option *opt = NULL;
    int rc = NGHTTP2_ERR_NOMEM;

    if (nghttp2_session_callbacks_new(&cb) != 0 || nghttp2_option_new(&opt) != 0)
        goto out;
    nghttp2_session_callbacks_set_before_frame_send_callback(cb, before_frame_send);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(cb, on_not_sent);
    nghttp2_session_callbacks_set_error_callback2(cb, on_error);
    nghttp2_option_set_max_outbound_ack(opt, OUTBOUND_ACKS_MAX);
    rc = nghttp2_session_client_new3(&s->ng, cb, s, opt, &mem);
out:
    nghttp2_session_callbacks_del(cb);
    nghttp2_option_del(opt);
    return rc;
}

struct h2_session *h2_session_new(const struct h2_session_conf *conf,
                                  const struct h2_session_ops *ops, void *user, uint64_t now_us)
{
    static const nghttp2_settings_entry SETTINGS[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HEADER_LIST_BYTES},
    };
    struct h2_session *s = mem_zalloc(sizeof(*s));

    if (!s)
        return NULL;
    s->conf = *conf;
    s->conf.authority = s->authority = mem_strndup(slice_str(conf->authority));
    s->ops = ops;
    s->user = user;
    s->now_us = s->heard_us = now_us;
    s->ping_sent_us = CLOCK_NEVER;
    list_init(&s->streams);
    if (s->authority && make_nghttp2(s) == 0 &&
        nghttp2_submit_settings(s->ng, NGHTTP2_FLAG_NONE, SETTINGS, ARRAY_LEN(SETTINGS)) == 0)
        return s;
    h2_session_free(s);
    return NULL;
}

void h2_session_free(struct h2_session *s)
{
    struct list *first;

    if (!s)
        return;
    nghttp2_session_del(s->ng);
    while ((first = list_first(&s->streams)))
        stream_free(s, CONTAINER_OF(first, struct h2_stream, link));
    mem_free(s->authority);
    mem_free(s);
}

/* ---- bytes ---- */

static void note_error(struct h2_session *s, ssize_t code)
{
    if (s->why[0] == '\0')
        snprintf(s->why, sizeof(s->why), "%s", nghttp2_strerror((int)code));
}

int h2_session_recv(struct h2_session *s, struct slice bytes, uint64_t now_us)
{
    s->now_us = s->heard_us = now_us;
    ssize_t n = nghttp2_session_mem_recv(s->ng, bytes.p, bytes.len);
    if (n < 0) {
        s->ended = true;
        note_error(s, n);
        return -EPROTO;
    }
    return 0;
}

struct slice h2_session_send(struct h2_session *s)
{
    const uint8_t *p;
    ssize_t n = s->ended ? 0 : nghttp2_session_mem_send(s->ng, &p);

    if (n < 0) {
        s->ended = true;
        note_error(s, n);
    }
    if (n <= 0)
        return (struct slice){0};
    s->out_total += (uint64_t)n;
    return slice_of(p, (size_t)n);
}

/* ---- requests ---- */

unsigned h2_session_inflight(const struct h2_session *s)
{
    return s->n_streams;
}

unsigned h2_session_room(const struct h2_session *s)
{
    unsigned limit = peer_limit(s);

    if (s->gone_away || s->leaving || s->ended || !nghttp2_session_check_request_allowed(s->ng))
        return 0;
    return limit > s->n_streams ? limit - s->n_streams : 0;
}

/* The first time on this connection? */
static bool first_time(struct h2_session *s, struct slice name)
{
    for (unsigned i = 0; i < s->n_names; i++)
        if (slice_eq(name, slice_of(s->names[i].text, s->names[i].len)))
            return false;
    if (s->n_names == NAMES_MAX || name.len > NAME_BYTES)
        return false;
    memcpy(s->names[s->n_names].text, name.p, name.len);
    s->names[s->n_names++].len = name.len;
    return true;
}

static nghttp2_nv nv_of(struct slice name, struct slice value, bool index)
{
    union {
        const uint8_t *in;
        uint8_t *out; /* nghttp2 copies and changes nothing; its type says otherwise */
    } n = {name.p}, v = {value.p};

    return (nghttp2_nv){n.out, v.out, name.len, value.len,
                        index ? NGHTTP2_NV_FLAG_NONE : NGHTTP2_NV_FLAG_NO_INDEX};
}

static size_t fill_fields(struct h2_session *s, const struct h2_request *q, nghttp2_nv *nv)
{
    struct slice method = q->method.len > 0 ? q->method : SLICE_LIT("POST");
    size_t n = 0;

    nv[n++] = nv_of(SLICE_LIT(":method"), method, true);
    nv[n++] = nv_of(SLICE_LIT(":scheme"), SLICE_LIT("https"), true);
    nv[n++] = nv_of(SLICE_LIT(":authority"), slice_str(s->authority), true);
    nv[n++] = nv_of(SLICE_LIT(":path"), q->path, false);
    if (q->authorization.len > 0)
        nv[n++] = nv_of(SLICE_LIT("authorization"), q->authorization, false);
    for (size_t i = 0; i < q->n_headers; i++) {
        const struct h2_header *h = &q->headers[i];
        bool index =
            h->indexing == H2_INDEX || (h->indexing == H2_INDEX_FIRST && first_time(s, h->name));
        nv[n++] = nv_of(h->name, h->value, index);
    }
    return n;
}

int h2_session_submit(struct h2_session *s, const struct h2_request *q, void *req,
                      struct h2_stream **stream, uint64_t now_us)
{
    nghttp2_nv nv[PSEUDO_FIELDS + H2_REQUEST_HEADERS_MAX];

    assert(req && q->n_headers <= H2_REQUEST_HEADERS_MAX);
    s->now_us = now_us;
    if (h2_session_room(s) == 0)
        return s->ready && !s->gone_away && !s->leaving && !s->ended &&
                       nghttp2_session_check_request_allowed(s->ng)
                   ? -EAGAIN
                   : -EPIPE;
    struct h2_stream *t = mem_zalloc(sizeof(*t));
    if (!t)
        return -ENOMEM;
    t->req = req;
    t->q = q;
    t->since_us = now_us;
    t->out_at = UINT64_MAX;
    nghttp2_data_provider body = {.source.ptr = t, .read_callback = on_body};
    t->id = nghttp2_submit_request(s->ng, NULL, nv, fill_fields(s, q, nv),
                                   q->body.len > 0 ? &body : NULL, t);
    if (t->id < 0) {
        int rc = t->id == NGHTTP2_ERR_NOMEM ? -ENOMEM : -EPIPE; /* ids are used up */
        mem_free(t);
        return rc;
    }
    list_append(&s->streams, &t->link);
    s->n_streams++;
    *stream = t;
    return 0;
}

void h2_session_forget(struct h2_session *s, struct h2_stream *stream)
{
    take_req(stream);
    nghttp2_submit_rst_stream(s->ng, NGHTTP2_FLAG_NONE, stream->id, NGHTTP2_CANCEL);
}

/* ---- time ---- */

/* When silence asks for a PING. */
static uint64_t ping_at(const struct h2_session *s)
{
    uint64_t at = s->heard_us + s->conf.ping_idle_us;

    if (!list_empty(&s->streams)) {
        struct h2_stream *oldest = CONTAINER_OF(s->streams.next, struct h2_stream, link);
        uint64_t since = oldest->since_us > s->heard_us ? oldest->since_us : s->heard_us;
        if (since + s->conf.ping_us < at)
            at = since + s->conf.ping_us;
    }
    return at;
}

uint64_t h2_session_deadline(const struct h2_session *s)
{
    if (s->ended)
        return CLOCK_NEVER;
    if (s->ping_sent_us == CLOCK_NEVER)
        return ping_at(s);
    uint64_t since = s->heard_us > s->ping_sent_us ? s->heard_us : s->ping_sent_us;
    return since + s->conf.dead_us;
}

bool h2_session_tick(struct h2_session *s, uint64_t now_us)
{
    s->now_us = now_us;
    if (now_us < h2_session_deadline(s))
        return true;
    if (s->ping_sent_us != CLOCK_NEVER) {
        snprintf(s->why, sizeof(s->why), "no answer to a PING: the connection is dead");
        return false;
    }
    if (nghttp2_submit_ping(s->ng, NGHTTP2_FLAG_NONE, NULL) != 0)
        s->heard_us = now_us; /* memory is out: try again later */
    else
        s->ping_sent_us = now_us;
    return true;
}

/* ---- ends ---- */

void h2_session_goodbye(struct h2_session *s)
{
    if (s->leaving)
        return;
    s->leaving = true;
    nghttp2_session_terminate_session(s->ng, NGHTTP2_NO_ERROR);
}

bool h2_session_over(struct h2_session *s)
{
    return s->ended || (!nghttp2_session_want_read(s->ng) && !nghttp2_session_want_write(s->ng));
}

void h2_session_end(struct h2_session *s, uint64_t taken, const char *why)
{
    struct list *first;

    s->ended = true;
    while ((first = list_first(&s->streams))) {
        struct h2_stream *t = CONTAINER_OF(first, struct h2_stream, link);
        if (t->out_at >= taken)
            tell_refused(s, t, true);
        else
            tell_failed(s, t, why);
        nghttp2_session_set_stream_user_data(s->ng, t->id, NULL);
        stream_free(s, t);
    }
}

const char *h2_session_why(const struct h2_session *s)
{
    return s->why;
}
