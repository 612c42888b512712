/* Reads a secret into memory after a look at who else could read it.
 *
 * Called by conf_value.c while the configuration is loaded. Any thread; blocks.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/secretfile.h"

#include "base/crypto.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct slice credential_prefix = {(const uint8_t *)"credential:", 11};

/* Resolves "credential:NAME" or a path into path. */
static int secret_path(struct slice where, char path[PATH_MAX], const char **why)
{
    struct wr w = wr_init(path, PATH_MAX);
    struct slice name = where;

    if (slice_starts(where, credential_prefix)) {
        const char *dir = getenv("CREDENTIALS_DIRECTORY");

        name = slice_sub(where, credential_prefix.len, where.len);
        if (!dir || dir[0] != '/') {
            *why = "$CREDENTIALS_DIRECTORY is not set (systemd sets it for LoadCredential=)";
            return -EINVAL;
        }
        if (name.len == 0 || memchr(name.p, '/', name.len) || slice_is(name, ".") ||
            slice_is(name, "..")) {
            *why = "a credential's name is a file name without directories";
            return -EINVAL;
        }
        wr_str(&w, dir);
        wr_u8(&w, '/');
    }
    wr_bytes(&w, name);
    wr_u8(&w, '\0');
    if (w.bad || name.len == 0 || memchr(name.p, '\0', name.len)) {
        *why = "this is not a path";
        return -EINVAL;
    }
    return 0;
}

static int secret_check(const struct stat *st, bool credential, const char **why)
{
    if (!S_ISREG(st->st_mode))
        *why = "this is not a regular file";
    else if (st->st_mode & (credential ? S_IRWXO : S_IRWXG | S_IRWXO))
        *why = "group or others have access to the file (chmod 600)";
    else if (st->st_size > SECRETFILE_MAX_BYTES)
        *why = "the file is larger than 65536 bytes";
    else
        return 0;
    return -EINVAL;
}

/* Reads at most cap bytes; gives how many, or -errno. */
static ssize_t read_upto(int fd, uint8_t *p, size_t cap)
{
    size_t len = 0;

    while (len < cap) {
        ssize_t n = read(fd, p + len, cap - len);
        if (n == -1 && errno == EINTR)
            continue;
        if (n == -1)
            return -errno;
        if (n == 0)
            break;
        len += (size_t)n;
    }
    return (ssize_t)len;
}

static int secret_read(int fd, size_t size, uint8_t **out, size_t *len, const char **why)
{
    uint8_t *p = mem_zalloc(size);

    if (!p) {
        *why = "out of memory";
        return -ENOMEM;
    }
    ssize_t got = read_upto(fd, p, size);
    size_t n = got > 0 ? (size_t)got : 0;
    while (n > 0 && (p[n - 1] == '\n' || p[n - 1] == '\r'))
        n--;
    if (n > 0) {
        *out = p;
        *len = n;
        return 0;
    }
    mem_free(p);
    *why = got < 0 ? "the file can't be read" : "the file is empty";
    return got < 0 ? (int)got : -EINVAL;
}

int secretfile_load(struct slice where, uint8_t **out, size_t *len, const char **why)
{
    char path[PATH_MAX];
    struct stat st;
    int err = secret_path(where, path, why);

    if (err != 0)
        return err;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd == -1 || fstat(fd, &st) == -1) {
        err = -errno;
        *why = err == -ENOENT   ? "there is no such file"
               : err == -EACCES ? "permission to read it is denied"
                                : "the file can't be opened";
    } else {
        err = secret_check(&st, slice_starts(where, credential_prefix), why);
    }
    if (err == 0)
        err = secret_read(fd, (size_t)st.st_size, out, len, why);
    if (fd != -1)
        close(fd);
    return err;
}
