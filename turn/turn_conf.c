/* sori-turn's configuration.
 *
 * Called by main.c at start, for --check-config and at a reload. The options are in
 * turn_options.c. SPDX-License-Identifier: BSD-3-Clause */
#include "turn/turn_conf.h"

#include <errno.h>

#include "proto/chandata.h"
#include "proto/node_record.h"
#include "turn/turn_options.h"

#define HOST_LABEL_MAX 63
#define WANT_REALM     "want 1 to 127 bytes of composed UTF-8 (NFC) without quotes and backslashes"

static int fail(char err[CONF_ERR_MAX], const char *what, struct slice value)
{
    snprintf(err, CONF_ERR_MAX, "%s: \"%.*s\"", what, SLICE_FMT(value));
    return -EINVAL;
}

/* Parses a list of addresses; with_port: each must name a port (0 = the kernel's choice is not
 * accepted), or none may. */
static int parse_addrs(const struct conf_list *text, struct addr *out, size_t max, size_t *n,
                       bool with_port, const char *name, char err[CONF_ERR_MAX])
{
    for (size_t i = 0; i < text->n; i++) {
        struct slice s = slice_str(text->v[i]);
        if (*n == max)
            return fail(err, "too many addresses", s);
        if (addr_parse(&out[*n], s) != 0 || (out[*n].port != 0) != with_port)
            return fail(err, name, s);
        (*n)++;
    }
    return 0;
}

static int parse_external(struct turn_conf *c, char err[CONF_ERR_MAX])
{
    static const char want[] = "[turn] external_addresses: want public=private, same family";

    for (size_t i = 0; i < c->external_text.n; i++) {
        struct slice s = slice_str(c->external_text.v[i]);
        const uint8_t *eq = memchr(s.p, '=', s.len);
        struct turn_external e = {0};
        if (!eq || c->n_external == ARRAY_LEN(c->external))
            return fail(err, want, s);
        size_t at = (size_t)(eq - s.p);
        if (addr_parse(&e.shown, slice_sub(s, 0, at)) != 0 ||
            addr_parse(&e.bound, slice_sub(s, at + 1, SIZE_MAX)) != 0 || e.shown.port ||
            e.bound.port || e.shown.family != e.bound.family)
            return fail(err, want, s);
        c->external[c->n_external++] = e;
    }
    return 0;
}

static int parse_alternates(struct turn_conf *c, char err[CONF_ERR_MAX])
{
    struct addr v[2];
    size_t n = 0;
    int e = parse_addrs(&c->alternate_text, v, ARRAY_LEN(v), &n, true,
                        "[turn] alternate_servers: want ip:port", err);

    for (size_t i = 0; !e && i < n; i++) {
        struct addr *slot = &c->alternate[v[i].family == ADDR_V6];
        if (slot->family != ADDR_NONE)
            e = fail(err, "[turn] alternate_servers: one per family",
                     slice_str(c->alternate_text.v[i]));
        *slot = v[i];
    }
    return e;
}

/* Cuts each CERT:KEY in place. */
static int parse_certs(struct turn_conf *c, char err[CONF_ERR_MAX])
{
    c->certs[c->n_certs++] = (struct turn_cert){c->cert_file, c->key_file};
    for (size_t i = 0; i < c->more_certs_text.n; i++) {
        char *text = c->more_certs_text.v[i], *colon = strchr(text, ':');
        if (!colon || colon == text || colon[1] == '\0')
            return fail(err, "[tls] more_certificates: want CERT:KEY", slice_str(text));
        if (c->n_certs == ARRAY_LEN(c->certs))
            return fail(err, "[tls] more_certificates: too many", slice_str(text));
        *colon = '\0';
        c->certs[c->n_certs++] = (struct turn_cert){text, colon + 1};
    }
    return 0;
}

static struct turn_realm_conf *realm_at(const struct turn_conf *c, size_t i)
{
    return (struct turn_realm_conf *)c->realms.v + i;
}

