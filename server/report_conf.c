/* Configuration of sori-report. The table is the only place that knows an option; config/report.ini
 * is its print.
 *
 * Called by report_main.c, report_view.c. SPDX-License-Identifier: BSD-3-Clause */
#include "server/report_conf.h"

#include <errno.h>
#include <string.h>

#define OPT(section, name, type, field, def, min, max, unit, choices, help)                       \
    {                                                                                             \
        section, name, type, offsetof(struct report_conf, field), def, min, max, unit, {choices}, \
            help                                                                                  \
    }
#define REGION_OPT(name, type, field, def, min, max, unit, help)                                  \
    {                                                                                             \
        "region", name, type, offsetof(struct report_region, field), def, min, max, unit, {NULL}, \
            help                                                                                  \
    }

#define GB_MAX 1000000000000
#define TIERS_HELP                                                                       \
    "Price of a gigabyte that goes out, from so many gigabytes in a calendar month on: " \
    "FROM:PRICE, the first from 0, rising. Free gigabytes are the month's first ones."

static const struct conf_opt region_table[] = {
    REGION_OPT("free_gb", CONF_UINT, free_gb, "0", 0, GB_MAX, "GB", "Free each month."),
    REGION_OPT("tiers", CONF_LIST, tiers_text, "0:0.09", 0, 64, NULL, TIERS_HELP),
    REGION_OPT("ingress", CONF_STRING, in_text, "0", 0, 32, NULL,
               "Price of a gigabyte that comes in."),
};

static const struct conf_sections region_sections = {
    .opts = region_table,
    .n = ARRAY_LEN(region_table),
    .size = sizeof(struct report_region),
    .max = REPORT_REGIONS_MAX,
    .name = offsetof(struct report_region, name),
};

static const struct conf_opt table[] = {
    OPT("report", "currency", CONF_STRING, currency, "USD", 1, 8, NULL, NULL,
        "What prices are in; a word of letters."),
    OPT("report", "user_key_file", CONF_SECRET, user_key, "", 0, 0, NULL, NULL,
        "File with a secret (openssl rand -hex 32) that users are hashed with, so that a hash is "
        "the same in each report. Empty: another one each time."),
    OPT("report", "top_users", CONF_UINT, top_users, "10", 0, 1000, "users", NULL,
        "How many of the users with most relayed bytes are listed, by their hash."),
    OPT("report", "relayed_from", CONF_UINT, relayed_bytes_s, "200", 1, 1000000, "bytes/s", NULL,
        "A call whose allocations carried less than this, of its length, went past the relay: "
        "those were connectivity checks. Opus at 12 kbit/s is 2,600 each way."),
    OPT("report", "most_records", CONF_UINT, most, "10000000", 1000, 1000000000, "records", NULL,
        "Calls, allocations and quality reports that are held at once, about 200 bytes each; a "
        "report of more is refused."),
    OPT("tariff", "gigabyte", CONF_ENUM, gb, "decimal", 0, 0, NULL, "decimal|binary",
        "What the provider bills: 10^9 bytes, or 2^30."),
    OPT("tariff", "free_gb", CONF_UINT, free_gb, "0", 0, GB_MAX, "GB", NULL, "Free each month."),
    OPT("tariff", "tiers", CONF_LIST, tiers_text, "0:0.09", 0, 64, NULL, NULL, TIERS_HELP),
    OPT("tariff", "ingress", CONF_STRING, in_text, "0", 0, 32, NULL, NULL,
        "Price of a gigabyte that comes in."),
    OPT("fixed", "monthly", CONF_LIST, fixed_text, "", 0, 128, NULL, NULL,
        "What is paid each month whatever is used: NAME=COST."),
    OPT("whatif", "packet_length", CONF_UINT, ptime_ms, "40", 10, 120, "ms", NULL,
        "Voice in packets of this length instead."),
    OPT("whatif", "silence", CONF_UINT, dtx_percent, "45", 0, 100, "percent", NULL,
        "Packets that are not sent when silence is suppressed (DTX)."),
    OPT("whatif", "bitrate", CONF_UINT, bitrate, "12000", 6000, 510000, "bit/s", NULL,
        "The codec at this rate instead."),
    OPT("whatif", "relay_share", CONF_UINT, share_points, "5", 1, 100, "points", NULL,
        "So many percent of the calls more, and less, over a relay."),
    {.section = "region",
     .name = "NAME",
     .type = CONF_SECTIONS,
     .offset = offsetof(struct report_conf, regions),
     .sections = &region_sections,
     .help = "Tariff of one region, as [usage] region of turn.ini names it, instead of [tariff]."},
};

