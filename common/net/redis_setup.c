/* The set-up of a connection to Redis: AUTH, SELECT, ROLE, the scripts, the channels, sent
 * together; of one to a Sentinel: the question who the master is.
 *
 * Called by redis_client.c when a connection is there, and with each answer until all have come.
 * Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "net/redis_client_priv.h"

static void doom_text(struct redis_client *c, const char *what, uint64_t now_us)
{
    redis_client_doom(c, what, (struct slice){0}, now_us);
}

/* False: memory is out, and it is doomed. */
static bool ask(struct redis_client *c, enum redis_slot_kind kind, unsigned script,
                const struct slice *words, size_t n, uint64_t now_us)
{
    struct redis_slot *s = c->state == REDIS_DOOMED ? NULL : redis_slot_new(c, kind, words, n);

    if (!s) {
        doom_text(c, "memory is out", now_us);
        return false;
    }
    s->script = script;
    list_append(&c->setup, &s->link);
    c->setup_left++;
    return true;
}

static void ask_auth(struct redis_client *c, struct slice user, struct slice password,
                     uint64_t now_us)
{
    const struct slice words[] = {SLICE_LIT("AUTH"), user, password};
    const struct slice alone[] = {SLICE_LIT("AUTH"), password};

    if (password.len > 0 && user.len > 0)
        ask(c, REDIS_SLOT_AUTH, 0, words, ARRAY_LEN(words), now_us);
    else if (password.len > 0)
        ask(c, REDIS_SLOT_AUTH, 0, alone, ARRAY_LEN(alone), now_us);
}

static void set_up_sentinel(struct redis_client *c, uint64_t now_us)
{
    const struct slice words[] = {SLICE_LIT("SENTINEL"), SLICE_LIT("get-master-addr-by-name"),
                                  c->conf.master};

    ask_auth(c, c->conf.sentinel_user, c->conf.sentinel_password, now_us);
    ask(c, REDIS_SLOT_MASTER, 0, words, ARRAY_LEN(words), now_us);
}

static void set_up_server(struct redis_client *c, uint64_t now_us)
{
    const struct redis_client_conf *conf = &c->conf;
    uint8_t text[24];
    struct wr number = wr_init(text, sizeof(text));
    const struct slice ping[] = {SLICE_LIT("PING")}, role[] = {SLICE_LIT("ROLE")};

    ask_auth(c, conf->user, conf->password, now_us);
    wr_u64(&number, conf->database);
    const struct slice select[] = {SLICE_LIT("SELECT"), wr_done(&number)};
    if (conf->database > 0)
        ask(c, REDIS_SLOT_PLAIN, 0, select, ARRAY_LEN(select), now_us);
    if (conf->any_role)
        ask(c, REDIS_SLOT_PLAIN, 0, ping, ARRAY_LEN(ping), now_us);
    else
        ask(c, REDIS_SLOT_ROLE, 0, role, ARRAY_LEN(role), now_us);
    for (unsigned i = 0; i < conf->scripts_n; i++) {
        const struct slice load[] = {SLICE_LIT("SCRIPT"), SLICE_LIT("LOAD"), conf->scripts[i]};
        ask(c, REDIS_SLOT_SCRIPT, i, load, ARRAY_LEN(load), now_us);
    }
    for (size_t i = 0; i < conf->channels_n; i++) {
        const struct slice subscribe[] = {
            conf->sharded ? SLICE_LIT("SSUBSCRIBE") : SLICE_LIT("SUBSCRIBE"), conf->channels[i]};
        ask(c, REDIS_SLOT_PLAIN, 0, subscribe, ARRAY_LEN(subscribe), now_us);
    }
}

static void up(struct redis_client *c, uint64_t now_us)
{
    c->state = REDIS_READY;
    c->why[0] = '\0';
    c->stats.connects++;
    redis_seek_found(&c->seek);
    if (c->ops->up)
        c->ops->up(c->arg, now_us);
    c->ops->wake(c->arg);
}

/* The master's address is known: this connection was for nothing else. */
static void on_master(struct redis_client *c, const struct resp *v, uint64_t now_us)
{
    if (redis_seek_named(&c->seek, resp_text(resp_at(v, 0)), resp_text(resp_at(v, 1))) != 0) {
        redis_client_doom(c, "this Sentinel knows no master of the name", c->conf.master, now_us);
        return;
    }
    c->state = REDIS_DOOMED;
    redis_client_take_back(c, now_us);
    c->ops->wake(c->arg);
}

static const char *const STEPS[] = {
    [REDIS_SLOT_CALL] = "",
    [REDIS_SLOT_AUTH] = "AUTH was refused: check user and password",
    [REDIS_SLOT_PLAIN] = "SELECT, PING or SUBSCRIBE was refused",
    [REDIS_SLOT_ROLE] = "ROLE was refused: the ACL user needs +role",
    [REDIS_SLOT_SCRIPT] = "SCRIPT LOAD was refused: the ACL user needs +script|load",
    [REDIS_SLOT_MASTER] = "the Sentinel refuses",
    [REDIS_SLOT_PING] = "PING was refused",
};

/* The answer to a step of the set-up, or to PING. */
void redis_setup_step(struct redis_client *c, enum redis_slot_kind kind, unsigned script,
                      const struct resp *v, uint64_t now_us)
{
    if (v->kind == RESP_ERROR) {
        redis_client_doom(c, STEPS[kind], v->text, now_us);
        return;
    }
    if (kind == REDIS_SLOT_ROLE && !slice_is(resp_text(resp_at(v, 0)), "master")) {
        doom_text(c, "this is not the master", now_us);
        return;
    }
    if (kind == REDIS_SLOT_SCRIPT) {
        struct slice sha = resp_text(v);
        if (sha.len != REDIS_SHA1_TEXT) {
            doom_text(c, "SCRIPT LOAD was not answered with a SHA1", now_us);
            return;
        }
        memcpy(c->sha[script], sha.p, REDIS_SHA1_TEXT);
    }
    if (kind == REDIS_SLOT_MASTER) {
        on_master(c, v, now_us);
        return;
    }
    if (c->state == REDIS_SETTING_UP && kind != REDIS_SLOT_PING && --c->setup_left == 0)
        up(c, now_us);
}

void redis_setup_begin(struct redis_client *c, uint64_t now_us)
{
    if (c->at_sentinel)
        set_up_sentinel(c, now_us);
    else
        set_up_server(c, now_us);
}