static size_t count_secrets(const struct turn_conf *c)
{
    return c->more_secrets.n + (c->secret.len > 0 ? 1 : 0) + (c->previous_secret.len > 0 ? 1 : 0);
}

/* Keys are of no use without a name, and a name without keys promises what we cannot do. */
static bool is_whole(const struct conf_secret *keys, const char *server)
{
    return (keys->len > 0) == (server[0] != '\0');
}

/* Users or secrets come from Redis. */
static bool knows_others(const struct turn_conf *c)
{
    return turn_conf_wants_redis(c) && (c->redis_users || c->redis_secrets);
}

/* Another realm must be told from the others, be of use, and be closed. */
static int parse_realm(struct turn_conf *c, struct turn_realm_conf *r, size_t before,
                       char err[CONF_ERR_MAX])
{
    size_t hosts = r->hosts.n;

    for (size_t i = 0; i < before; i++)
        hosts += realm_at(c, i)->hosts.n;
    if (!realm_name_fits(slice_str(r->name)))
        return fail(err, "[realm]: " WANT_REALM, slice_str(r->name));
    if (slice_is(slice_str(r->name), c->realm))
        return fail(err, "[realm]: the default realm has this name ([turn] realm)",
                    slice_str(r->name));
    if (r->listeners_text.n + r->hosts.n + r->origins.n == 0)
        return fail(err, "[realm]: needs listeners, sni or origins to be chosen by",
                    slice_str(r->name));
    if (!is_whole(&r->access_keys, r->server))
        return fail(err, "[realm]: oauth_keys_file and oauth_server_name go together",
                    slice_str(r->name));
    if (r->secrets.n == 0 && r->users.len == 0 && r->access_keys.len == 0 && !knows_others(c))
        return fail(err, "[realm]: needs secret_files or users_file", slice_str(r->name));
    if (r->secrets.n > TURN_SECRETS_MAX)
        return fail(err, "[realm] secret_files: more than 8", slice_str(r->name));
    if (r->origins.n > REALM_ORIGINS_MAX || hosts > REALM_HOSTS_MAX)
        return fail(err, "[realm]: more than 16 origins, or more than 64 sni in all",
                    slice_str(r->name));
    if (r->hosts.n > 0 && !turn_conf_wants_tls(c))
        return fail(err, "[realm] sni: needs [turn] listen_tls or [tls] on_tcp_ports",
                    slice_str(r->name));
    return parse_addrs(&r->listeners_text, r->listeners, ARRAY_LEN(r->listeners), &r->n_listeners,
                       true, "[realm] listeners: want ip:port", err);
}

static int parse_realms(struct turn_conf *c, char err[CONF_ERR_MAX])
{
    int e = 0;

    for (size_t i = 0; !e && i < c->realms.n; i++)
        e = parse_realm(c, realm_at(c, i), i, err);
    return e;
}

static int parse_lists(struct turn_conf *c, char err[CONF_ERR_MAX])
{
    int e = parse_addrs(&c->listen_udp_text, c->listen_udp, ARRAY_LEN(c->listen_udp), &c->n_udp,
                        true, "[turn] listen_udp: want ip:port", err);
    if (!e)
        e = parse_addrs(&c->listen_tcp_text, c->listen_tcp, ARRAY_LEN(c->listen_tcp), &c->n_tcp,
                        true, "[turn] listen_tcp: want ip:port", err);
    if (!e)
        e = parse_addrs(&c->listen_tls_text, c->listen_tls, ARRAY_LEN(c->listen_tls), &c->n_tls,
                        true, "[turn] listen_tls: want ip:port", err);
    if (!e)
        e = parse_addrs(&c->relay_text, c->relay, ARRAY_LEN(c->relay), &c->n_relay, false,
                        "[turn] relay_addresses: want ip without port", err);
    if (!e)
        e = parse_alternates(c, err);
    if (!e)
        e = parse_certs(c, err);
    if (!e)
        e = parse_realms(c, err);
    return e ? e : parse_external(c, err);
}

