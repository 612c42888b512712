/* One connection to PostgreSQL, on which nothing waits without a deadline.
 *
 * Called by ledger_store_pg*.c, on the ledger's thread. libpq's non-blocking calls: connect, send,
 * flush, read; between them poll() with what is left of the time. Who is late is disconnected: the
 * server ends the statement by itself then (statement_timeout). Only a name in the connection
 * string is resolved without a limit of ours (getaddrinfo).
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/ledger_store_pg_priv.h"

#include "base/clock.h"
#include "net/dial.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

enum { OPTIONS_MAX = 20, HOST_MAX = 256 };

static void note(struct pg_conn *c, const char *what)
{
    size_t n = strcspn(what, "\n"); /* libpq's texts have several lines */

    snprintf(c->detail, sizeof(c->detail), "%.*s", (int)(n < 400 ? n : 400), what);
}

void pg_close(struct pg_conn *c)
{
    if (c->pg)
        PQfinish(c->pg);
    c->pg = NULL;
}

/* Waits for the socket. 0, or -ETIMEDOUT. */
static int wait_for(PGconn *pg, short events, uint64_t until_us)
{
    struct pollfd p = {.fd = PQsocket(pg), .events = events};

    for (;;) {
        uint64_t now = clock_now_us();
        if (now >= until_us || p.fd < 0)
            return -ETIMEDOUT;
        int n = poll(&p, 1, (int)((until_us - now + US_PER_MS - 1) / US_PER_MS));
        if (n > 0)
            return 0;
        if (n == -1 && errno != EINTR)
            return -ETIMEDOUT;
    }
}

static void lose(struct pg_conn *c, const char *why)
{
    note(c, why ? why : PQerrorMessage(c->pg));
    dial_forget_unsent(PQsocket(c->pg)); /* it is done again over the next connection */
    pg_close(c);
}

void pg_lose(struct pg_conn *c)
{
    lose(c, NULL);
}

PGresult *pg_await(struct pg_conn *c, int sent, uint64_t timeout_ms)
{
    uint64_t until = clock_now_us() + timeout_ms * US_PER_MS;
    PGresult *kept = NULL;

    if (!c->pg)
        return NULL;
    if (!sent) {
        lose(c, NULL);
        return NULL;
    }
    for (;;) {
        int left = PQflush(c->pg);
        if (left >= 0 && !PQisBusy(c->pg)) {
            PGresult *r = PQgetResult(c->pg);
            if (!r)
                break;
            if (kept && PQresultStatus(kept) == PGRES_FATAL_ERROR) { /* the first error counts */
                PQclear(r);
            } else {
                PQclear(kept);
                kept = r;
            }
            if (PQresultStatus(kept) == PGRES_COPY_IN)
                break; /* it is given again until the data has come */
            continue;
        }
        bool late =
            left >= 0 && wait_for(c->pg, (short)(POLLIN | (left > 0 ? POLLOUT : 0)), until) != 0;
        if (left < 0 || late || !PQconsumeInput(c->pg)) {
            lose(c, late ? "the database does not answer in time ([ledger] query_timeout)" : NULL);
            PQclear(kept);
            return NULL;
        }
    }
    if (PQstatus(c->pg) == CONNECTION_BAD) {
        lose(c, kept ? PQresultErrorMessage(kept) : NULL);
        PQclear(kept);
        return NULL;
    }
    return kept;
}

PGresult *pg_exec(struct pg_conn *c, const char *sql, uint64_t timeout_ms)
{
    return pg_await(c, c->pg ? PQsendQuery(c->pg, sql) : 0, timeout_ms);
}

/* Warnings and notices of the server are its log's. */
static void on_notice(void *arg, const char *text)
{
    (void)arg;
    (void)text;
}

/* One of the hosts that a connection string names: each is tried by itself, so that one that does
 * not answer takes its share of the time only. */
struct hosts {
    PQconninfoOption *options;
    size_t n; /* 1 when it names none */
};

static const char *option(const struct hosts *h, const char *keyword)
{
    for (const PQconninfoOption *o = h->options; o && o->keyword; o++)
        if (strcmp(o->keyword, keyword) == 0)
            return o->val;
    return NULL;
}

static size_t parts_of(const char *list)
{
    size_t n = 1;

    for (; list && *list; list++)
        n += *list == ',';
    return n;
}

static void hosts_init(struct hosts *h, const char *where)
{
    h->options = PQconninfoParse(where, NULL); /* it was checked at the start */
    size_t names = parts_of(option(h, "host")), addresses = parts_of(option(h, "hostaddr"));
    h->n = names > addresses ? names : addresses;
}

