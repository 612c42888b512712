/* The link that fetches a finished export: what it is for, until when, and a signature.
 *
 *     /export/<base64url of: version and form, expiry, request id, HMAC-SHA256 of these, cut to 16>
 *
 * Whoever has the link has the file, and nothing else: it names one file, is good for a while, and
 * can't be made without the ledger's secret ([ledger] token_key_file).
 * Pure; one thread at a time. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_EXPORT_LINK_H
#define SORI_SERVER_EXPORT_LINK_H

#include "server/ledger.h"

#define EXPORT_LINK_PATH "/export/"
#define EXPORT_LINK_MAX  96 /* bytes of a link, path and all */

struct export_link;

/* NULL when memory is out. */
struct export_link *export_link_new(struct slice secret);
void export_link_free(struct export_link *k); /* wipes; NULL is allowed */

/* Writes the link to the file of p (an export that is done), good until until_s (wall clock).
 * w->bad when it does not fit, or cannot be signed. */
void export_link_write(struct export_link *k, struct wr *w, const struct ledger_privacy *p,
                       uint64_t until_s);

/* Reads what follows EXPORT_LINK_PATH in a request: id and ndjson of *p are set. Returns 0;
 * -EBADMSG: no link of ours (answer 404); -ETIME: it was one (answer 410). */
int export_link_read(struct export_link *k, struct slice text, uint64_t now_s,
                     struct ledger_privacy *p);

#endif
