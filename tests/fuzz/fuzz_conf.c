/* Fuzzes the configuration loader: any text gives 0 or an error with a message; nothing leaks.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/conf.h"
#include "base/mem.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct conf {
    bool flag;
    uint64_t number;
    unsigned mode;
    char *text;
    struct addr listen;
    struct conf_list names;
    struct conf_cidrs nets;
    struct conf_named items;
};

struct item {
    char *name, *text;
    uint64_t number;
};

#define AT(field) offsetof(struct conf, field)

static const struct conf_opt item_opts[] = {
    {"item", "text", CONF_STRING, offsetof(struct item, text), "", 0, 16, NULL, {NULL}, "A text."},
    {"item", "number", CONF_UINT, offsetof(struct item, number), "5", 1, 60, "s", {NULL}, "N."},
};
static const struct conf_sections items = {item_opts, ARRAY_LEN(item_opts), sizeof(struct item), 3,
                                           offsetof(struct item, name)};

/* No CONF_SECRET: a fuzzer shall not open files. */
static const struct conf_opt opts[] = {
    {"main", "flag", CONF_BOOL, AT(flag), "no", 0, 0, NULL, {NULL}, "A flag."},
    {"main", "number", CONF_UINT, AT(number), "5", 1, 60, "s", {NULL}, "A number."},
    {"main", "mode", CONF_ENUM, AT(mode), "a", 0, 0, NULL, {"a|bc|def"}, "A mode."},
    {"main", "text", CONF_STRING, AT(text), "", 0, 16, NULL, {NULL}, "A text."},
    {"net", "listen", CONF_ADDR, AT(listen), "127.0.0.1:80", 0, 0, NULL, {NULL}, "An address."},
    {"net", "names", CONF_LIST, AT(names), "x, y", 0, 8, NULL, {NULL}, "Names."},
    {"net", "nets", CONF_CIDRS, AT(nets), "10.0.0.0/8", 0, 0, NULL, {NULL}, "Networks."},
    {.section = "item",
     .name = "NAME",
     .type = CONF_SECTIONS,
     .offset = AT(items),
     .sections = &items,
     .help = "An item."},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct conf conf = {0}, zero = {0};
    char err[CONF_ERR_MAX];
    uint64_t live = mem_live();
    size_t n = ARRAY_LEN(opts);

    int rc = conf_load_text(opts, n, &conf, slice_of(data, size), "fuzz", err);
    if (memchr(err, '\0', sizeof(err)) == NULL || (rc == 0) != (err[0] == '\0'))
        abort();
    if (rc == 0 && (conf.number < 1 || conf.number > 60 || conf.mode > 2 || !conf.text ||
                    strlen(conf.text) > 16))
        abort();
    for (size_t i = 0; i < conf.items.n; i++) {
        const struct item *it = (const struct item *)conf.items.v + i;
        if (!it->name[0] || !it->text || it->number < 1 || it->number > 60)
            abort();
    }
    if (rc != 0 && (conf.items.n || conf.text != zero.text || conf.names.v || conf.nets.v))
        abort();
    conf_free(opts, n, &conf);
    if (mem_live() != live)
        abort();
    return 0;
}
