/* What every presence store promises, asked of one: in memory, or over a real Redis. Run by
 * tests/e2e/presence_store_test.py.
 *
 *     presence_conform mem
 *     presence_conform redis SERVER-INI     the promises of one node, then those between two
 *     presence_conform restart SERVER-INI   says "ready", waits for a line while Redis is started
 * anew
 *
 * Ends with 0, or says which line is not true. SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "net/worker.h"
#include "server/presence_link.h"
#include "server/presence_store_mem.h"

#define LIMIT_US (10 * US_PER_S)
#define LOOK_US  (1 * US_PER_MS)

#define MUST(what)                                                    \
    do {                                                              \
        if (!(what)) {                                                \
            printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #what); \
            exit(1);                                                  \
        }                                                             \
    } while (0)

struct node {
    struct presence_store *store;
    struct presence_link *link; /* NULL: in memory */
    struct server_conf conf;
    int changes;
    char changed_user[SIG_USER_MAX + 1];
    int replaced;
};

static struct worker *worker;
static struct {
    bool (*fn)(void *arg);
    void *arg;
    bool met;
    uint64_t by_us;
    struct wtimer timer;
} wanted;

static void look(void *arg, uint64_t now_us)
{
    (void)arg;
    wanted.met = wanted.fn(wanted.arg);
    if (wanted.met || now_us >= wanted.by_us)
        worker_stop(worker);
    else
        worker_timer(worker, &wanted.timer, now_us + LOOK_US);
}

/* Runs the loop until it is so, or for ten seconds. */
static bool becomes(bool (*fn)(void *arg), void *arg)
{
    wanted.fn = fn;
    wanted.arg = arg;
    wanted.by_us = clock_now_us() + LIMIT_US;
    wanted.timer = (struct wtimer){.fn = look};
    worker_timer(worker, &wanted.timer, 0);
    worker_run(worker);
    return wanted.met;
}

/* ---- what was found ---- */

static struct found {
    struct presence_lookup lookup;
    bool told;
    int err;
    size_t n;
    struct presence_entry e[PRESENCE_DEVICES_MAX];
    char text[PRESENCE_DEVICES_MAX][2][SIG_DEVICE_MAX + 1]; /* device, node */
} found;

static void got(struct presence_lookup *l, int err, const struct presence_entry *e, size_t n)
{
    (void)l;
    MUST(!found.told && n <= PRESENCE_DEVICES_MAX);
    found.told = true;
    found.err = err;
    found.n = n;
    for (size_t i = 0; i < n; i++) {
        found.e[i] = e[i];
        MUST(slice_to_cstr(e[i].device, found.text[i][0], sizeof(found.text[i][0])) == 0);
        MUST(slice_to_cstr(e[i].node, found.text[i][1], sizeof(found.text[i][1])) == 0);
    }
}

static bool is_told(void *arg)
{
    (void)arg;
    return found.told;
}

static size_t look_up(struct node *n, const char *user)
{
    found = (struct found){.lookup = {.fn = got}};
    presence_store_lookup(n->store, slice_str(user), &found.lookup);
    MUST(found.told || becomes(is_told, NULL));
    MUST(found.err == 0);
    return found.n;
}

static const struct presence_entry *entry_of(const char *device)
{
    for (size_t i = 0; i < found.n; i++)
        if (strcmp(found.text[i][0], device) == 0)
            return &found.e[i];
    return NULL;
}

static int put(struct node *n, const char *user, const char *device, uint8_t session,
               uint64_t generation)
{
    const struct presence_entry e = {.user = slice_str(user),
                                     .device = slice_str(device),
                                     .session = {session},
                                     .generation = generation,
                                     .state = SIG_PRESENCE_AWAY,
                                     .attached = true,
                                     .call_waiting = generation % 2 == 1,
                                     .rooms = generation % 2 == 1};

    return presence_store_put(n->store, &e);
}

static void drop(struct node *n, const char *user, const char *device, uint8_t session,
                 uint64_t generation)
{
    uint8_t id[PRESENCE_SESSION_BYTES] = {session};

    presence_store_remove(n->store, slice_str(user), slice_str(device), id, generation);
}

/* ---- the promises of any store ---- */

