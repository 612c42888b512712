/* Where the PostgreSQL ledger is: which connection strings may be used.
 *
 * Called by server_conf.c (--check-config) and ledger_store_pg.c. Pure: libpq takes the string
 * apart (PQconninfoParse), nothing is connected.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/ledger_store_pg_priv.h"

#include "base/addr.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int wrong(char why[LEDGER_STORE_WHY_MAX], const char *what)
{
    snprintf(why, LEDGER_STORE_WHY_MAX, "[ledger] postgres: %s", what);
    return -EINVAL;
}

/* A part of the string; "" when it is not there. */
static const char *part(const PQconninfoOption *o, const char *name)
{
    for (; o->keyword; o++)
        if (strcmp(o->keyword, name) == 0)
            return o->val ? o->val : "";
    return "";
}

static bool is_loopback(struct slice host)
{
    return slice_is(host, "localhost") || slice_is(host, "::1") ||
           (host.len > 4 && memcmp(host.p, "127.", 4) == 0);
}

/* The hosts of a list: whether one is reached by TCP, whether one is not of this machine. */
static void look_at(const char *list, bool *tcp, bool *far)
{
    for (;;) {
        size_t n = strcspn(list, ",");
        if (n > 0 && list[0] != '/' && list[0] != '@') {
            *tcp = true;
            *far = *far || !is_loopback(slice_of(list, n));
        }
        if (list[n] == '\0')
            return;
        list += n + 1;
    }
}

static int check(const PQconninfoOption *o, char why[LEDGER_STORE_WHY_MAX])
{
    const char *mode = part(o, "sslmode");
    bool verifies = !*mode || strcmp(mode, "verify-full") == 0 || strcmp(mode, "verify-ca") == 0;
    bool tcp = false, far = false;

    look_at(part(o, "host"), &tcp, &far);
    look_at(part(o, "hostaddr"), &tcp, &far);
    if (*part(o, "password"))
        return wrong(why, "no password here, where others can read it: put it into a file and name "
                          "that in postgres_password_file");
    if (*part(o, "service"))
        return wrong(why, "service= is not taken: write host, user and dbname here");
    if (!*part(o, "dbname"))
        return wrong(why, "dbname= is missing: a database of the ledger's own");
    if (far && !verifies)
        return wrong(why, "sslmode must be verify-full or verify-ca: without it anybody on the way "
                          "can read and change what is stored");
    if (tcp && verifies && !*part(o, "sslrootcert"))
        return wrong(why, "sslrootcert= is missing: the file with the certificate authority of the "
                          "database's server (only on the loopback sslmode=disable does without)");
    return 0;
}

int ledger_pg_where_check(const char *where, char why[LEDGER_STORE_WHY_MAX])
{
    char *text = NULL;
    PQconninfoOption *o = PQconninfoParse(where, &text);

    if (text)
        PQfreemem(text); /* it may repeat a part of the string */
    if (!o)
        return wrong(why,
                     "this is no connection string: host=NAME port=5432 user=NAME dbname=NAME "
                     "sslrootcert=FILE, or postgresql://user@host:port/dbname?sslrootcert=FILE "
                     "(host=/DIRECTORY is a Unix socket)");
    int rc = check(o, why);
    PQconninfoFree(o);
    return rc;
}
