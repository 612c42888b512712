/* What only the PostgreSQL ledger can get wrong: connection strings, a database that is away, late
 * or of somebody else, servers that share one, rows that stay after a purge.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/ledger_sql.h" /* first: the scene has short names */

#include "tests/lib/pg_scene.h"

#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static struct ledger_store *s;

static int set_up(void **state)
{
    (void)state;
    scene_make();
    s = scene_open();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    if (s)
        scene_close(s);
    s = NULL;
    scene_remove();
    return 0;
}

static void reopen(void)
{
    if (s)
        scene_close(s);
    s = scene_open();
}

static int open_fails(void)
{
    scene_close(s);
    s = NULL;
    int rc = ledger_pg_open(&scene_conf, SCENE_NOW, &s, scene_why);
    if (rc != 0)
        s = NULL;
    return rc;
}

/* Another server on the same database. */
static struct ledger_store *open_as(const char *node)
{
    struct ledger_store_conf conf = scene_conf;
    struct ledger_store *other = NULL;
    static char erased[96];

    snprintf(erased, sizeof(erased), "%s/%s.erased", scene_dir, node);
    conf.node = node;
    conf.erased_file = erased;
    if (ledger_pg_open(&conf, SCENE_NOW, &other, scene_why) != 0)
        fail_msg("%s", scene_why);
    assert_int_equal(other->ops->health(other), LEDGER_FINE);
    return other;
}

static struct ledger_call call_of(unsigned n, const struct ledger_party *p)
{
    return (struct ledger_call){.id = scene_id(n),
                                .created_ms = SCENE_NOW,
                                .node = SLICE_LIT("node-1"),
                                .region = SLICE_LIT("eu"),
                                .parties = p,
                                .parties_n = 1};
}

/* ---- where it is ---- */

