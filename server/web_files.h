/* The demonstration page and the client library, compiled in.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_WEB_FILES_H
#define SORI_SERVER_WEB_FILES_H

#include "base/bytes.h"

struct web_file {
    const char *path, *type; /* "/sori.js", "text/javascript; charset=utf-8" */
    struct slice body;
};

/* The file served at path, or NULL. */
const struct web_file *web_file_find(struct slice path);

/* A file of the operator's status page, which the public listeners do not serve. */
const struct web_file *web_file_status(struct slice path);

#endif
