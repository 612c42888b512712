/* The registry of counters and its rendering in Prometheus text format 0.0.4.
 *
 * Called by owners of cells at start and by net/admin_http.c for each scrape. The registry is
 * guarded by a mutex; cells are read without one (relaxed loads of aligned words). Entries are kept
 * sorted by name and labels, so that equal ones are neighbours and a scrape is one pass.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/metrics.h"

#include "base/clock.h"
#include "base/mem.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>

enum { METRICS_GROWTH = 64, METRIC_LINE_FRAME = 80 }; /* frame: le="...", number, punctuation */

enum { METRIC_HISTOGRAM = METRIC_GAUGE + 1, METRIC_TALLY };

struct metric {
    const char *name, *labels, *help;
    int type;
    const void *cell; /* struct counter, histogram or tally */
};

struct metrics {
    pthread_mutex_t lock;
    struct metric *v;
    size_t n, cap;
};

void histogram_add(struct histogram *h, uint64_t us)
{
    /* Bucket i holds what is at most 2^i: the bits of us - 1. */
    size_t i = us <= 1 ? 0 : 64 - (size_t)__builtin_clzll(us - 1);

    counter_inc(&h->bucket[i < HISTOGRAM_BUCKETS ? i : HISTOGRAM_BUCKETS]);
    counter_add(&h->sum_us, us);
}

uint64_t histogram_quantile(const struct histogram *h, double q)
{
    uint64_t total = 0, seen = 0;

    for (size_t i = 0; i <= HISTOGRAM_BUCKETS; i++)
        total += counter_get(&h->bucket[i]);
    if (total == 0)
        return 0;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += counter_get(&h->bucket[i]);
        if (seen > 0 && (double)seen >= q * (double)total)
            return UINT64_C(1) << i;
    }
    return UINT64_MAX;
}

void tally_init(struct tally *t, const uint32_t *bounds, size_t n)
{
    assert(n > 0 && n <= TALLY_BOUNDS_MAX);
    *t = (struct tally){._bounds = bounds, ._n = n};
}

void tally_add(struct tally *t, uint32_t milli)
{
    size_t i = 0;

    while (i < t->_n && milli > t->_bounds[i])
        i++;
    counter_inc(&t->bucket[i]);
    counter_add(&t->sum_milli, milli);
}

struct metrics *metrics_new(void)
{
    struct metrics *m = mem_zalloc(sizeof(*m));

    if (m)
        pthread_mutex_init(&m->lock, NULL); /* glibc: cannot fail without attributes */
    return m;
}

void metrics_free(struct metrics *m)
{
    if (!m)
        return;
    pthread_mutex_destroy(&m->lock);
    mem_free(m->v);
    mem_free(m);
}

static int metric_order(const struct metric *a, const struct metric *b)
{
    int by_name = strcmp(a->name, b->name);

    return by_name != 0 ? by_name : strcmp(a->labels, b->labels);
}

/* Puts e behind its equals. */
static int metrics_insert(struct metrics *m, const struct metric *e)
{
    if (m->n == m->cap) {
        struct metric *v = mem_realloc(m->v, (m->cap + METRICS_GROWTH) * sizeof(*v));
        if (!v)
            return -ENOMEM;
        m->v = v;
        m->cap += METRICS_GROWTH;
    }
    size_t at = m->n;
    while (at > 0 && metric_order(&m->v[at - 1], e) > 0)
        at--;
    /* One name has one type: anything else is a bug of the caller. */
    assert(at == 0 || strcmp(m->v[at - 1].name, e->name) != 0 || m->v[at - 1].type == e->type);
    memmove(m->v + at + 1, m->v + at, (m->n - at) * sizeof(*m->v));
    m->v[at] = *e;
    m->n++;
    return 0;
}

static int metrics_insert_locked(struct metrics *m, const struct metric *e)
{
    pthread_mutex_lock(&m->lock);
    int err = metrics_insert(m, e);
    pthread_mutex_unlock(&m->lock);
    return err;
}

int metrics_add(struct metrics *m, const char *name, const char *labels, const char *help,
                enum metric_type type, const struct counter *cell)
{
    return metrics_insert_locked(m, &(struct metric){name, labels, help, (int)type, cell});
}

int metrics_add_histogram(struct metrics *m, const char *name, const char *labels, const char *help,
                          const struct histogram *h)
{
    return metrics_insert_locked(m, &(struct metric){name, labels, help, METRIC_HISTOGRAM, h});
}

int metrics_add_tally(struct metrics *m, const char *name, const char *labels, const char *help,
                      const struct tally *t)
{
    return metrics_insert_locked(m, &(struct metric){name, labels, help, METRIC_TALLY, t});
}