static void test_connection_strings_are_judged(void **state)
{
    static const struct {
        const char *where, *why; /* NULL: good */
    } v[] = {
        {"host=/run/pg user=sori dbname=sori", NULL},
        {"dbname=sori", NULL},
        {"postgresql://sori@db.example/sori?sslrootcert=/etc/ca.pem", NULL},
        {"host=db1,db2 dbname=sori sslmode=verify-ca sslrootcert=/etc/ca.pem", NULL},
        {"host=127.0.0.1 dbname=sori sslmode=disable", NULL},
        {"host=localhost dbname=sori", "sslrootcert"},
        {"host=db.example dbname=sori", "sslrootcert"},
        {"host=db.example dbname=sori sslmode=require sslrootcert=/etc/ca.pem", "verify-full"},
        {"host=127.0.0.1,db.example dbname=sori sslmode=disable", "verify-full"},
        {"hostaddr=192.0.2.1 dbname=sori sslmode=disable", "verify-full"},
        {"host=/run/pg", "dbname"},
        {"host=/run/pg dbname=sori password=hush-hush", "postgres_password_file"},
        {"postgresql://sori:hush-hush@db/sori", "postgres_password_file"},
        {"service=sori dbname=sori", "service"},
        {"nonsense hush-hush", "connection string"},
        {"hots=db dbname=sori", "connection string"},
        {"", "dbname"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(v); i++) {
        scene_why[0] = '\0';
        int rc = ledger_pg_where_check(v[i].where, scene_why);
        assert_int_equal(rc, v[i].why ? -EINVAL : 0);
        if (v[i].why && !strstr(scene_why, v[i].why))
            fail_msg("%s: %s", v[i].where, scene_why);
        assert_null(strstr(scene_why, "hush-hush"));
    }
}

/* ---- opening ---- */

static void test_what_was_committed_is_there_after_a_restart(void **state)
{
    (void)state;
    scene_call(s, 1, A, B, SCENE_NOW, true);
    scene_device(s, A, "phone", "tok", SCENE_NOW);
    reopen();
    assert_string_equal(scene_history(s, A).text, "1>berta");
    assert_string_equal(scene_devices(s), "anna@/phone=voip:tok");
}

struct opening {
    char node[16];
    struct ledger_store *s;
    bool ok;
    char why[LEDGER_STORE_WHY_MAX];
};

static void *open_in_thread(void *arg)
{
    struct opening *o = arg;
    struct ledger_store_conf conf = scene_conf;

    conf.node = o->node;
    o->ok = ledger_pg_open(&conf, SCENE_NOW, &o->s, o->why) == 0;
    return NULL;
}

static void test_several_servers_make_the_tables_at_once(void **state)
{
    enum { SERVERS = 6 };
    struct opening v[SERVERS] = {{.ok = false}};
    pthread_t t[SERVERS];

    (void)state;
    scene_close(s);
    s = NULL;
    pg_scene_fresh();
    for (int i = 0; i < SERVERS; i++) {
        snprintf(v[i].node, sizeof(v[i].node), "node-%d", i);
        assert_int_equal(pthread_create(&t[i], NULL, open_in_thread, &v[i]), 0);
    }
    for (int i = 0; i < SERVERS; i++) {
        pthread_join(t[i], NULL);
        if (!v[i].ok)
            fail_msg("%s", v[i].why);
        assert_int_equal(v[i].s->ops->health(v[i].s), LEDGER_FINE);
        scene_close(v[i].s);
    }
    pg_sql_is("SELECT count(*) FROM sori_ledger", "4");
}

static void test_two_servers_have_two_names(void **state)
{
    struct ledger_store_conf conf = scene_conf;
    struct ledger_store *other = NULL;

    (void)state;
    conf.query_timeout_ms = 200;
    assert_int_equal(ledger_pg_open(&conf, SCENE_NOW, &other, scene_why), 0);
    assert_int_equal(other->ops->health(other), LEDGER_TROUBLE);
    assert_non_null(strstr(other->ops->detail(other), "node_id = node-1"));
    scene_close(s);
    s = NULL;
    assert_int_equal(other->ops->recover(other, SCENE_NOW), 0);
    scene_close(other);
}

static void test_databases_of_others_are_left_alone(void **state)
{
    (void)state;
    pg_sql("INSERT INTO sori_ledger(version) VALUES(99)");
    assert_int_equal(open_fails(), -EPROTONOSUPPORT);
    assert_non_null(strstr(scene_why, "newer"));
    pg_scene_fresh();
    pg_sql("CREATE TABLE cdr(x INT)");
    assert_int_equal(ledger_pg_open(&scene_conf, SCENE_NOW, &s, scene_why), -EPROTONOSUPPORT);
    s = NULL;
    assert_non_null(strstr(scene_why, "another program"));
    pg_sql_is("SELECT count(*) FROM pg_tables WHERE schemaname='public'", "1");
}

static void test_a_move_that_is_not_over_is_not_disturbed(void **state)
{
    (void)state;
    pg_used = true;
    pg_sql("CREATE TABLE sori_move(x INT)");
    assert_int_equal(open_fails(), -EPROTONOSUPPORT);
    assert_non_null(strstr(scene_why, "sori-ledger"));
}

static void test_another_secret_is_refused(void **state)
{
    (void)state;
    scene_conf.secret = SLICE_LIT("another secret of 32 bytes or so");
    assert_int_equal(open_fails(), -EKEYREJECTED);
    assert_non_null(strstr(scene_why, "token_key_file"));
}

static void test_a_crash_ends_the_calls_of_its_own_node_only(void **state)
{
    const struct ledger_party party = {.user = A, .role = LEDGER_CALLER};
    struct ledger_call mine = call_of(1, &party), other = call_of(2, &party);

    (void)state;
    other.node = SLICE_LIT("node-2");
    assert_int_equal(DO(s, put_call(s, &mine, true)), 0);
    assert_int_equal(DO(s, put_call(s, &other, true)), 0);
    reopen();
    pg_sql_is("SELECT string_agg(node, ' ') FROM cdr WHERE end_ms=0", "node-2");
}

/* ---- away, late ---- */

static void test_a_database_that_is_away_comes_back(void **state)
{
    (void)state;
    scene_call(s, 1, A, B, SCENE_NOW, false);
    pg_end();
    assert_int_equal(s->ops->begin(s, true), -EAGAIN);
    s->ops->rollback(s);
    assert_int_equal(s->ops->health(s), LEDGER_AWAY);
    assert_true(strlen(s->ops->detail(s)) > 10);
    assert_int_equal(s->ops->recover(s, SCENE_NOW), -EAGAIN);
    assert_int_equal(s->ops->health(s), LEDGER_AWAY);
    struct ledger_store_conf conf = scene_conf;
    struct ledger_store *fresh = NULL;
    conf.node = "node-2";
    assert_int_equal(ledger_pg_open(&conf, SCENE_NOW, &fresh, scene_why), 0);
    assert_int_equal(fresh->ops->health(fresh), LEDGER_AWAY);
    assert_true(strlen(scene_why) > 10);
    pg_begin();
    assert_int_equal(s->ops->recover(s, SCENE_NOW), 0);
    assert_int_equal(fresh->ops->recover(fresh, SCENE_NOW), 0);
    assert_string_equal(scene_history(s, A).text, "1>berta");
    assert_string_equal(scene_history(fresh, A).text, "1>berta");
    scene_close(fresh);
}

static void test_a_connection_that_is_cut_loses_the_transaction_only(void **state)
{
    const struct ledger_party party = {.user = A, .role = LEDGER_CALLER};
    const struct ledger_call c = call_of(2, &party);

    (void)state;
    scene_call(s, 1, A, B, SCENE_NOW, false);
    assert_int_equal(s->ops->begin(s, true), 0);
    assert_int_equal(s->ops->put_call(s, &c, true), 0);
    pg_sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name='sori "
           "node-1'");
    assert_int_equal(s->ops->commit(s), -EAGAIN);
    assert_int_equal(s->ops->health(s), LEDGER_AWAY);
    assert_int_equal(s->ops->recover(s, SCENE_NOW), 0);
    assert_string_equal(scene_history(s, A).text, "1>berta");
}

