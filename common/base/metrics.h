/* Counters, gauges and histograms in Prometheus text form.
 *
 * A counter is a plain 64-bit cell that one thread writes (no lock, no read-modify-write atomic)
 * and the metrics thread reads. Several cells may be registered under the same name and labels (one
 * per worker): their values are summed. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_BASE_METRICS_H
#define SORI_BASE_METRICS_H

#include "base/bytes.h"

enum metric_type { METRIC_COUNTER, METRIC_GAUGE };

struct counter {
    uint64_t _v;
};

/* Owner thread only. */
static inline void counter_add(struct counter *c, uint64_t n)
{
    __atomic_store_n(&c->_v, c->_v + n, __ATOMIC_RELAXED);
}
static inline void counter_inc(struct counter *c)
{
    counter_add(c, 1);
}
static inline void counter_sub(struct counter *c, uint64_t n) /* gauges */
{
    __atomic_store_n(&c->_v, c->_v - n, __ATOMIC_RELAXED);
}
/* Any thread. */
static inline uint64_t counter_get(const struct counter *c)
{
    return __atomic_load_n(&c->_v, __ATOMIC_RELAXED);
}

/* A latency histogram with powers of two buckets from 1 us to 2^25 us (33 s), exported in seconds.
 */
#define HISTOGRAM_BUCKETS 26
struct histogram {
    struct counter bucket[HISTOGRAM_BUCKETS + 1], sum_us;
};
void histogram_add(struct histogram *h, uint64_t us); /* owner thread only */
/* Upper bound in us of the bucket that holds quantile q (0..1); 0 when empty, UINT64_MAX when it is
 * above the largest bucket. */
uint64_t histogram_quantile(const struct histogram *h, double q);

/* A histogram of something that is no time, with bounds of its own; everything in thousandths. */
#define TALLY_BOUNDS_MAX 12
struct tally {
    const uint32_t *_bounds; /* rising */
    size_t _n;
    struct counter bucket[TALLY_BOUNDS_MAX + 1], sum_milli;
};
/* Empty. bounds: 1 to TALLY_BOUNDS_MAX of them, which outlive it. */
void tally_init(struct tally *t, const uint32_t *bounds, size_t n);
void tally_add(struct tally *t, uint32_t milli); /* owner thread only */

struct metrics;

/* An empty registry, or NULL. metrics_free(NULL) is allowed; the cells stay their owners'. */
struct metrics *metrics_new(void);
void metrics_free(struct metrics *m);

/* Registers a cell. name ends in its unit and, for counters, _total; labels is "" or
 * `reason="bad_json"` without braces (literal text that outlives the registry). One name has
 * one type. The cell must outlive the registry. Returns 0 or -ENOMEM. Thread safe. */
int metrics_add(struct metrics *m, const char *name, const char *labels, const char *help,
                enum metric_type type, const struct counter *cell);
int metrics_add_histogram(struct metrics *m, const char *name, const char *labels, const char *help,
                          const struct histogram *h);
int metrics_add_tally(struct metrics *m, const char *name, const char *labels, const char *help,
                      const struct tally *t);

/* Renders everything in Prometheus text format 0.0.4 into heap memory (mem_free), *len bytes.
 * Returns NULL when memory is out. Thread safe. */
char *metrics_render(struct metrics *m, size_t *len);

#endif
