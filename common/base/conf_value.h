/* One configuration value: text to field and back to words about it.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_BASE_CONF_VALUE_H
#define SORI_BASE_CONF_VALUE_H

#include "base/conf.h"

#define CONF_ITEMS_MAX 4096 /* of one list */

/* True when the option may stand several times, each adding items. */
bool conf_value_is_list(const struct conf_opt *o);

/* Parses text into the field of *out that o names; lists grow, a scalar must not be set yet. Empty
 * text: "", no items, no address, no secret; zero for numbers only when `fallback` (a default that
 * the table leaves out). *why: on failure NULL (say conf_value_allowed()) or a static text.
 * Returns 0, -EINVAL, -ENOMEM, or -errno of a secret's file. */
int conf_value_set(const struct conf_opt *o, void *out, struct slice text, bool fallback,
                   const char **why);

/* Writes what the option allows, like "a whole number from 1 to 60 (s)". */
void conf_value_allowed(const struct conf_opt *o, struct wr *w);

/* Frees (and for secrets wipes) the field and zeroes it. */
void conf_value_free(const struct conf_opt *o, void *out);

#endif