static void test_a_lock_of_somebody_else_is_not_waited_for_long(void **state)
{
    struct ledger_store *other = NULL;

    (void)state;
    scene_conf.query_timeout_ms = 200;
    reopen();
    other = open_as("node-2");
    assert_int_equal(other->ops->begin(other, true), 0);
    assert_int_equal(sq_do(sq_of(other), SQ_ALONE), 0);
    const struct ledger_quality q = {.call_id = scene_id(1), .user = A, .at_ms = SCENE_NOW};
    uint64_t n = 0;
    assert_int_equal(s->ops->begin(s, false), 0); /* readers do not wait */
    assert_int_equal(s->ops->badge(s, A, &n), 0);
    assert_int_equal(s->ops->commit(s), 0);
    assert_int_equal(s->ops->begin(s, true), -EAGAIN);
    s->ops->rollback(s);
    assert_int_equal(s->ops->health(s), LEDGER_TROUBLE);
    other->ops->rollback(other);
    assert_int_equal(s->ops->recover(s, SCENE_NOW), 0);
    assert_int_equal(DO(s, put_quality(s, &q)), 0);
    scene_close(other);
}

/* The process of the server that serves this store's connection. */
static pid_t backend(void)
{
    return (pid_t)strtol(pg_ask("SELECT pid FROM pg_stat_activity WHERE application_name='sori "
                                "node-1' ORDER BY backend_start LIMIT 1"),
                         NULL, 10);
}

static void test_a_database_that_does_not_answer_is_given_up(void **state)
{
    (void)state;
    scene_conf.query_timeout_ms = 200;
    reopen();
    scene_call(s, 1, A, B, SCENE_NOW, false);
    pid_t pid = backend();
    assert_true(pid > 1);
    kill(pid, SIGSTOP);
    assert_int_equal(s->ops->begin(s, true), -EAGAIN);
    assert_int_equal(s->ops->health(s), LEDGER_AWAY);
    assert_non_null(strstr(s->ops->detail(s), "query_timeout"));
    kill(pid, SIGCONT);
    assert_int_equal(s->ops->recover(s, SCENE_NOW), 0);
    assert_string_equal(scene_history(s, A).text, "1>berta");
}

/* A host that takes connections and says nothing. */
static int silent_host(char dir[80])
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(dir, 80, "%s/silent", scene_dir);
    assert_int_equal(mkdir(dir, 0700), 0);
    snprintf(a.sun_path, sizeof(a.sun_path), "%s/.s.PGSQL.5432", dir);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(fd, 8), 0);
    return fd;
}

static void test_a_host_that_says_nothing_leaves_time_for_the_next(void **state)
{
    char silent[80], where[320];
    int fd = silent_host(silent);

    (void)state;
    snprintf(where, sizeof(where), "host=%s,%s user=sori dbname=t%u", silent, pg_dir, pg_databases);
    scene_close(s);
    s = NULL;
    scene_conf.postgres = where;
    scene_conf.connect_timeout_ms = 2000;
    uint64_t began = clock_now_us();
    s = scene_open();
    assert_int_equal(s->ops->health(s), LEDGER_FINE);
    assert_true(clock_now_us() - began >= 900 * US_PER_MS); /* its half was given to the first */
    pg_sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name='sori "
           "node-1'");
    assert_int_equal(s->ops->begin(s, true), -EAGAIN);
    began = clock_now_us();
    assert_int_equal(s->ops->recover(s, SCENE_NOW), 0); /* begins with the one that worked */
    assert_true(clock_now_us() - began < 900 * US_PER_MS);
    close(fd);
}

