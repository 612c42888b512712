/* A layer under SQLite that keeps the unused part of every page of the database empty.
 *
 * secure_delete overwrites what is deleted. But when a page overflows, SQLite moves rows to its
 * neighbours and leaves their old bytes between the cell pointers and the cells, where a later
 * deletion does not find them (measured: after 60 purges of 2,000 calls each, seven pages held
 * names of erased users). The layer clears that gap in each page on its way into the file; what
 * reads the file never looks there. The WAL is left alone (its frames have checksums): it is
 * emptied after a purge, by a checkpoint, which writes through here.
 *
 * Everything else goes to the system's own layer. Called by ledger_store_sqlite.c.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/ledger_store_sqlite_priv.h"

#include <pthread.h>

enum {
    FIRST_PAGE_HEADER = 100, /* of the file, before page 1's own */
    INTERIOR_INDEX = 2,
    INTERIOR_TABLE = 5,
    LEAF_INDEX = 10,
    LEAF_TABLE = 13,
    INTERIOR_HEADER = 12,
    LEAF_HEADER = 8,
    CELLS_AT = 3, /* in a page's header: how many cells; where their content begins */
    CONTENT_AT = 5,
};
/* Other pages begin with a page number: below this one its first byte can't be one of those types.
 */
#define PAGES_MAX (UINT64_C(2) << 24)

struct layer_file {
    sqlite3_file base;
    sqlite3_file *real;
    bool is_database;
};

static sqlite3_file *real_of(sqlite3_file *f)
{
    return ((struct layer_file *)(void *)f)->real;
}

/* The unused part of a page: *at and *len. False: the page has none, or is none of rows. */
bool sq_page_gap(const uint8_t *page, bool first, size_t *at, size_t *len)
{
    size_t header = first ? FIRST_PAGE_HEADER : 0;
    struct rd r = rd_init(slice_of(page + header, SQLITE_STORE_PAGE - header));
    uint8_t type = rd_u8(&r);

    rd_be16(&r);
    size_t cells = rd_be16(&r), content = rd_be16(&r);
    if (type == INTERIOR_INDEX || type == INTERIOR_TABLE)
        header += INTERIOR_HEADER;
    else if (type == LEAF_INDEX || type == LEAF_TABLE)
        header += LEAF_HEADER;
    else
        return false;
    size_t end = header + 2 * cells;
    if (end >= content || content > SQLITE_STORE_PAGE)
        return false;
    *at = end;
    *len = content - end;
    return true;
}

static int on_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
    const struct layer_file *l = (const struct layer_file *)(const void *)f;
    uint8_t page[SQLITE_STORE_PAGE];
    size_t gap, len;

    if (!l->is_database || n != SQLITE_STORE_PAGE || at % SQLITE_STORE_PAGE != 0 ||
        (uint64_t)at / SQLITE_STORE_PAGE >= PAGES_MAX || !sq_page_gap(p, at == 0, &gap, &len))
        return l->real->pMethods->xWrite(l->real, p, n, at);
    memcpy(page, p, sizeof(page));
    memset(page + gap, 0, len);
    return l->real->pMethods->xWrite(l->real, page, n, at);
}

/* ---- handed on as it is ---- */

static int on_close(sqlite3_file *f)
{
    return real_of(f)->pMethods->xClose(real_of(f));
}
static int on_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at)
{
    return real_of(f)->pMethods->xRead(real_of(f), p, n, at);
}
static int on_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    return real_of(f)->pMethods->xTruncate(real_of(f), size);
}
static int on_sync(sqlite3_file *f, int flags)
{
    return real_of(f)->pMethods->xSync(real_of(f), flags);
}
static int on_size(sqlite3_file *f, sqlite3_int64 *size)
{
    return real_of(f)->pMethods->xFileSize(real_of(f), size);
}
static int on_lock(sqlite3_file *f, int level)
{
    return real_of(f)->pMethods->xLock(real_of(f), level);
}
static int on_unlock(sqlite3_file *f, int level)
{
    return real_of(f)->pMethods->xUnlock(real_of(f), level);
}
static int on_check_lock(sqlite3_file *f, int *out)
{
    return real_of(f)->pMethods->xCheckReservedLock(real_of(f), out);
}
static int on_control(sqlite3_file *f, int op, void *arg)
{
    return real_of(f)->pMethods->xFileControl(real_of(f), op, arg);
}
static int on_sector(sqlite3_file *f)
{
    return real_of(f)->pMethods->xSectorSize(real_of(f));
}
static int on_device(sqlite3_file *f)
{
    return real_of(f)->pMethods->xDeviceCharacteristics(real_of(f));
}
static int on_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **out)
{
    return real_of(f)->pMethods->xShmMap(real_of(f), page, size, extend, out);
}
static int on_shm_lock(sqlite3_file *f, int at, int n, int flags)
{
    return real_of(f)->pMethods->xShmLock(real_of(f), at, n, flags);
}
static void on_shm_barrier(sqlite3_file *f)
{
    real_of(f)->pMethods->xShmBarrier(real_of(f));
}
static int on_shm_unmap(sqlite3_file *f, int del)
{
    return real_of(f)->pMethods->xShmUnmap(real_of(f), del);
}

/* Version 2: without memory-mapped reads, which the ledger does not use. */
static const sqlite3_io_methods METHODS = {
    .iVersion = 2,
    .xClose = on_close,
    .xRead = on_read,
    .xWrite = on_write,
    .xTruncate = on_truncate,
    .xSync = on_sync,
    .xFileSize = on_size,
    .xLock = on_lock,
    .xUnlock = on_unlock,
    .xCheckReservedLock = on_check_lock,
    .xFileControl = on_control,
    .xSectorSize = on_sector,
    .xDeviceCharacteristics = on_device,
    .xShmMap = on_shm_map,
    .xShmLock = on_shm_lock,
    .xShmBarrier = on_shm_barrier,
    .xShmUnmap = on_shm_unmap,
};

static sqlite3_vfs layer, *system_layer;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static int on_open(sqlite3_vfs *v, const char *name, sqlite3_file *f, int flags, int *out)
{
    struct layer_file *l = (struct layer_file *)(void *)f;

    (void)v;
    l->real = (sqlite3_file *)(void *)(l + 1);
    l->is_database = (flags & SQLITE_OPEN_MAIN_DB) != 0;
    int rc = system_layer->xOpen(system_layer, name, l->real, flags, out);
    f->pMethods = l->real->pMethods ? &METHODS : NULL;
    return rc;
}

static void make_layer(void)
{
    system_layer = sqlite3_vfs_find(NULL);
    if (!system_layer)
        return;
    layer = *system_layer; /* what is not about open files */
    layer.pNext = NULL;
    layer.zName = "sori-no-rest";
    layer.szOsFile = (int)sizeof(struct layer_file) + system_layer->szOsFile;
    layer.xOpen = on_open;
    sqlite3_vfs_register(&layer, 0);
}

const char *sq_layer(void)
{
    pthread_once(&once, make_layer);
    return "sori-no-rest";
}