/* Letters, digits and hyphens between dots (RFC 1123), of whatever length the option allows. */
static bool is_host_name(const char *s)
{
    size_t label = 0;

    for (; *s; s++) {
        bool good = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') ||
                    (*s >= '0' && *s <= '9') || (*s == '-' && label > 0);
        if (*s == '.' ? label == 0 : !good || label == HOST_LABEL_MAX)
            return false;
        label = *s == '.' ? 0 : label + 1;
    }
    return label > 0;
}

/* What is wrong with [cluster], in buf or as a text that stays; NULL: nothing. */
static const char *wrong_cluster(const struct turn_conf *c, char buf[CONF_ERR_MAX])
{
    const char *wrong = redis_options_wrong(&c->cluster.redis, "cluster", buf);
    struct slice region = turn_conf_cluster_region(c);

    if (wrong || !redis_options_wanted(&c->cluster.redis))
        return wrong;
    if (!node_record_name_ok(turn_conf_cluster_node(c)))
        return "[cluster] node (or [usage] node): 1 to 64 of A-Z a-z 0-9 . _ - are needed, another "
               "name for each relay";
    if (region.len > 0 && !node_record_name_ok(region))
        return "[cluster] region (or [usage] region): A-Z a-z 0-9 . _ - only";
    if (c->cluster.urls.n > NODE_RECORD_AT_MAX)
        return "[cluster] urls: more than 16";
    if (!c->stun_only && count_secrets(c) == 0 && !c->redis_secrets)
        return "[cluster]: [auth] secret_file is needed, the one of sori-server's [turn]: clients "
               "come with credentials that it grants";
    for (size_t i = 0; i < c->cluster.urls.n; i++) {
        struct slice url = slice_str(c->cluster.urls.v[i]);
        if (node_record_place_ok(NODE_RELAY, url))
            continue;
        snprintf(buf, CONF_ERR_MAX,
                 "[cluster] urls = %.200s: want stun:, turn: or turns:, host, and maybe :port and "
                 "?transport=udp",
                 c->cluster.urls.v[i]);
        return buf;
    }
    return NULL;
}

/* Checks that cannot be made option by option. */
static int check(const struct turn_conf *c, char err[CONF_ERR_MAX])
{
    const char *what = NULL;

    if (c->min_port > c->max_port)
        what = "[turn] min_port: must not be above max_port";
    else if (c->default_lifetime_s > c->max_lifetime_s)
        what = "[turn] default_lifetime: must not be above max_lifetime";
    else if (!realm_name_fits(slice_str(c->realm)))
        what = "[turn] realm: " WANT_REALM;
    else if (c->alternate_text.n == 0 && (c->alternate_when_full || c->alternate_domain[0] != '\0'))
        what = "[turn] alternate_domain, alternate_when_full: need alternate_servers";
    else if (c->alternate_domain[0] != '\0' && !is_host_name(c->alternate_domain))
        what = "[turn] alternate_domain: want a host name";
    else if (c->n_udp + c->n_tcp + c->n_tls == 0)
        what = "[turn] listen_udp, listen_tcp, listen_tls: at least one address is needed";
    else if (c->n_relay == 0 && c->n_udp == 0 && !c->stun_only)
        what = "[turn] relay_addresses: needed when listen_udp is empty";
    else if (turn_conf_wants_tls(c) && (c->cert_file[0] == '\0' || c->key_file[0] == '\0'))
        what =
            "[tls] cert_file and key_file: needed by [turn] listen_tls, [tls] on_tcp_ports, dtls";
    else if (count_secrets(c) > TURN_SECRETS_MAX)
        what = "[auth] secret_files: more than 8 secrets in all";
    else if (!is_whole(&c->access_keys, c->server))
        what = "[auth] oauth_keys_file and oauth_server_name: go together";
    else if (c->redis.family != ADDR_NONE && (c->redis.port == 0 || c->redis_socket[0] != '\0'))
        what = "[redis] address: needs a port, and excludes socket";
    else if (!turn_conf_wants_redis(c) && (c->redis_users || c->redis_secrets || c->redis_usage))
        what = "[redis] users, secrets, usage: need address or socket, or [cluster]";
    else if (!c->stun_only && count_secrets(c) + c->users.len + c->access_keys.len == 0 &&
             !knows_others(c))
        what = "[auth] secret_file or users_file: needed, an open relay is not started "
               "([turn] stun_only = yes needs neither)";
    char buf[CONF_ERR_MAX];
    if (!what)
        what = wrong_cluster(c, buf);
    if (!what)
        return 0;
    snprintf(err, CONF_ERR_MAX, "%s", what);
    return -EINVAL;
}

