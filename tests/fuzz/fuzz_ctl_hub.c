/* The SFU's end of the control protocol under a script: two servers and an operator that connect,
 * prove themselves, ask, acknowledge, break off; workers that answer, tell, forget; time; any
 * bytes.
 *
 * Nothing is leaked; what the hub says can be read (fake_hub.h), events come in order without gaps
 * unless they were said to be lost, each request is answered at most once per connection.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/log.h"
#include "tests/lib/fake_hub.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STEPS_MAX = 200, SERVERS = 3, ROOMS = 3 };

static const char *const names[SERVERS] = {"a", "b", "op"};
static const char *const rooms[ROOMS] = {"r", "s", "a\nr"};

static struct fake_hub *f;
static struct hub_conn *conn[SERVERS];
static uint64_t epoch[SERVERS], handled[SERVERS];
static bool welcome_now[SERVERS];

static void must(bool ok)
{
    if (!ok)
        abort();
}

/* Reads what came since: numbers of events. */
static void follow(unsigned s, unsigned from)
{
    struct hub_conn *c = conn[s];

    for (unsigned i = from; c && i < c->n; i++) {
        const struct hub_got *g = &c->got[i % HUB_GOT];

        if (g->type == CTL_HELLO && g->kind == CTL_KIND_REPLY) {
            welcome_now[s] = true;
            if (!c->resumed || c->lost)
                handled[s] = 0; /* it starts over with what comes */
        } else if (g->kind == CTL_KIND_EVENT && ctl_type_kept(g->type)) {
            must(welcome_now[s] && g->seq > 0);
            must(handled[s] == 0 || g->seq == handled[s] + 1);
            handled[s] = g->seq;
        }
    }
}

static void gone(unsigned s)
{
    if (conn[s])
        hub_end(conn[s]);
    conn[s] = NULL;
    welcome_now[s] = false;
}

static void connect_as(unsigned s, uint8_t how)
{
    gone(s);
    conn[s] = hub_open(f, s == 2);
    if (!conn[s] || s == 2)
        return;
    if (how & 1)
        epoch[s]++;
    if (how & 1)
        handled[s] = 0;
    hub_hello_as(conn[s], names[s], epoch[s], how & 2 ? 0 : HUB_EPOCH, handled[s],
                 how & 4 && how & 8 ? 2 : CTL_VERSION, how & 16 && how & 32);
    if (how & 2)
        handled[s] = 0;
}

static void step(struct rd *in)
{
    static const enum ctl_type types[] = {CTL_JOIN,  CTL_LEAVE,     CTL_MUTE,       CTL_SYNC,
                                          CTL_STATS, CTL_PING,      CTL_CLOSE_ROOM, CTL_SYNC_END,
                                          CTL_DRAIN, CTL_UNPUBLISH, CTL_ADOPT};
    uint8_t op = rd_u8(in), arg = rd_u8(in);
    unsigned s = arg % SERVERS, before[SERVERS];
    char key[64];

    for (unsigned i = 0; i < SERVERS; i++)
        before[i] = conn[i] ? conn[i]->n : 0;
    snprintf(key, sizeof(key), "%s\n%s", names[(arg >> 2) % 2], rooms[(arg >> 3) % ROOMS]);
    switch (op % 10) {
    case 0:
        before[s] = 0;
        connect_as(s, rd_u8(in));
        break;
    case 1:
        gone(s);
        break;
    case 2:
    case 3:
        if (conn[s] && s < 2)
            hub_request(conn[s], types[(arg >> 4) % ARRAY_LEN(types)],
                        1 + rd_u8(in) * (op / 10u + 1), rooms[(arg >> 2) % ROOMS], "a");
        break;
    case 4:
        if (f->n_jobs)
            hub_reply(f, &f->job[arg % HUB_JOBS % f->n_jobs],
                      arg & 0x80 ? CTL_ERR_REJECTED : CTL_OK);
        break;
    case 5:
        hub_event(f, key, arg & 1);
        break;
    case 6:
        hub_saying(f, SFU_SAY_ROOM_GONE, key, 0, 0, NULL);
        break;
    case 7:
        hub_wait(f, (uint64_t)(arg + 1) * (arg & 1 ? 500 : 20) * US_PER_MS);
        break;
    case 8:
        if (conn[s] && s < 2 && welcome_now[s])
            hub_ack(conn[s], rd_u8(in));
        break;
    default:
        if (conn[s]) {
            struct slice bytes = rd_take(in, rd_u8(in));
            must(hub_bytes(conn[s], bytes) <= bytes.len);
        }
        break;
    }
    for (unsigned i = 0; i < 2; i++)
        follow(i, before[i]);
    for (unsigned i = 0; i < SERVERS; i++)
        if (conn[i] && conn[i]->closed)
            gone(i);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rd in = rd_init(slice_of(data, size));

    log_set_level(LOG_ERROR);
    f = hub_new("[control]\nevents = 64\nqueue_bytes = 65536\n");
    for (unsigned i = 0; i < SERVERS; i++) {
        conn[i] = NULL;
        epoch[i] = 1;
        handled[i] = 0;
        welcome_now[i] = false;
    }
    for (unsigned n = 0; n < STEPS_MAX && in.left > 0 && !in.bad; n++)
        step(&in);
    for (unsigned i = 0; i < SERVERS; i++)
        gone(i);
    must(counter_get(&ctl_hub_count(f->h)->connections) == 0);
    hub_free(f);
    return 0;
}