/* ---- records that are refused ---- */

static void test_a_text_that_can_not_be_is_refused_alone(void **state)
{
    static const struct slice bad[] = {SLICE_LIT("an\0na"), SLICE_LIT("\xff\xfe")};

    (void)state;
    assert_int_equal(s->ops->begin(s, true), 0);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        const struct ledger_party party = {.user = bad[i], .role = LEDGER_CALLER};
        const struct ledger_call c = call_of(9, &party);
        assert_int_equal(s->ops->put_call(s, &c, true), -EIO);
        assert_int_equal(s->ops->touch(s, bad[i], bad[i], SCENE_NOW), -EIO);
    }
    const struct ledger_party party = {.user = A, .role = LEDGER_MEMBER};
    const struct ledger_call good = call_of(1, &party);
    assert_int_equal(s->ops->put_call(s, &good, true), 0);
    assert_int_equal(s->ops->commit(s), 0);
    assert_int_equal(scene_history(s, A).n, 1);
}

static void test_what_the_database_refuses_takes_others_along_only_once(void **state)
{
    const struct ledger_party party = {.user = A, .role = LEDGER_MEMBER};
    const struct ledger_push p = {
        .apns_id = SLICE_LIT("1"), .user = A, .kind = SLICE_LIT("voip"), .sent_ms = SCENE_NOW};
    const struct ledger_call good = call_of(1, &party);

    (void)state;
    assert_int_equal(DO(s, count_push(s, &p)), 0);
    pg_sql("UPDATE usage_push SET pushes=9223372036854775807");
    assert_int_equal(s->ops->begin(s, true), 0);
    assert_int_equal(s->ops->put_call(s, &good, true), 0);
    assert_int_equal(s->ops->count_push(s, &p), -EAGAIN);
    s->ops->rollback(s);
    assert_int_equal(s->ops->recover(s, SCENE_NOW), 0);
    assert_int_equal(s->ops->begin(s, true), 0);
    assert_int_equal(s->ops->put_call(s, &good, true), 0);
    assert_int_equal(s->ops->count_push(s, &p), -EIO);
    assert_int_equal(s->ops->commit(s), 0);
    assert_int_equal(scene_history(s, A).n, 1);
}

/* ---- several servers ---- */

static void test_who_is_erased_by_one_server_is_erased_for_all(void **state)
{
    struct ledger_store *other = open_as("node-2");
    struct ledger_privacy p;

    (void)state;
    scene_call(s, 1, A, B, SCENE_NOW, false);
    assert_int_equal(DO(other, erase(other, A, SLICE_LIT("user"), SCENE_NOW, &p)), 0);
    assert_int_equal(scene_device(s, A, "phone", "tok", SCENE_NOW), -EACCES);
    scene_sweep(other, SCENE_NOW + 31 * SCENE_DAY);
    assert_string_equal(scene_history(s, A).text, "");
    scene_call(s, 2, A, B, SCENE_NOW + SCENE_DAY, false); /* of before: it came late */
    assert_string_equal(scene_history(s, A).text, "");
    assert_int_equal(scene_history(s, B).n, 2);
    scene_close(other);
}

static void test_one_server_sweeps_at_a_time(void **state)
{
    struct ledger_store *other = open_as("node-2");
    bool more = false;

    (void)state;
    scene_call(s, 1, A, B, SCENE_NOW, false);
    assert_int_equal(DO(s, sweep(s, SCENE_NOW + 200 * SCENE_DAY, &more)), 0);
    assert_true(more);
    assert_int_equal(DO(other, sweep(other, SCENE_NOW, &more)), -EBUSY);
    scene_sweep(s, SCENE_NOW + 200 * SCENE_DAY);
    assert_int_equal(DO(other, sweep(other, SCENE_NOW, &more)), 0);
    assert_false(more);
    assert_int_equal(DO(s, sweep(s, SCENE_NOW, &more)), 0);
    scene_close(other);
}

static bool on_news(void *ctx, struct slice user)
{
    char *text = ctx;
    size_t n = strlen(text);

    snprintf(text + n, 512 - n, "%s%.*s", n > 0 ? " " : "", SLICE_FMT(user));
    return true;
}

