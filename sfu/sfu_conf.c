/* What follows from the options: addresses parsed, combinations checked.
 *
 * Called by main.c and tests. SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/sfu_conf.h"

#include <errno.h>
#include <stdio.h>

#include "proto/node_record.h"
#include "sfu/codec_policy.h"

#define SECRET_MIN_BYTES 32

static int fail(char err[CONF_ERR_MAX], const char *what, struct slice value)
{
    if (value.len == 0)
        snprintf(err, CONF_ERR_MAX, "%s", what);
    else
        snprintf(err, CONF_ERR_MAX, "%s (%.*s)", what, SLICE_FMT(slice_sub(value, 0, 128)));
    return -EINVAL;
}

static int parse_listen(struct sfu_conf *c, char err[CONF_ERR_MAX])
{
    for (size_t i = 0; i < c->sfu.listen_text.n; i++) {
        struct slice text = slice_str(c->sfu.listen_text.v[i]);
        struct addr a;

        if (c->n_listen == SFU_LISTEN_MAX)
            return fail(err, "[sfu] listen: more than 8 addresses", text);
        if (addr_parse(&a, text) != 0 || a.port != 0)
            return fail(err, "[sfu] listen: want ip without port", text);
        c->listen[c->n_listen++] = a;
    }
    return c->n_listen ? 0
                       : fail(err, "[sfu] listen: at least one address is needed", SLICE_LIT(""));
}

static int parse_external(struct sfu_conf *c, char err[CONF_ERR_MAX])
{
    for (size_t i = 0; i < c->sfu.external_text.n; i++) {
        struct slice text = slice_str(c->sfu.external_text.v[i]);
        const uint8_t *eq = text.len ? memchr(text.p, '=', text.len) : NULL;
        struct sfu_external *x = &c->external[c->n_external];

        if (c->n_external == SFU_EXTERNAL_MAX)
            return fail(err, "[sfu] external_addresses: more than 8", text);
        size_t at = eq ? (size_t)(eq - text.p) : text.len;
        if (!eq || addr_parse(&x->shown, slice_sub(text, 0, at)) != 0 ||
            addr_parse(&x->bound, slice_sub(text, at + 1, text.len)) != 0 || x->shown.port ||
            x->bound.port || x->shown.family != x->bound.family)
            return fail(err, "[sfu] external_addresses: want public=private, without ports", text);
        c->n_external++;
    }
    return 0;
}

static bool is_unix(const char *s)
{
    return slice_starts(slice_str(s), SLICE_LIT("unix:"));
}

static int check_control(const struct sfu_conf *c, char err[CONF_ERR_MAX])
{
    struct addr a;

    if (c->control.listen_text.n > SFU_CONTROL_MAX)
        return fail(err, "[control] listen: more than 8", SLICE_LIT(""));
    if (c->control.secret.path && c->control.secret.len < SECRET_MIN_BYTES)
        return fail(err, "[control] secret_file: shorter than 32 bytes",
                    slice_str(c->control.secret.path));
    for (size_t i = 0; i < c->control.listen_text.n; i++) {
        const char *s = c->control.listen_text.v[i];

        if (is_unix(s)) {
            if (strlen(s) < sizeof("unix:/"))
                return fail(err, "[control] listen: want unix:/path", slice_str(s));
            continue;
        }
        if (addr_parse(&a, slice_str(s)) != 0 || a.port == 0)
            return fail(err, "[control] listen: want unix:/path or ip:port", slice_str(s));
        if (!c->control.secret.len)
            return fail(err, "[control] secret_file: needed for an address that is no Unix socket",
                        slice_str(s));
    }
    return 0;
}

int sfu_conf_codecs(const struct sfu_conf *c, struct codec_policy *p)
{
    int e = codec_policy_set(p, RTP_KIND_AUDIO, c->audio.codecs.v, c->audio.codecs.n);

    return e ? e : codec_policy_set(p, RTP_KIND_VIDEO, c->video.codecs.v, c->video.codecs.n);
}

static int check_codecs(const struct sfu_conf *c, char err[CONF_ERR_MAX])
{
    struct codec_policy p;

    codec_policy_default(&p);
    return sfu_conf_codecs(c, &p) == 0
               ? 0
               : fail(err, "[audio] codecs, [video] codecs: unknown, given twice, or none at all",
                      SLICE_LIT(""));
}

struct slice sfu_conf_cluster_address(const struct sfu_conf *c)
{
    if (c->cluster.address[0] != '\0' || c->control.listen_text.n == 0)
        return slice_str(c->cluster.address);
    return slice_str(c->control.listen_text.v[0]);
}

static int check_cluster(const struct sfu_conf *c, char err[CONF_ERR_MAX])
{
    struct slice at = sfu_conf_cluster_address(c), region = slice_str(c->sfu.region);
    const char *wrong = redis_options_wrong(&c->cluster.redis, "cluster", err);
    struct addr a;

    if (wrong)
        return -EINVAL;
    if (!redis_options_wanted(&c->cluster.redis))
        return 0;
    if (c->control.listen_text.n == 0)
        return fail(err, "[cluster]: [control] listen is needed, where sori-servers connect",
                    SLICE_LIT(""));
    if (!node_record_place_ok(NODE_SFU, at) || (addr_parse(&a, at) == 0 && addr_is_wildcard(&a)))
        return fail(err,
                    "[cluster] address: want ip:port (not 0.0.0.0) or unix:/path, where "
                    "sori-servers reach [control] listen",
                    at);
    if (!node_record_name_ok(slice_str(c->sfu.node_id)))
        return fail(err,
                    "[sfu] node_id: 1 to 64 of A-Z a-z 0-9 . _ - are needed by [cluster], another "
                    "name for each node",
                    slice_str(c->sfu.node_id));
    if (region.len > 0 && !node_record_name_ok(region))
        return fail(err, "[sfu] region: A-Z a-z 0-9 . _ - only, with [cluster]", region);
    return 0;
}

static int check(const struct sfu_conf *c, char err[CONF_ERR_MAX])
{
    if (c->sfu.port + (c->sfu.threads ? c->sfu.threads - 1 : 0) > UINT16_MAX)
        return fail(err, "[sfu] port: the last worker's would be above 65535", SLICE_LIT(""));
    if (c->video.min_bps > c->video.start_bps || c->video.start_bps > c->video.send_max_bps)
        return fail(err,
                    "[video] min_bitrate, start_bitrate, receiver_max_bitrate: want them in rising "
                    "order",
                    SLICE_LIT(""));
    int e = check_codecs(c, err);
    if (!e)
        e = check_control(c, err);
    return e ? e : check_cluster(c, err);
}

static int complete(struct sfu_conf *c, int loaded, char err[CONF_ERR_MAX])
{
    if (loaded)
        return loaded;
    int e = parse_listen(c, err);
    if (!e)
        e = parse_external(c, err);
    if (!e)
        e = check(c, err);
    if (e)
        sfu_conf_free(c);
    return e;
}

int sfu_conf_load(struct sfu_conf *c, const char *path, char err[CONF_ERR_MAX])
{
    return complete(c, conf_load(sfu_options, sfu_options_n, c, path, err), err);
}

int sfu_conf_load_text(struct sfu_conf *c, struct slice text, const char *name,
                       char err[CONF_ERR_MAX])
{
    return complete(c, conf_load_text(sfu_options, sfu_options_n, c, text, name, err), err);
}

void sfu_conf_free(struct sfu_conf *c)
{
    conf_free(sfu_options, sfu_options_n, c);
    *c = (struct sfu_conf){0};
}

void sfu_conf_print(FILE *f)
{
    conf_print(sfu_options, sfu_options_n, f);
}

struct addr sfu_conf_shown(const struct sfu_conf *c, struct addr local)
{
    for (size_t i = 0; i < c->n_external; i++) {
        if (addr_ip_eq(&c->external[i].bound, &local))
            return addr_with_port(c->external[i].shown, local.port);
    }
    return local;
}