/* Part i of a list with commas, in out; a list of one is for all. NULL: the list is not given. */
static const char *part(const struct hosts *h, const char *keyword, size_t i, char out[HOST_MAX])
{
    const char *p = option(h, keyword);

    if (!p)
        return NULL;
    for (size_t n = parts_of(p) == 1 ? 0 : i; n > 0 && p; n--) {
        p = strchr(p, ',');
        p = p ? p + 1 : NULL;
    }
    size_t len = p ? strcspn(p, ",") : 0;
    snprintf(out, HOST_MAX, "%.*s", (int)(len < HOST_MAX ? len : HOST_MAX - 1), p ? p : "");
    return out;
}

/* What the connection string may change stands before it, what it may not behind it. */
static PGconn *start(const struct pg_where *w, const struct hosts *h, size_t i)
{
    char host[HOST_MAX], address[HOST_MAX], port[HOST_MAX];
    const char *k[OPTIONS_MAX], *v[OPTIONS_MAX];
    size_t n = 0;
    const struct {
        const char *k, *v;
    } all[] = {
        {"sslmode", "verify-full"},           {"gssencmode", "disable"},
        {"target_session_attrs", w->session}, {"keepalives_idle", "10"},
        {"keepalives_interval", "3"},         {"keepalives_count", "3"},
        {"tcp_user_timeout", "15000"},        {"dbname", w->where},
        {"host", part(h, "host", i, host)},   {"hostaddr", part(h, "hostaddr", i, address)},
        {"port", part(h, "port", i, port)},   {"client_encoding", "UTF8"},
        {"application_name", w->name},        {"password", w->password},
    };

    for (size_t at = 0; at < ARRAY_LEN(all); at++) {
        if (!all[at].v)
            continue;
        k[n] = all[at].k;
        v[n++] = all[at].v;
    }
    k[n] = v[n] = NULL;
    return PQconnectStartParams(k, v, 1);
}

static int connect_by(struct pg_conn *c, uint64_t until_us)
{
    PostgresPollingStatusType want = PGRES_POLLING_WRITING;

    while (want != PGRES_POLLING_OK) {
        short events = want == PGRES_POLLING_READING ? POLLIN : POLLOUT;
        if (want == PGRES_POLLING_FAILED) {
            lose(c, NULL);
            return -EAGAIN;
        }
        if (wait_for(c->pg, events, until_us) != 0) {
            lose(c, "no connection in time ([ledger] connect_timeout)");
            return -EAGAIN;
        }
        want = PQconnectPoll(c->pg);
    }
    return 0;
}

static int connect_host(struct pg_conn *c, const struct pg_where *w, const struct hosts *h,
                        size_t i, uint64_t until)
{
    pg_close(c);
    c->pg = start(w, h, i);
    if (!c->pg) {
        note(c, "out of memory");
        return -EAGAIN;
    }
    if (PQstatus(c->pg) == CONNECTION_BAD) {
        lose(c, NULL);
        return -EAGAIN;
    }
    PQsetNoticeProcessor(c->pg, on_notice, NULL);
    return connect_by(c, until);
}

/* Begins with the one that worked last. */
static int connect_any(struct pg_conn *c, const struct pg_where *w)
{
    uint64_t until = clock_now_us() + w->connect_ms * US_PER_MS;
    struct hosts h;
    int rc = -EAGAIN;

    hosts_init(&h, w->where);
    for (size_t n = 0; n < h.n && rc != 0; n++) {
        uint64_t now = clock_now_us(), left = now < until ? until - now : 0;
        size_t i = (c->host + n) % h.n;
        rc = connect_host(c, w, &h, i, now + left / (h.n - n));
        if (rc == 0)
            c->host = i;
    }
    PQconninfoFree(h.options);
    return rc;
}

int pg_connect(struct pg_conn *c, const struct pg_where *w)
{
    char set[512];

    c->detail[0] = '\0';
    if (connect_any(c, w) != 0)
        return -EAGAIN;
    PQsetnonblocking(c->pg, 1);
    snprintf(set, sizeof(set),
             "SET statement_timeout=%u; SET lock_timeout=%u;"
             "SET idle_in_transaction_session_timeout=60000;"
             "SELECT set_config('synchronous_commit','on',false) WHERE"
             " current_setting('synchronous_commit')='off'",
             (unsigned)w->query_ms, (unsigned)w->query_ms);
    PGresult *r = pg_exec(c, set, w->connect_ms);
    if (r && PQresultStatus(r) == PGRES_FATAL_ERROR) {
        lose(c, PQresultErrorMessage(r));
        PQclear(r);
        return -EAGAIN;
    }
    PQclear(r);
    return r ? 0 : -EAGAIN;
}
