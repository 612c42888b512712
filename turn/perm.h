/* Permissions of one allocation: peer address -> 5 minutes (RFC 8656 §9).
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_PERM_H
#define SORI_TURN_PERM_H

#include "base/addr.h"
#include "base/clock.h"

#define PERM_LIFETIME_US (300 * US_PER_S) /* RFC 8656 §9 */
#define PERM_MAX         128              /* peers at once; expired ones make room */

struct perm {
    struct addr peer; /* port is not part of a permission: always 0 */
    uint64_t until_us;
};

/* A zeroed table is empty. */
struct perm_table {
    struct perm *_v;
    uint16_t _n, _cap;
};

/* Frees the table's memory and leaves it empty. */
void perm_fini(struct perm_table *t);

/* Makes sure that the next n perm_install() calls succeed, whatever their peers are. Returns 0,
 * -ENOSPC when PERM_MAX live ones would be exceeded (answer 508), or -ENOMEM; nothing changed. */
int perm_reserve(struct perm_table *t, unsigned n, uint64_t now_us);

/* Installs or refreshes the permission for peer's address. Only after perm_reserve(). Returns when
 * it ends. */
uint64_t perm_install(struct perm_table *t, const struct addr *peer, uint64_t now_us);

/* True while a permission for peer's address (any port) lives. */
bool perm_allows(const struct perm_table *t, const struct addr *peer, uint64_t now_us);

#endif