static void an_entry_comes_back_as_it_was_put(struct node *n)
{
    MUST(look_up(n, "ann") == 0);
    MUST(put(n, "ann", "phone", 1, 7) == 0);
    MUST(look_up(n, "ann") == 1);
    const struct presence_entry *e = entry_of("phone");
    MUST(e && e->session[0] == 1 && e->generation == 7 && e->state == SIG_PRESENCE_AWAY);
    MUST(e->attached && e->call_waiting && e->rooms);
    MUST(put(n, "ann", "tab", 2, 1) == 0);
    MUST(look_up(n, "ann") == 2 && entry_of("tab"));
    MUST(look_up(n, "an") == 0);
    drop(n, "ann", "phone", 1, 7);
    drop(n, "ann", "tab", 2, 1);
    MUST(look_up(n, "ann") == 0);
}

static void who_comes_late_changes_nothing(struct node *n)
{
    MUST(put(n, "bob", "phone", 1, 5) == 0);
    MUST(put(n, "bob", "phone", 1, 4) == -ESTALE);
    drop(n, "bob", "phone", 1, 4);
    drop(n, "bob", "phone", 9, 9);
    MUST(look_up(n, "bob") == 1 && entry_of("phone")->generation == 5);
    MUST(put(n, "bob", "phone", 2, 1) == 0); /* another session takes its place */
    drop(n, "bob", "phone", 1, 5);
    MUST(look_up(n, "bob") == 1 && entry_of("phone")->session[0] == 2);
    drop(n, "bob", "phone", 2, 1);
    MUST(look_up(n, "bob") == 0);
}

static void devices_are_limited(struct node *n)
{
    char device[16];

    for (int i = 0; i < PRESENCE_DEVICES_MAX; i++) {
        snprintf(device, sizeof(device), "d%d", i);
        MUST(put(n, "carl", device, (uint8_t)i, 1) == 0);
    }
    MUST(put(n, "carl", "more", 99, 1) == -ENOSPC);
    MUST(put(n, "carl", "d3", 3, 2) == 0);
    MUST(look_up(n, "carl") == PRESENCE_DEVICES_MAX && !entry_of("more"));
    for (int i = 0; i < PRESENCE_DEVICES_MAX; i++) {
        snprintf(device, sizeof(device), "d%d", i);
        drop(n, "carl", device, (uint8_t)i, 2);
    }
    MUST(look_up(n, "carl") == 0);
}

static bool has_changed(void *arg)
{
    return ((struct node *)arg)->changes > 0;
}

static void watchers_are_told(struct node *n)
{
    MUST(put(n, "dan", "phone", 1, 1) == 0); /* not watched */
    n->changes = 0;
    MUST(presence_store_watch(n->store, SLICE_LIT("dan")) == 0);
    MUST(put(n, "dan", "phone", 1, 2) == 0);
    MUST(becomes(has_changed, n) && strcmp(n->changed_user, "dan") == 0);
    MUST(look_up(n, "dan") == 1 && entry_of("phone")->generation == 2);
    n->changes = 0;
    drop(n, "dan", "phone", 1, 2);
    MUST(becomes(has_changed, n));
    presence_store_unwatch(n->store, SLICE_LIT("dan"));
    MUST(look_up(n, "dan") == 0); /* what was under way is over */
    n->changes = 0;
    MUST(put(n, "dan", "phone", 1, 3) == 0);
    MUST(look_up(n, "dan") == 1);
    MUST(n->changes == 0);
    drop(n, "dan", "phone", 1, 3);
}

static void names_are_any_bytes(struct node *n)
{
    static const char *const users[] = {"{", "}", "%", "a{b}c", "%7D", "a b", "\xc3\xa9\r\n*1"};

    for (size_t i = 0; i < ARRAY_LEN(users); i++)
        MUST(put(n, users[i], "phone", (uint8_t)(i + 1), 1) == 0);
    for (size_t i = 0; i < ARRAY_LEN(users); i++) {
        MUST(look_up(n, users[i]) == 1 && entry_of("phone")->session[0] == i + 1);
        drop(n, users[i], "phone", (uint8_t)(i + 1), 1);
    }
}

static void a_cancelled_lookup_is_not_told(struct node *n)
{
    struct found *f = &found;

    *f = (struct found){.lookup = {.fn = got}};
    presence_store_lookup(n->store, SLICE_LIT("eve"), &f->lookup);
    bool at_once = f->told;
    presence_store_cancel(n->store, &f->lookup);
    MUST(look_up(n, "fay") == 0); /* after which the other would have been answered */
    MUST(at_once || found.n == 0);
}

