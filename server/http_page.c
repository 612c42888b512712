/* What the server answers over plain HTTP beside the WebSocket.
 *
 * Called by ws_listener.c for every request that is no upgrade. The page and development tokens
 * exist only when switched on; everything unknown is a 404 that says nothing. Pure.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/http_page.h"

#include "base/clock.h"
#include "proto/json.h"
#include "server/token.h"
#include "server/web_files.h"

static const char CSP[] =
    "Content-Security-Policy: default-src 'self'; connect-src 'self' ws: wss:; "
    "img-src 'self' data:; media-src 'self' blob: mediastream:; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'\r\n"
    "Permissions-Policy: camera=(self), microphone=(self)\r\n";

static struct http_page text_page(unsigned status, const char *text)
{
    struct slice body = slice_str(text);

    return (struct http_page){{.status = status,
                               .type = "text/plain; charset=utf-8",
                               .body_bytes = body.len,
                               .keep_alive = true},
                              body};
}

static struct http_page json_page(const struct wr *w)
{
    struct http_page page = text_page(200, "");

    if (w->bad)
        return text_page(500, "");
    page.body = wr_done(w);
    page.head.type = "application/json";
    page.head.body_bytes = page.body.len;
    return page;
}

bool http_page_host_allowed(const struct http1_request *q, const struct server_conf *conf, bool tls)
{
    uint8_t own[300];
    struct wr w = wr_init(own, sizeof(own));

    wr_str(&w, tls ? "https://" : "http://");
    wr_bytes(&w, q->host);
    return !w.bad &&
           http1_origin_allowed(wr_done(&w), false, conf->server.origins.v, conf->server.origins.n);
}

/* GET /dev/token?user=alice&device=x : a token for anybody, in development only. */
static struct http_page dev_token(const struct http1_request *q, const struct server_conf *conf,
                                  bool tls, uint64_t wall_us, uint8_t scratch[HTTP_PAGE_SCRATCH])
{
    const struct token_rules rules = {.issuer = conf->auth.issuer, .audience = conf->auth.audience};
    struct slice secret = slice_of(conf->auth.hs256_secret.p, conf->auth.hs256_secret.len);
    struct token t = {.perms = {.call = true, .presence = true, .in_room = TOKEN_ROOM_PERMS},
                      .expires_at_s = wall_us / US_PER_S + conf->dev.token_ttl_s};
    struct wr user = wr_init(t.user, sizeof(t.user) - 1),
              device = wr_init(t.device, sizeof(t.device) - 1);
    struct wr w = wr_init(scratch, HTTP_PAGE_SCRATCH);

    if (!http_page_host_allowed(q, conf, tls))
        return text_page(403, "this Host is not among [server] origins\n");
    if (http1_query_get(q->query, "user", &user) != 0 || user.bad)
        return text_page(400, "user: missing or too long\n");
    http1_query_get(q->query, "device", &device);
    memcpy(t.name, t.user, sizeof(t.name) < sizeof(t.user) ? sizeof(t.name) : sizeof(t.user));
    wr_str(&w, "{\"token\":\"");
    if (device.bad ||
        token_sign_hs256(&w, secret, *conf->auth.hs256_kid ? conf->auth.hs256_kid : NULL, &t,
                         &rules, wall_us / US_PER_S) != 0)
        return text_page(400, "user, device: letters, digits and . _ @ + - only\n");
    wr_fmt(&w, "\",\"expiresInMs\":%llu}", (unsigned long long)conf->dev.token_ttl_s * 1000);
    return json_page(&w);
}

/* GET /dev/pages : those of other nodes, in development only. */
static struct http_page dev_pages(const struct server_conf *conf,
                                  uint8_t scratch[HTTP_PAGE_SCRATCH])
{
    struct wr w = wr_init(scratch, HTTP_PAGE_SCRATCH);

    wr_str(&w, "{\"pages\":[");
    for (size_t i = 0; i < conf->dev.other_pages.n; i++) {
        wr_str(&w, i > 0 ? "," : "");
        json_write_text(&w, slice_str(conf->dev.other_pages.v[i]));
    }
    wr_str(&w, "]}");
    return json_page(&w);
}

struct http_page http_page_get(const struct http1_request *q, const struct server_conf *conf,
                               bool tls, const char *not_ready, uint64_t wall_us,
                               uint8_t scratch[HTTP_PAGE_SCRATCH])
{
    if (slice_is(q->path, "/livez"))
        return text_page(200, "ok\n");
    if (slice_is(q->path, "/readyz"))
        return not_ready ? text_page(503, not_ready) : text_page(200, "ok\n");
    if (conf->dev.enabled && slice_is(q->path, "/dev/token"))
        return dev_token(q, conf, tls, wall_us, scratch);
    if (conf->dev.enabled && slice_is(q->path, "/dev/pages"))
        return dev_pages(conf, scratch);
    const struct web_file *f = conf->server.page ? web_file_find(q->path) : NULL;
    if (!f)
        return text_page(404, "not found\n");
    return (struct http_page){{.status = 200,
                               .type = f->type,
                               .body_bytes = f->body.len,
                               .keep_alive = true,
                               .extra = CSP},
                              f->body};
}