static int complete(struct turn_conf *c, int loaded, char err[CONF_ERR_MAX])
{
    if (loaded)
        return loaded;
    int e = parse_lists(c, err);
    if (!e)
        e = check(c, err);
    if (e)
        turn_conf_free(c);
    return e;
}

int turn_conf_load(struct turn_conf *c, const char *path, char err[CONF_ERR_MAX])
{
    return complete(c, conf_load(turn_options, turn_options_n, c, path, err), err);
}

int turn_conf_load_text(struct turn_conf *c, struct slice text, const char *name,
                        char err[CONF_ERR_MAX])
{
    return complete(c, conf_load_text(turn_options, turn_options_n, c, text, name, err), err);
}

void turn_conf_free(struct turn_conf *c)
{
    conf_free(turn_options, turn_options_n, c);
    *c = (struct turn_conf){0};
}

void turn_conf_print(FILE *f)
{
    conf_print(turn_options, turn_options_n, f);
}

static struct slice either(const char *a, const char *b)
{
    return slice_str(a[0] != '\0' ? a : b);
}

struct slice turn_conf_cluster_node(const struct turn_conf *c)
{
    return either(c->cluster.node, c->usage_node);
}

struct slice turn_conf_cluster_region(const struct turn_conf *c)
{
    return either(c->cluster.region, c->usage_region);
}

bool turn_conf_wants_redis(const struct turn_conf *c)
{
    return c->redis.family != ADDR_NONE || c->redis_socket[0] != '\0' ||
           (redis_options_wanted(&c->cluster.redis) &&
            (c->redis_users || c->redis_secrets || c->redis_usage));
}

struct key_cache_conf turn_conf_key_cache(const struct turn_conf *c)
{
    return (struct key_cache_conf){
        .found_us = c->redis_found_s * US_PER_S,
        .absent_us = c->redis_absent_s * US_PER_S,
        .stale_us = c->redis_stale_s * US_PER_S,
        .asked_us = 2 * c->redis_timeout_ms * US_PER_MS,
        .failed_us = US_PER_S,
        .entries = (unsigned)c->redis_entries,
        .asked = (unsigned)(c->redis_asked < c->redis_entries ? c->redis_asked : c->redis_entries),
    };
}

unsigned turn_conf_realms(const struct turn_conf *c)
{
    return 1 + (unsigned)c->realms.n;
}

static void view_secret(struct turn_realm_view *v, const struct conf_secret *s)
{
    if (s->len > 0)
        v->secrets[v->n_secrets++] = slice_of(s->p, s->len);
}

struct turn_realm_view turn_conf_realm(const struct turn_conf *c, unsigned i)
{
    struct turn_realm_view v = {.name = slice_str(c->realm)};
    const struct turn_realm_conf *r = i > 0 ? realm_at(c, i - 1) : NULL;
    const struct conf_secrets *more = r ? &r->secrets : &c->more_secrets;
    const struct conf_secret *users = r ? &r->users : &c->users;
    const struct conf_secret *keys = r ? &r->access_keys : &c->access_keys;