static void promises(struct node *n)
{
    an_entry_comes_back_as_it_was_put(n);
    who_comes_late_changes_nothing(n);
    devices_are_limited(n);
    watchers_are_told(n);
    names_are_any_bytes(n);
    a_cancelled_lookup_is_not_told(n);
}

/* ---- nodes ---- */

static void on_changed(void *arg, struct slice user)
{
    struct node *n = arg;

    n->changes++;
    MUST(slice_to_cstr(user, n->changed_user, sizeof(n->changed_user)) == 0);
}

static void on_replaced(void *arg, struct slice user, struct slice device,
                        const uint8_t session[PRESENCE_SESSION_BYTES])
{
    struct node *n = arg;

    MUST(slice_is(user, "gus") && slice_is(device, "phone") && session[0] == 1);
    n->replaced++;
}

static bool is_ready(void *arg)
{
    return presence_link_ready(((struct node *)arg)->link);
}

static void make(struct node *n, const char *ini, const char *name)
{
    char err[CONF_ERR_MAX];

    *n = (struct node){0};
    if (server_conf_load(&n->conf, ini, err) != 0) {
        printf("%s\n", err);
        exit(1);
    }
    mem_free(n->conf.server.node_id);
    n->conf.server.node_id = mem_strndup(slice_str(name));
    n->link = presence_link_new(worker, &n->conf, err);
    MUST(n->link);
    n->store = presence_link_store(n->link);
    n->store->changed = on_changed;
    n->store->replaced = on_replaced;
    n->store->changed_arg = n->store->replaced_arg = n;
}

static void start(struct node *n, const char *ini, const char *name)
{
    make(n, ini, name);
    if (!becomes(is_ready, n)) {
        printf("not connected: %s\n", presence_link_why(n->link));
        exit(1);
    }
}

static bool has_failed(void *arg)
{
    return strstr(presence_link_why(((struct node *)arg)->link), "TLS failed") != NULL;
}

static void stop(struct node *n)
{
    presence_link_free(n->link);
    server_conf_free(&n->conf);
}

/* ---- the promises between nodes ---- */

struct seen {
    struct node *n;
    const char *user, *node;
    size_t devices;
};

/* Asks again and again; becomes() must not be used inside. */
static bool sees(void *arg)
{
    static struct found *const f = &found;
    const struct seen *s = arg;

    if (!f->told)
        return false;
    if (f->err == 0 && f->n == s->devices &&
        (f->n == 0 || !s->node || strcmp(f->text[0][1], s->node) == 0))
        return true;
    *f = (struct found){.lookup = {.fn = got}};
    presence_store_lookup(s->n->store, slice_str(s->user), &f->lookup);
    return false;
}

static bool comes_to_see(struct node *n, const char *user, size_t devices, const char *node)
{
    struct seen s = {n, user, node, devices};

    found = (struct found){.lookup = {.fn = got}};
    presence_store_lookup(n->store, slice_str(user), &found.lookup);
    bool so = becomes(sees, &s);
    if (!found.told)
        presence_store_cancel(n->store, &found.lookup);
    return so;
}

static bool was_replaced(void *arg)
{
    return ((struct node *)arg)->replaced > 0;
}

static void nodes_see_each_other(struct node *a, struct node *b)
{
    MUST(put(a, "gus", "phone", 1, 1) == 0);
    MUST(comes_to_see(b, "gus", 1, "a"));
    MUST(entry_of("phone")->state == SIG_PRESENCE_AWAY);
    /* A watcher on b is told of what happens on a. */
    MUST(presence_store_watch(b->store, SLICE_LIT("gus")) == 0);
    MUST(becomes(has_changed, b)); /* the watch stands */
    b->changes = 0;
    MUST(put(a, "gus", "phone", 1, 2) == 0);
    MUST(becomes(has_changed, b));
    MUST(look_up(b, "gus") == 1 && entry_of("phone")->generation == 2);
    /* The device comes to b: a is told to end its session, and what a says late counts no more. */
    MUST(put(b, "gus", "phone", 2, 1) == 0);
    MUST(becomes(was_replaced, a));
    MUST(comes_to_see(a, "gus", 1, "b"));
    drop(a, "gus", "phone", 1, 2);
    MUST(comes_to_see(a, "gus", 1, "b"));
    drop(b, "gus", "phone", 2, 1);
    MUST(comes_to_see(a, "gus", 0, NULL));
    presence_store_unwatch(b->store, SLICE_LIT("gus"));
}

