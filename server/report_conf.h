/* Configuration of sori-report: what is counted how, and the tariff.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_REPORT_CONF_H
#define SORI_SERVER_REPORT_CONF_H

#include "base/conf.h"
#include "server/tariff.h"

enum { REPORT_REGIONS_MAX = 64 };

enum report_gb { REPORT_GB_DECIMAL, REPORT_GB_BINARY };

/* A [region NAME] as read, and its tariff. */
struct report_region {
    char *name;
    struct conf_list tiers_text;
    char *in_text;
    uint64_t free_gb;
    struct tariff tariff;
};

struct report_conf {
    /* As read; see the table in report_conf.c. */
    char *currency;
    struct conf_secret user_key;
    uint64_t top_users, relayed_bytes_s, most;
    unsigned gb;
    uint64_t free_gb;
    struct conf_list tiers_text, fixed_text;
    char *in_text;
    uint64_t ptime_ms, dtx_percent, bitrate, share_points;
    struct conf_named regions; /* struct report_region */
    /* Parsed from the texts above. */
    struct tariff tariff; /* of every other region */
    struct tariff_fixed fixed[TARIFF_FIXED_MAX];
    size_t fixed_n;
};

/* Loads path (NULL: defaults) into the zeroed *c. Returns 0, or a negative errno with err saying
 * what is wrong and what is allowed; *c is then freed. */
int report_conf_load(struct report_conf *c, const char *path, char err[CONF_ERR_MAX]);
/* The same from text, name standing for the file in messages. */
int report_conf_load_text(struct report_conf *c, struct slice text, const char *name,
                          char err[CONF_ERR_MAX]);
/* Frees and wipes; a zeroed struct is allowed. */
void report_conf_free(struct report_conf *c);
/* Prints the commented default configuration. */
void report_conf_print(FILE *f);

/* The tariff of a region. */
const struct tariff *report_conf_tariff(const struct report_conf *c, const char *region);

#endif