static struct report_region *region_at(const struct report_conf *c, size_t i)
{
    return &((struct report_region *)c->regions.v)[i];
}

static int fail(char err[CONF_ERR_MAX], const char *section, const char *option, const char *value,
                const char *allowed)
{
    snprintf(err, CONF_ERR_MAX, "[%s] %s = %s: %s", section, option, value, allowed);
    return -EINVAL;
}

static int read_tariff(struct tariff *t, const struct conf_list *tiers, const char *in,
                       const char *section, char err[CONF_ERR_MAX])
{
    for (size_t i = 0; i < tiers->n; i++) {
        int rc = tariff_add_tier(t, slice_str(tiers->v[i]));
        if (rc == -ENOSPC)
            return fail(err, section, "tiers", tiers->v[i], "at most 8 of them");
        if (rc == -EINVAL)
            return fail(err, section, "tiers", tiers->v[i], "the first from 0, then rising");
        if (rc != 0)
            return fail(err, section, "tiers", tiers->v[i], "FROM:PRICE, such as 10240:0.085");
    }
    if (tariff_amount(slice_str(in), &t->in_nanos) != 0)
        return fail(err, section, "ingress", in, "a price, such as 0.01");
    return 0;
}

static bool is_word(const char *text)
{
    for (const char *p = text; *p; p++)
        if (!((*p >= 'A' && *p <= 'Z') || (*p >= 'a' && *p <= 'z')))
            return false;
    return text[0] != '\0';
}

static int parse(struct report_conf *c, char err[CONF_ERR_MAX])
{
    uint64_t gb_bytes = c->gb == REPORT_GB_BINARY ? UINT64_C(1) << 30 : UINT64_C(1000000000);
    int rc =
        is_word(c->currency) ? 0 : fail(err, "report", "currency", c->currency, "letters only");

    c->tariff = (struct tariff){.gb_bytes = gb_bytes, .free_gb = c->free_gb};
    if (rc == 0)
        rc = read_tariff(&c->tariff, &c->tiers_text, c->in_text, "tariff", err);
    for (size_t i = 0; i < c->regions.n && rc == 0; i++) {
        struct report_region *r = region_at(c, i);
        char section[CONF_SECTION_NAME_MAX + 16];
        snprintf(section, sizeof(section), "region %s", r->name);
        r->tariff = (struct tariff){.gb_bytes = gb_bytes, .free_gb = r->free_gb};
        rc = read_tariff(&r->tariff, &r->tiers_text, r->in_text, section, err);
    }
    for (size_t i = 0; i < c->fixed_text.n && rc == 0; i++) {
        if (c->fixed_n == TARIFF_FIXED_MAX)
            rc = fail(err, "fixed", "monthly", c->fixed_text.v[i], "at most 32 of them");
        else if (tariff_fixed_read(&c->fixed[c->fixed_n++], slice_str(c->fixed_text.v[i])) != 0)
            rc = fail(err, "fixed", "monthly", c->fixed_text.v[i], "NAME=COST, such as host=60");
    }
    return rc;
}

static int complete(struct report_conf *c, int rc, char err[CONF_ERR_MAX])
{
    if (rc != 0)
        return rc;
    rc = parse(c, err);
    if (rc != 0)
        report_conf_free(c);
    return rc;
}

int report_conf_load(struct report_conf *c, const char *path, char err[CONF_ERR_MAX])
{
    return complete(c, conf_load(table, ARRAY_LEN(table), c, path, err), err);
}

int report_conf_load_text(struct report_conf *c, struct slice text, const char *name,
                          char err[CONF_ERR_MAX])
{
    return complete(c, conf_load_text(table, ARRAY_LEN(table), c, text, name, err), err);
}

void report_conf_free(struct report_conf *c)
{
    conf_free(table, ARRAY_LEN(table), c);
    *c = (struct report_conf){0};
}

void report_conf_print(FILE *f)
{
    conf_print(table, ARRAY_LEN(table), f);
}

const struct tariff *report_conf_tariff(const struct report_conf *c, const char *region)
{
    for (size_t i = 0; i < c->regions.n; i++)
        if (strcmp(region_at(c, i)->name, region) == 0)
            return &region_at(c, i)->tariff;
    return &c->tariff;
}
