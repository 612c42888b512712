/* Parses, describes and frees the value of one option, by its type.
 *
 * Called by conf.c while a configuration is loaded or printed. Pure but for secrets' files.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/conf_value.h"

#include "base/crypto.h"
#include "base/mem.h"
#include "base/secretfile.h"

#include <errno.h>

enum { CONF_TEXT_MAX = 1024 }; /* bytes of a string when the table does not say */

static void *field_of(const struct conf_opt *o, void *out)
{
    return (char *)out + o->offset;
}

static uint64_t text_max(const struct conf_opt *o)
{
    return o->max > 0 ? o->max : CONF_TEXT_MAX;
}

static uint64_t uint_max(const struct conf_opt *o)
{
    return o->max > 0 ? o->max : UINT64_MAX;
}

static struct slice trim(struct slice s)
{
    while (s.len > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
        s = slice_sub(s, 1, s.len);
    while (s.len > 0 && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t'))
        s.len--;
    return s;
}

/* Splits the next piece off *rest at sep. */
static struct slice next_piece(struct slice *rest, char sep)
{
    const uint8_t *at = rest->len > 0 ? memchr(rest->p, sep, rest->len) : NULL;
    size_t len = at ? (size_t)(at - rest->p) : rest->len;
    struct slice piece = slice_sub(*rest, 0, len);

    *rest = slice_sub(*rest, len + 1, rest->len);
    return piece;
}

bool conf_value_is_list(const struct conf_opt *o)
{
    return o->type == CONF_LIST || o->type == CONF_CIDRS || o->type == CONF_SECRETS;
}

static int set_bool(bool *field, struct slice text)
{
    static const char *const words[] = {"no",  "yes", "false", "true",
                                        "off", "on",  "0",     "1"}; /* odd ones mean yes */

    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (slice_is(text, words[i])) {
            *field = i % 2 == 1;
            return 0;
        }
    }
    return -EINVAL;
}

static int set_uint(const struct conf_opt *o, uint64_t *field, struct slice text)
{
    uint64_t v;

    if (slice_to_u64(text, uint_max(o), &v) != 0 || v < o->min)
        return -EINVAL;
    *field = v;
    return 0;
}

static int set_enum(const struct conf_opt *o, unsigned *field, struct slice text)
{
    struct slice rest = slice_str(o->choices);

    for (unsigned i = 0; rest.len > 0; i++) {
        if (slice_eq(next_piece(&rest, '|'), text)) {
            *field = i;
            return 0;
        }
    }
    return -EINVAL;
}

static int set_string(const struct conf_opt *o, char **field, struct slice text)
{
    if (text.len > text_max(o))
        return -EINVAL;
    char *copy = mem_strndup(text);
    if (!copy)
        return -ENOMEM;
    *field = copy;
    return 0;
}

static int add_text(const struct conf_opt *o, struct conf_list *list, struct slice item)
{
    char *copy = NULL;
    char **v = mem_realloc(list->v, (list->n + 1) * sizeof(*v));

    if (!v)
        return -ENOMEM;
    list->v = v;
    int err = set_string(o, &copy, item);
    if (err == 0)
        list->v[list->n++] = copy;
    return err;
}

static int add_cidr(struct conf_cidrs *list, struct slice item)
{
    struct cidr c;

    if (cidr_parse(&c, item) != 0)
        return -EINVAL;
    struct cidr *v = mem_realloc(list->v, (list->n + 1) * sizeof(*v));
    if (!v)
        return -ENOMEM;
    list->v = v;
    list->v[list->n++] = c;
    return 0;
}

static void free_secret(struct conf_secret *secret)
{
    crypto_wipe(secret->p, secret->len);
    mem_free(secret->p);
    mem_free(secret->path);
    *secret = (struct conf_secret){0};
}

static int set_secret(struct conf_secret *field, struct slice text, const char **why)
{
    struct conf_secret s = {0};

    if (text.len == 0)
        return 0;
    int err = secretfile_load(text, &s.p, &s.len, why);
    if (err != 0)
        return err;
    s.path = mem_strndup(text);
    if (!s.path) {
        free_secret(&s);
        return -ENOMEM;
    }
    *field = s;
    return 0;
}

static int add_secret(struct conf_secrets *list, struct slice item, const char **why)
{
    struct conf_secret *v = mem_realloc(list->v, (list->n + 1) * sizeof(*v));

    if (!v)
        return -ENOMEM;
    list->v = v;
    v[list->n] = (struct conf_secret){0};
    int err = set_secret(&v[list->n], item, why);
    if (err == 0)
        list->n++;
    return err;
}

static size_t items(const struct conf_opt *o, const void *field)
{
    return o->type == CONF_CIDRS     ? ((const struct conf_cidrs *)field)->n
           : o->type == CONF_SECRETS ? ((const struct conf_secrets *)field)->n
                                     : ((const struct conf_list *)field)->n;
}

static int add_item(const struct conf_opt *o, void *field, struct slice item, const char **why)
{
    if (o->type == CONF_SECRETS)
        return add_secret(field, item, why);
    return o->type == CONF_CIDRS ? add_cidr(field, item) : add_text(o, field, item);
}

/* Adds each item of a comma-separated line; an empty line adds nothing, an empty item is refused.
 */
static int add_items(const struct conf_opt *o, void *field, struct slice text, const char **why)
{
    size_t n = items(o, field);
    bool more = text.len > 0;

    for (; more; n++) {
        more = text.len > 0 &&
               memchr(text.p, ',', text.len); /* an item follows, if only an empty one */
        struct slice item = trim(next_piece(&text, ','));
        int err = -EINVAL;

        if (item.len == 0)
            *why = "there is an empty item beside a comma";
        else if (n >= CONF_ITEMS_MAX)
            *why = "there are more than 4096 items";
        else
            err = add_item(o, field, item, why);
        if (err != 0)
            return err;
    }
    return 0;
}

int conf_value_set(const struct conf_opt *o, void *out, struct slice text, bool fallback,
                   const char **why)
{
    void *field = field_of(o, out);
    bool empty = text.len == 0;

    *why = NULL;
    switch (o->type) {
    case CONF_BOOL:
        return empty && fallback ? 0 : set_bool(field, text);
    case CONF_UINT:
        return empty && fallback ? 0 : set_uint(o, field, text);
    case CONF_ENUM:
        return empty && fallback ? 0 : set_enum(o, field, text);
    case CONF_STRING:
        return set_string(o, field, text);
    case CONF_ADDR:
        return empty ? 0 : addr_parse(field, text);
    case CONF_LIST:
    case CONF_CIDRS:
    case CONF_SECRETS:
        return add_items(o, field, text, why);
    case CONF_SECRET:
        return set_secret(field, text, why);
    case CONF_SECTIONS: /* conf.c fills their elements' options one by one */
        return 0;
    }
    return -EINVAL;
}

static void allowed_choices(const char *choices, struct wr *w)
{
    struct slice rest = slice_str(choices);

    wr_str(w, "one of ");
    for (bool first = true; rest.len > 0; first = false) {
        wr_str(w, first ? "" : ", ");
        wr_bytes(w, next_piece(&rest, '|'));
    }
}

void conf_value_allowed(const struct conf_opt *o, struct wr *w)
{
    switch (o->type) {
    case CONF_BOOL:
        wr_str(w, "yes or no");
        break;
    case CONF_UINT:
        wr_str(w, "a whole number from ");
        wr_u64(w, o->min);
        wr_str(w, " to ");
        wr_u64(w, uint_max(o));
        break;
    case CONF_ENUM:
        allowed_choices(o->choices, w);
        break;
    case CONF_STRING:
        wr_fmt(w, "text of at most %llu bytes", (unsigned long long)text_max(o));
        break;
    case CONF_ADDR:
        wr_str(w, "an address like 192.0.2.1:3478 or [2001:db8::1]:3478, or empty");
        break;
    case CONF_LIST:
        wr_fmt(w,
               "texts of at most %llu bytes, with commas between or on several lines of this key",
               (unsigned long long)text_max(o));
        break;
    case CONF_CIDRS:
        wr_str(w, "networks like 10.0.0.0/8 or 2001:db8::/32 (bits after the prefix zero), with "
                  "commas between or on several lines of this key");
        break;
    case CONF_SECRET:
        wr_str(w, "the path of a file that only its owner can read, or credential:NAME");
        break;
    case CONF_SECRETS:
        wr_str(w, "paths of files that only their owner can read, or credential:NAME, with commas "
                  "between or on several lines of this key");
        break;
    case CONF_SECTIONS:
        wr_fmt(w, "at most %zu such sections", o->sections->max);
        break;
    }
    if (o->unit)
        wr_fmt(w, " (%s)", o->unit);
}

static void free_sections(const struct conf_sections *s, struct conf_named *named)
{
    for (size_t i = 0; i < named->n; i++) {
        char *element = (char *)named->v + i * s->size;
        for (size_t k = 0; k < s->n; k++)
            conf_value_free(&s->opts[k], element);
        mem_free(*(char **)(void *)(element + s->name));
    }
    mem_free(named->v);
    *named = (struct conf_named){0};
}

void conf_value_free(const struct conf_opt *o, void *out)
{
    void *field = field_of(o, out);

    if (o->type == CONF_STRING) {
        char **text = field;
        mem_free(*text);
        *text = NULL;
    } else if (o->type == CONF_LIST) {
        struct conf_list *list = field;
        for (size_t i = 0; i < list->n; i++)
            mem_free(list->v[i]);
        mem_free(list->v);
        *list = (struct conf_list){0};
    } else if (o->type == CONF_CIDRS) {
        struct conf_cidrs *list = field;
        mem_free(list->v);
        *list = (struct conf_cidrs){0};
    } else if (o->type == CONF_SECRET) {
        free_secret(field);
    } else if (o->type == CONF_SECRETS) {
        struct conf_secrets *list = field;
        for (size_t i = 0; i < list->n; i++)
            free_secret(&list->v[i]);
        mem_free(list->v);
        *list = (struct conf_secrets){0};
    } else if (o->type == CONF_SECTIONS) {
        free_sections(o->sections, field);
    }
}