/* What a store was told, or "": waits for a while, until there is something. */
static const char *news_of(struct ledger_store *v, int wait_ms)
{
    static char text[512];
    struct pollfd p = {.fd = v->ops->fd(v), .events = POLLIN};

    text[0] = '\0';
    do
        assert_int_equal(v->ops->news(v, on_news, text), 0);
    while (!*text && poll(&p, 1, wait_ms) > 0);
    return text;
}

static void test_servers_tell_each_other_whose_devices_changed(void **state)
{
    struct ledger_store *other = open_as("node-2");
    struct ledger_privacy p;

    (void)state;
    scene_device(s, A, "phone", "tok", SCENE_NOW);
    assert_string_equal(news_of(other, 5000), "anna@example.org");
    assert_string_equal(news_of(s, 0), ""); /* its own are none */
    scene_device(s, B, "phone", "tok", SCENE_NOW);
    const char *both = news_of(other, 5000);
    assert_non_null(strstr(both, "berta@example.org"));
    assert_non_null(strstr(both, "anna@example.org")); /* who lost it */
    assert_int_equal(DO(s, bad_token(s, SLICE_LIT("tok"), 0)), 0);
    assert_string_equal(news_of(other, 5000), "berta@example.org");
    assert_int_equal(DO(s, set_env(s, B, SLICE_LIT("phone"), LEDGER_PRODUCTION)), 0);
    assert_string_equal(news_of(other, 5000), "berta@example.org");
    assert_int_equal(DO(s, del_device(s, B, SLICE_LIT("phone"))), 0);
    assert_string_equal(news_of(other, 5000), "berta@example.org");
    assert_int_equal(DO(s, erase(s, A, SLICE_LIT("user"), SCENE_NOW, &p)), 0);
    assert_string_equal(news_of(other, 5000), "anna@example.org");
    scene_call(s, 1, A, B, SCENE_NOW, false); /* of no interest */
    assert_string_equal(news_of(other, 0), "");
    scene_close(other);
}

static bool on_anybody(void *ctx, struct slice user)
{
    *(int *)ctx += user.len == 0;
    return true;
}

static void test_news_that_were_missed_are_told_as_anybodys(void **state)
{
    struct ledger_store *other = open_as("node-2");
    int anybody = 0;

    (void)state;
    assert_int_equal(other->ops->news(other, on_anybody, &anybody), 0);
    assert_int_equal(anybody, 0); /* at the start all is read anyway */
    pg_sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name='sori "
           "node-2'");
    struct pollfd p = {.fd = other->ops->fd(other), .events = POLLIN};
    int rc = 0;
    for (int i = 0; i < 10 && rc == 0; i++) {
        assert_int_equal(poll(&p, 1, 5000), 1);
        rc = other->ops->news(other, on_anybody, &anybody);
    }
    assert_int_equal(rc, -EAGAIN); /* seen without a question being asked */
    assert_int_equal(other->ops->health(other), LEDGER_AWAY);
    scene_device(s, A, "phone", "tok", SCENE_NOW);
    assert_int_equal(other->ops->recover(other, SCENE_NOW), 0);
    assert_int_equal(other->ops->news(other, on_anybody, &anybody), 0);
    assert_int_equal(anybody, 1);
    assert_int_equal(other->ops->news(other, on_anybody, &anybody), 0);
    assert_int_equal(anybody, 1);
    scene_close(other);
}

struct asker {
    struct ledger_store *s;
    char prefix;
    bool ok;
};

static void *ask_many(void *arg)
{
    struct asker *a = arg;

    for (int i = 0; i < 40; i++) {
        char user[8];
        struct ledger_privacy p;
        int rc = -EAGAIN, tries = 0;
        snprintf(user, sizeof(user), "%c%d", a->prefix, i);
        while (rc == -EAGAIN && tries++ < 50) {
            rc = a->s->ops->begin(a->s, true);
            if (rc == 0)
                rc = a->s->ops->export(a->s, slice_str(user), SLICE_LIT("user"), SCENE_NOW, &p);
            if (rc == 0)
                rc = a->s->ops->commit(a->s);
            if (rc != 0) {
                a->s->ops->rollback(a->s);
                a->s->ops->recover(a->s, SCENE_NOW);
            }
        }
        if (rc != 0)
            return NULL;
    }
    a->ok = true;
    return NULL;
}