/* b stops without a word: its entries go with its lease, and watchers hear of it. */
static void a_dead_node_takes_its_devices_along(struct node *a, struct node *b)
{
    MUST(put(b, "hal", "phone", 3, 1) == 0);
    MUST(comes_to_see(a, "hal", 1, "b"));
    MUST(presence_store_watch(a->store, SLICE_LIT("hal")) == 0);
    MUST(becomes(has_changed, a));
    stop(b);
    a->changes = 0;
    uint64_t began = clock_now_us();
    MUST(becomes(has_changed, a));
    MUST(comes_to_see(a, "hal", 0, NULL));
    printf("a dead node was noticed after %llu ms\n",
           (unsigned long long)((clock_now_us() - began) / US_PER_MS));
    presence_store_unwatch(a->store, SLICE_LIT("hal"));
}

/* ---- Redis itself goes ---- */

static bool is_not_ready(void *arg)
{
    return !is_ready(arg);
}

static void what_redis_lost_is_written_again(struct node *a, struct node *b)
{
    char line[8];

    MUST(put(a, "ida", "phone", 1, 1) == 0);
    MUST(presence_store_watch(b->store, SLICE_LIT("ida")) == 0);
    MUST(comes_to_see(b, "ida", 1, "a"));
    printf("ready\n");
    fflush(stdout);
    MUST(fgets(line, sizeof(line), stdin)); /* it was killed, and all of it is lost */
    MUST(becomes(is_not_ready, a));
    MUST(put(a, "ida", "tab", 2, 1) == 0);
    /* Meanwhile a node knows its own. */
    found = (struct found){.lookup = {.fn = got}};
    presence_store_lookup(a->store, SLICE_LIT("ida"), &found.lookup);
    MUST(becomes(is_told, NULL) && found.err != 0 && found.n == 2);
    printf("away\n");
    fflush(stdout);
    MUST(fgets(line, sizeof(line), stdin)); /* it is there again, empty */
    uint64_t began = clock_now_us();
    MUST(comes_to_see(b, "ida", 2, "a"));
    printf("all was back after %llu ms\n",
           (unsigned long long)((clock_now_us() - began) / US_PER_MS));
    b->changes = 0;
    MUST(put(a, "ida", "tab", 2, 2) == 0); /* so is the watch */
    MUST(becomes(has_changed, b));
}

static void a_new_master_is_found(struct node *a, struct node *b)
{
    char line[8];

    MUST(put(a, "jon", "phone", 1, 1) == 0);
    MUST(comes_to_see(b, "jon", 1, "a"));
    printf("ready\n");
    fflush(stdout);
    MUST(fgets(line, sizeof(line), stdin));
    uint64_t began = clock_now_us();
    MUST(put(a, "jon", "tab", 2, 1) == 0);
    MUST(comes_to_see(b, "jon", 2, "a"));
    printf("a new master was in use after %llu ms\n",
           (unsigned long long)((clock_now_us() - began) / US_PER_MS));
}

/* A resolver's thread gives its memory back when it ends, which nobody waits for. */
static bool nothing_is_left(void *arg)
{
    return mem_live() == *(const uint64_t *)arg;
}

int main(int argc, char **argv)
{
    struct node a = {0}, b = {0};

    worker = worker_new(0);
    MUST(worker && argc >= 2);
    uint64_t live = mem_live();
    if (strcmp(argv[1], "mem") == 0) {
        a.store = presence_store_mem_new();
        MUST(a.store);
        a.store->changed = on_changed;
        a.store->changed_arg = &a;
        promises(&a);
        presence_store_free(a.store);
    } else if (strcmp(argv[1], "refuses") == 0) {
        MUST(argc == 3);
        make(&a, argv[2], "a");
        MUST(becomes(has_failed, &a));
        stop(&a);
    } else {
        MUST(argc == 3);
        start(&a, argv[2], "a");
        start(&b, argv[2], "b");
        if (strcmp(argv[1], "restart") == 0) {
            what_redis_lost_is_written_again(&a, &b);
            stop(&b);
        } else if (strcmp(argv[1], "failover") == 0) {
            a_new_master_is_found(&a, &b);
            stop(&b);
        } else {
            promises(&a);
            nodes_see_each_other(&a, &b);
            a_dead_node_takes_its_devices_along(&a, &b);
        }
        stop(&a);
    }
    MUST(becomes(nothing_is_left, &live));
    worker_free(worker);
    printf("conforms\n");
    return 0;
}
