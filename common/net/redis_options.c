/* Where Redis is: options checked and put into the form that net/redis_link.h takes.
 *
 * Called by server/redis_conf.c and net/registrar.c. Pure. SPDX-License-Identifier: BSD-3-Clause */
#include "net/redis_options.h"

#include <stdio.h>

#define PORT          6379
#define SENTINEL_PORT 26379
#define REPLY_BYTES   ((size_t)4 << 20) /* of one reply: a user's devices, a portion of a stream */
#define REPLY_VALUES  ((size_t)65536)
#define RETRY_MIN_US  (100 * US_PER_MS)
#define RETRY_MAX_US  (1 * US_PER_S)
#define IDLE_US       (2 * US_PER_S) /* silence before PING: a dead path is found by it */
#define QUEUE         64             /* where no option says it: few commands, all of them small */
#define QUEUE_BYTES   ((size_t)1 << 20)

bool redis_options_wanted(const struct redis_options *o)
{
    return o->servers.n + o->sentinels.n > 0;
}

static const char *wrong_entry(const struct conf_list *l, const char *section, const char *name,
                               uint16_t port, char buf[CONF_ERR_MAX])
{
    struct redis_endpoint e;

    if (l->n > REDIS_ENDPOINTS_MAX) {
        snprintf(buf, CONF_ERR_MAX, "[%s] %s: more than %d", section, name, REDIS_ENDPOINTS_MAX);
        return buf;
    }
    for (size_t i = 0; i < l->n; i++)
        if (redis_endpoint_parse(&e, slice_str(l->v[i]), port) != 0) {
            snprintf(buf, CONF_ERR_MAX,
                     "[%s] %s = %.200s: host, host:port, [IPv6]:port or unix:PATH is expected",
                     section, name, l->v[i]);
            return buf;
        }
    return NULL;
}

static const char *wrong_together(const struct redis_options *o)
{
    bool tls_files = *o->ca_file || *o->cert_file || *o->tls_name;

    if (o->servers.n > 0 && o->sentinels.n > 0)
        return "servers, sentinels: name one of them; Sentinels tell where the servers are";
    if (o->sentinels.n > 0 && !*o->master)
        return "master: the Sentinels need the name they know it by";
    if (tls_files && !o->tls)
        return "ca_file, cert_file, tls_name: need tls = yes";
    if (*o->cert_file && !*o->key_file)
        return "cert_file: its key_file is missing";
    if (*o->username && o->password.len == 0)
        return "username: its password_file is missing";
    if (*o->sentinel_username && o->sentinel_password.len == 0)
        return "sentinel_username: its sentinel_password_file is missing";
    if (o->lease_s * 1000 < 3 * o->timeout_ms)
        return "lease: at least three times the timeout, or one late answer ends it";
    return NULL;
}

const char *redis_options_wrong(const struct redis_options *o, const char *section,
                                char buf[CONF_ERR_MAX])
{
    const char *wrong = wrong_entry(&o->servers, section, "servers", PORT, buf);

    if (!wrong)
        wrong = wrong_entry(&o->sentinels, section, "sentinels", SENTINEL_PORT, buf);
    if (wrong || !redis_options_wanted(o))
        return wrong;
    wrong = wrong_together(o);
    if (!wrong)
        return NULL;
    snprintf(buf, CONF_ERR_MAX, "[%s] %s", section, wrong);
    return buf;
}

static struct slice secret_of(const struct conf_secret *s)
{
    return slice_of(s->p, s->len);
}

void redis_options_client(const struct redis_options *o,
                          struct redis_endpoint at[REDIS_ENDPOINTS_MAX],
                          struct redis_client_conf *out)
{
    bool sentinels = o->sentinels.n > 0;
    const struct conf_list *l = sentinels ? &o->sentinels : &o->servers;
    uint64_t timeout_us = o->timeout_ms * US_PER_MS;

    for (size_t i = 0; i < l->n; i++)
        (void)redis_endpoint_parse(&at[i], slice_str(l->v[i]), sentinels ? SENTINEL_PORT : PORT);
    *out = (struct redis_client_conf){
        .at = at,
        .at_n = l->n,
        .master = sentinels ? slice_str(o->master) : (struct slice){0},
        .user = slice_str(o->username),
        .password = secret_of(&o->password),
        .sentinel_user = slice_str(o->sentinel_username),
        .sentinel_password = secret_of(&o->sentinel_password),
        .database = (unsigned)o->database,
        .timeout_us = timeout_us,
        .open_us = 2 * timeout_us,
        .dead_us = timeout_us,
        .idle_us = IDLE_US,
        .retry_min_us = RETRY_MIN_US,
        .retry_max_us = RETRY_MAX_US,
        .calls_max = o->queue ? o->queue : QUEUE,
        .bytes_max = o->queue_bytes ? o->queue_bytes : QUEUE_BYTES,
        .reply_bytes = REPLY_BYTES,
        .reply_values = REPLY_VALUES,
    };
}