static void test_the_audit_log_is_one_chain(void **state)
{
    struct ledger_store *other = open_as("node-2");
    struct asker a = {s, 'a', false}, b = {other, 'b', false};
    pthread_t t;
    uint64_t seq = 0;

    (void)state;
    assert_int_equal(pthread_create(&t, NULL, ask_many, &b), 0);
    ask_many(&a);
    pthread_join(t, NULL);
    assert_true(a.ok && b.ok);
    pg_sql_is("SELECT count(*), max(seq) FROM audit", "80|80");
    assert_int_equal(ledger_sql_audit_verify(s, &seq), 0);
    pg_sql("UPDATE audit SET at_ms=at_ms+1 WHERE seq=17");
    assert_int_equal(ledger_sql_audit_verify(s, &seq), -EBADMSG);
    assert_int_equal(seq, 17);
    scene_close(other);
}

/* ---- what stays ---- */

static void test_no_row_of_an_erased_user_is_left_in_a_page(void **state)
{
    struct ledger_privacy p;
    uint64_t n;

    (void)state;
    scene_close(s);
    pg_scene_fresh();
    s = scene_open();
    pg_sql("CREATE EXTENSION pageinspect");
    for (unsigned i = 0; i < 20; i++)
        scene_call(s, i, A, C, SCENE_NOW + i, true);
    assert_int_equal(DO(s, erase(s, A, SLICE_LIT("user"), SCENE_NOW, &p)), 0);
    scene_sweep(s, SCENE_NOW + 31 * SCENE_DAY);
    uint64_t until = clock_now_us() + 20 * US_PER_S;
    do
        n = scene_badge(s, C); /* commits look how far it is */
    while (sq_of(s)->scrub && clock_now_us() < until);
    (void)n;
    /* Until the other connection has done what it was asked. */
    while (strcmp(pg_ask("SELECT count(*) FROM heap_page_items(get_raw_page('cdr_party', 0)) WHERE"
                         " position('anna@'::bytea in t_data)>0"),
                  "0") != 0)
        assert_true(clock_now_us() < until);
    pg_sql_is("SELECT count(*) FROM cdr_party", "20"); /* C's */
}

/* The list of the erased does what it does with SQLite: a restored backup loses them again. */
static void test_a_restored_backup_loses_the_erased_again(void **state)
{
    struct ledger_privacy p;

    (void)state;
    scene_call(s, 1, A, B, SCENE_NOW, false);
    scene_shell("pg_dump '%s' > '%s/backup.sql'", pg_where, scene_dir);
    assert_int_equal(DO(s, erase(s, A, SLICE_LIT("user"), SCENE_NOW + 1, &p)), 0);
    scene_sweep(s, SCENE_NOW + 31 * SCENE_DAY);
    scene_close(s);
    pg_scene_fresh();
    scene_shell("psql -qAt -v ON_ERROR_STOP=1 '%s' -f '%s/backup.sql' >/dev/null", pg_where,
                scene_dir);
    scene_shell("rm '%s/backup.sql'", scene_dir);
    s = scene_open();
    assert_string_equal(scene_history(s, A).text, "");
    assert_false(scene_greps("anna@example.org"));
    pg_sql_is("SELECT action FROM audit ORDER BY seq DESC LIMIT 1", "erased_again");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connection_strings_are_judged),
        T(test_what_was_committed_is_there_after_a_restart),
        T(test_several_servers_make_the_tables_at_once),
        T(test_two_servers_have_two_names),
        T(test_databases_of_others_are_left_alone),
        T(test_a_move_that_is_not_over_is_not_disturbed),
        T(test_another_secret_is_refused),
        T(test_a_crash_ends_the_calls_of_its_own_node_only),
        T(test_a_database_that_is_away_comes_back),
        T(test_a_connection_that_is_cut_loses_the_transaction_only),
        T(test_a_lock_of_somebody_else_is_not_waited_for_long),
        T(test_a_database_that_does_not_answer_is_given_up),
        T(test_a_host_that_says_nothing_leaves_time_for_the_next),
        T(test_a_text_that_can_not_be_is_refused_alone),
        T(test_what_the_database_refuses_takes_others_along_only_once),
        T(test_who_is_erased_by_one_server_is_erased_for_all),
        T(test_one_server_sweeps_at_a_time),
        T(test_servers_tell_each_other_whose_devices_changed),
        T(test_news_that_were_missed_are_told_as_anybodys),
        T(test_the_audit_log_is_one_chain),
        T(test_no_row_of_an_erased_user_is_left_in_a_page),
        T(test_a_restored_backup_loses_the_erased_again),
    };
    return cmocka_run_group_tests(tests, pg_scene_start, pg_scene_stop);
}
