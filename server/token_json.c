/* JSON of tokens and key sets: jansson under limits, and without its silent losses.
 *
 * Called by token.c and token_keys.c. Two things jansson 2.14 does not do by itself: it has no
 * limit but a depth of 2048, so the text is measured before; and while it reads a string, an
 * allocation that fails loses a character instead of failing the load ("alice@example.com" becomes
 * "alice@examplom"), so our allocator remembers failures, and the load fails for them.
 *
 * The flag is per thread. SPDX-License-Identifier: BSD-3-Clause */
#include "server/token_json.h"

#include "base/mem.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>

static _Thread_local bool lost; /* an allocation has failed since the flag was reset */

static void *json_alloc(size_t n)
{
    void *p = mem_realloc(NULL, n);
    if (!p)
        lost = true;
    return p;
}

static void install(void)
{
    json_set_alloc_funcs(json_alloc, mem_free);
}

void token_json_begin(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, install);
    lost = false;
}

/* Whether s keeps within the limits, judged by its brackets and commas outside of texts. */
static bool within(struct slice s, const struct token_json_limits *max)
{
    unsigned depth = 0, values = 0;
    bool in_text = false;
    if (s.len > max->bytes)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.p[i];
        if (in_text) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_text = false;
            continue;
        }
        bool opens = c == '{' || c == '[', closes = c == '}' || c == ']';
        in_text = c == '"';
        depth += opens;
        values += opens || c == ',';
        if (depth > max->depth || values > max->values)
            return false;
        if (closes && depth-- == 0)
            return false;
    }
    return true;
}

int token_json_load(json_t **out, struct slice s, const struct token_json_limits *max, char *err,
                    size_t err_cap)
{
    json_error_t why = {.line = 1, .text = "empty, too large or nested too deep"};
    token_json_begin();
    json_t *v = NULL;
    if (s.len > 0 && within(s, max))
        v = json_loadb((const char *)s.p, s.len, JSON_REJECT_DUPLICATES, &why);
    if (v && !lost) {
        *out = v;
        return 0;
    }
    json_decref(v);
    if (err)
        snprintf(err, err_cap, "line %d: %s", why.line, lost ? "out of memory" : why.text);
    return lost ? -ENOMEM : -EBADMSG;
}

int token_json_dump(const json_t *v, struct wr *w)
{
    token_json_begin();
    size_t room = w->cap - w->len;
    size_t n = json_dumpb(v, (char *)w->base + w->len, room, JSON_COMPACT);
    if (n == 0 || lost)
        return -ENOMEM;
    if (n > room || !wr_reserve(w, n))
        return -ENOSPC;
    return 0;
}

struct slice token_json_text(const json_t *obj, const char *name)
{
    const json_t *v = json_object_get(obj, name);
    return json_is_string(v) ? slice_of(json_string_value(v), json_string_length(v))
                             : (struct slice){0};
}