    if (r)
        v.name = slice_str(r->name);
    v.conf = r;
    v.users = slice_of(users->p, users->len);
    v.access_keys = slice_of(keys->p, keys->len);
    v.server = slice_str(r ? r->server : c->server);
    if (!r) {
        view_secret(&v, &c->secret);
        view_secret(&v, &c->previous_secret);
    }
    for (size_t k = 0; k < more->n; k++)
        view_secret(&v, &more->v[k]);
    v.rule = (struct quota_rule){
        .per_account = r ? r->per_user : c->per_user,
        .total = r ? r->total : 0,
        .bytes = throttle_rule_bytes(r ? r->user_bandwidth : c->user_bandwidth),
    };
    return v;
}

static void add_path(const struct conf_secret *s, const char **paths, size_t max, size_t *n)
{
    if (s->path && *n < max && !slice_starts(slice_str(s->path), SLICE_LIT("credential:")))
        paths[(*n)++] = s->path;
}

size_t turn_conf_auth_files(const struct turn_conf *c, const char **paths, size_t max)
{
    size_t n = 0;

    add_path(&c->secret, paths, max, &n);
    add_path(&c->previous_secret, paths, max, &n);
    add_path(&c->users, paths, max, &n);
    add_path(&c->access_keys, paths, max, &n);
    for (size_t i = 0; i < c->more_secrets.n; i++)
        add_path(&c->more_secrets.v[i], paths, max, &n);
    for (size_t k = 0; k < c->realms.n; k++) {
        const struct turn_realm_conf *r = realm_at(c, k);
        add_path(&r->users, paths, max, &n);
        add_path(&r->access_keys, paths, max, &n);
        for (size_t i = 0; i < r->secrets.n; i++)
            add_path(&r->secrets.v[i], paths, max, &n);
    }
    return n;
}

struct turn_limits turn_conf_limits(const struct turn_conf *c)
{
    uint32_t packets = (uint32_t)c->packets_per_s;

    return (struct turn_limits){
        .default_lifetime_s = (uint32_t)c->default_lifetime_s,
        .max_lifetime_s = (uint32_t)c->max_lifetime_s,
        .nonce_lifetime_s = (uint32_t)c->nonce_lifetime_s,
        .channel_max = c->channel_range == TURN_CHANNELS_STRICT ? CHANDATA_CHANNEL_STRICT_MAX
                                                                : CHANDATA_CHANNEL_MAX,
        .stun_only = c->stun_only,
        .mobility = c->mobility,
        .tcp_allocations = c->tcp_allocations,
        .media_quality = c->media_quality,
        .tcp_per_allocation = (unsigned)c->tcp_per_allocation,
        .tcp_connect_us = c->tcp_connect_s * US_PER_S,
        .tcp_bind_us = c->tcp_bind_s * US_PER_S,
        .sha256 = (enum turn_sha256)c->sha256,
        .throttle =
            {
                .bandwidth = throttle_rule_bytes(c->bandwidth),
                .packets = {packets * 1000, packets}, /* a second's worth at once */
                .peers = {(uint32_t)(c->peers_per_s * 1000), (uint32_t)c->peers_burst},
            },
        .source = {(uint32_t)(c->source_per_s * 1000), (uint32_t)c->source_burst},
        .source_entries = (unsigned)c->source_entries,
    };
}

bool turn_conf_wants_dtls(const struct turn_conf *c)
{
    return c->n_udp > 0 && c->dtls;
}

bool turn_conf_wants_tls(const struct turn_conf *c)
{
    return c->n_tls > 0 || (c->n_tcp > 0 && c->tls_on_tcp) || turn_conf_wants_dtls(c);
}

struct bucket_rule turn_conf_connects(const struct turn_conf *c)
{
    return (struct bucket_rule){(uint32_t)(c->connects_per_s * 1000), (uint32_t)c->connects_burst};
}