/* Bytes that rendering everything takes at most; cells of equal name and labels share a line. */
static size_t metrics_bound(const struct metrics *m)
{
    size_t sum = 1;

    for (size_t i = 0; i < m->n; i++) {
        const struct metric *e = &m->v[i];
        size_t name = strlen(e->name), line = name + strlen(e->labels) + METRIC_LINE_FRAME;
        size_t lines = e->type >= METRIC_HISTOGRAM ? HISTOGRAM_BUCKETS + 3 : 1;
        sum += lines * line + 2 * (name + METRIC_LINE_FRAME) + 2 * strlen(e->help);
    }
    return sum;
}

static void put_head(struct wr *w, const struct metric *e)
{
    static const char *const types[] = {"counter", "gauge", "histogram", "histogram"};

    wr_fmt(w, "# HELP %s ", e->name);
    for (const char *c = e->help; *c; c++) {
        if (*c == '\\' || *c == '\n')
            wr_u8(w, '\\');
        wr_u8(w, *c == '\n' ? 'n' : (uint8_t)*c);
    }
    wr_fmt(w, "\n# TYPE %s %s\n", e->name, types[e->type]);
}

/* Writes `name suffix {labels,le="..."} ` up to the value. */
static void put_series(struct wr *w, const struct metric *e, const char *suffix, const char *le)
{
    bool has_labels = e->labels[0] != '\0', braces = has_labels || le;

    wr_str(w, e->name);
    wr_str(w, suffix);
    wr_str(w, braces ? "{" : "");
    wr_str(w, e->labels);
    wr_str(w, has_labels && le ? "," : "");
    wr_str(w, le ? "le=\"" : "");
    wr_str(w, le ? le : "");
    wr_str(w, le ? "\"" : "");
    wr_str(w, braces ? "} " : " ");
}

static void put_seconds(struct wr *w, uint64_t us)
{
    wr_fmt(w, "%llu.%06llu", (unsigned long long)(us / US_PER_S),
           (unsigned long long)(us % US_PER_S));
}

static void put_value(struct wr *w, const struct metric *e, size_t n)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += counter_get(e[i].cell);
    put_series(w, e, "", NULL);
    if (e->type == METRIC_GAUGE && sum > INT64_MAX) { /* gauges of workers may go below zero */
        wr_u8(w, '-');
        sum = -sum;
    }
    wr_u64(w, sum);
    wr_u8(w, '\n');
}

static void put_milli(struct wr *w, uint64_t milli)
{
    wr_fmt(w, "%llu.%03u", (unsigned long long)(milli / 1000), (unsigned)(milli % 1000));
}

/* One counter of all n cells; at: where it is in each. */
static uint64_t sum_at(const struct metric *e, size_t n, size_t at)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += counter_get((const struct counter *)(const void *)((const char *)e[i].cell + at));
    return sum;
}

/* A struct histogram or a struct tally. */
static void put_distribution(struct wr *w, const struct metric *e, size_t n)
{
    const struct tally *t = e->type == METRIC_TALLY ? e->cell : NULL;
    void (*put)(struct wr * w, uint64_t v) = t ? put_milli : put_seconds;
    size_t buckets = t ? t->_n : HISTOGRAM_BUCKETS;
    size_t at = t ? offsetof(struct tally, bucket) : offsetof(struct histogram, bucket);
    uint64_t count = 0;

    for (size_t b = 0; b <= buckets; b++, at += sizeof(struct counter)) {
        uint8_t text[32];
        struct wr le = wr_init(text, sizeof(text));
        if (b < buckets)
            put(&le, t ? t->_bounds[b] : UINT64_C(1) << b);
        else
            wr_str(&le, "+Inf");
        wr_u8(&le, '\0');
        count += sum_at(e, n, at);
        put_series(w, e, "_bucket", (const char *)text);
        wr_u64(w, count);
        wr_u8(w, '\n');
    }
    put_series(w, e, "_sum", NULL);
    put(w,
        sum_at(e, n, t ? offsetof(struct tally, sum_milli) : offsetof(struct histogram, sum_us)));
    wr_u8(w, '\n');
    put_series(w, e, "_count", NULL);
    wr_u64(w, count);
    wr_u8(w, '\n');
}

static void metrics_put_all(const struct metrics *m, struct wr *w)
{
    for (size_t i = 0, n; i < m->n; i += n) {
        const struct metric *e = &m->v[i];

        for (n = 1; i + n < m->n && metric_order(e, e + n) == 0; n++)
            ;
        if (i == 0 || strcmp(e[-1].name, e->name) != 0)
            put_head(w, e);
        if (e->type >= METRIC_HISTOGRAM)
            put_distribution(w, e, n);
        else
            put_value(w, e, n);
    }
}

char *metrics_render(struct metrics *m, size_t *len)
{
    pthread_mutex_lock(&m->lock);
    size_t cap = metrics_bound(m);
    char *text = mem_zalloc(cap);
    struct wr w = wr_init(text, text ? cap : 0);
    if (text)
        metrics_put_all(m, &w);
    pthread_mutex_unlock(&m->lock);
    assert(!w.bad);
    if (text)
        *len = w.len;
    return text;
}
