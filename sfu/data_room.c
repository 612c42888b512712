/* Messages between a room's participants over data channels: form, limits, receivers.
 *
 * Called by the media core for each message that data_link.c hands up. A refused message costs its
 * sender nothing but a counter: no answer, for answers would be a way to make us send.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/data_room.h"

#include "proto/json.h"

static const char *const verdict_names[DATA_VERDICTS] = {
    [DATA_OK] = "ok",
    [DATA_NOT_ALLOWED] = "not_allowed",
    [DATA_TOO_LARGE] = "too_large",
    [DATA_RATE_MESSAGES] = "rate_messages",
    [DATA_RATE_BYTES] = "rate_bytes",
    [DATA_MALFORMED] = "malformed",
    [DATA_TOO_MANY_TO] = "too_many_to",
    [DATA_NOBODY] = "nobody",
};

const char *data_verdict_name(enum data_verdict v)
{
    return v < DATA_VERDICTS ? verdict_names[v] : verdict_names[DATA_OK];
}

static uint32_t units(uint32_t bytes)
{
    return bytes / DATA_RATE_UNIT + (bytes % DATA_RATE_UNIT != 0);
}

/* A rule in thousandths that fits its 32 bits. */
static struct bucket_rule per_second(uint32_t n, uint32_t burst)
{
    uint32_t most = UINT32_MAX / 1000;

    return (struct bucket_rule){(n < most ? n : most) * 1000, burst};
}

struct data_limits data_limits_make(uint32_t message_bytes, uint32_t messages_per_s,
                                    uint32_t bytes_per_s)
{
    uint32_t burst = bytes_per_s > message_bytes ? bytes_per_s : message_bytes;

    return (struct data_limits){message_bytes, per_second(messages_per_s, messages_per_s),
                                per_second(units(bytes_per_s), units(burst))};
}

/* Letters, digits and . _ - : / */
static bool is_topic(struct slice s)
{
    if (s.len > DATA_TOPIC_MAX)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.p[i], letter = c | 0x20;
        if (!(letter >= 'a' && letter <= 'z') && !(c >= '0' && c <= '9') && c != '.' && c != '_' &&
            c != '-' && c != ':' && c != '/')
            return false;
    }
    return true;
}

/* Adds a receiver, once. */
static enum data_verdict add_to(struct data_message *m, struct slice id)
{
    if (id.len == 0 || id.len > DATA_ID_MAX)
        return DATA_MALFORMED;
    for (unsigned i = 0; i < m->n_to; i++) {
        if (slice_eq(m->to[i], id))
            return DATA_OK;
    }
    if (m->n_to == DATA_TO_MAX)
        return DATA_TOO_MANY_TO;
    m->to[m->n_to++] = id;
    return DATA_OK;
}

static enum data_verdict read_text(struct data_message *m, struct slice msg)
{
    const struct json_limits limits = {DATA_JSON_DEPTH, DATA_JSON_VALUES, msg.len};
    enum { TO, TOPIC, PAYLOAD, FIELDS };
    struct json_field f[FIELDS] = {{.key = "to"}, {.key = "topic"}, {.key = "payload"}};
    struct wr scratch = wr_init(m->_scratch, sizeof(m->_scratch));
    struct slice item, id;

    if (json_scan_object(msg, &limits, f, FIELDS) != 0 || f[PAYLOAD].kind == JSON_KIND_NONE)
        return DATA_MALFORMED;
    if (f[TOPIC].kind != JSON_KIND_NONE &&
        (!json_text(f[TOPIC].value, &m->topic, &scratch) || !is_topic(m->topic)))
        return DATA_MALFORMED;
    m->payload = f[PAYLOAD].value;
    m->to_all = f[TO].kind == JSON_KIND_NONE;
    if (m->to_all)
        return DATA_OK;
    if (f[TO].kind != JSON_KIND_ARRAY)
        return DATA_MALFORMED;
    struct json_items it = json_items(f[TO].value);
    while (json_items_next(&it, &item)) {
        enum data_verdict v = json_text(item, &id, &scratch) ? add_to(m, id) : DATA_MALFORMED;
        if (v != DATA_OK)
            return v;
    }
    return m->n_to > 0 ? DATA_OK : DATA_MALFORMED;
}

static enum data_verdict read_binary(struct data_message *m, struct slice msg)
{
    struct rd r = rd_init(msg);
    unsigned n = rd_u8(&r);

    if (r.bad)
        return DATA_MALFORMED;
    if (n > DATA_TO_MAX)
        return DATA_TOO_MANY_TO;
    m->to_all = n == 0;
    for (unsigned i = 0; i < n; i++) {
        struct slice id = rd_take(&r, rd_u8(&r));
        if (r.bad || add_to(m, id) != DATA_OK)
            return DATA_MALFORMED;
    }
    m->payload = rd_rest(&r);
    return DATA_OK;
}

static enum data_verdict check(struct data_sender *s, const struct data_limits *l, bool allowed,
                               size_t bytes, uint64_t now_us)
{
    if (!allowed)
        return DATA_NOT_ALLOWED;
    if (bytes > l->message_bytes)
        return DATA_TOO_LARGE;
    if (!bucket_take(&s->_messages, &l->messages, 1, now_us))
        return DATA_RATE_MESSAGES;
    if (!bucket_take(&s->_bytes, &l->bytes, units((uint32_t)bytes), now_us))
        return DATA_RATE_BYTES;
    return DATA_OK;
}

enum data_verdict data_room_recv(struct data_sender *s, const struct data_limits *l, bool allowed,
                                 bool text, struct slice msg, uint64_t now_us,
                                 struct data_message *out)
{
    enum data_verdict v = check(s, l, allowed, msg.len, now_us);

    if (v == DATA_OK) {
        out->text = text;
        out->to_all = false;
        out->n_to = 0;
        out->topic = (struct slice){0};
        v = text ? read_text(out, msg) : read_binary(out, msg);
    }
    if (v == DATA_OK)
        s->passed++;
    else
        s->refused[v]++;
    return v;
}

void data_room_write(const struct data_message *m, struct slice from, struct wr *w)
{
    if (!m->text) {
        wr_u8(w, (uint8_t)from.len);
        wr_bytes(w, from);
        wr_bytes(w, m->payload);
        return;
    }
    wr_str(w, "{\"from\":");
    json_write_text(w, from);
    if (m->topic.len > 0) {
        wr_str(w, ",\"topic\":");
        json_write_text(w, m->topic);
    }
    wr_str(w, ",\"payload\":");
    wr_bytes(w, m->payload);
    wr_u8(w, '}');
}
