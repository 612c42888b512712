/* Tells when files have changed, whichever way they are renewed.
 *
 * Called by main.c, main thread only. The folders are watched, not the files: tools replace files
 * (rename), swap a symbolic link (certbot) or the folder behind one (Kubernetes). What happened is
 * not looked at, only whether the files are others now. SPDX-License-Identifier: BSD-3-Clause */
#include "turn/file_watch.h"

#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

#define WATCH_PATH_MAX 1025 /* conf.h: texts have at most 1024 bytes */
#define WATCHED        (IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE)

struct file {
    char path[WATCH_PATH_MAX];
    struct stat last; /* zeroed while there is no such file */
};

struct file_watch {
    int fd;
    size_t n;
    struct file files[];
};

static bool is_another(const struct stat *a, const struct stat *b)
{
    return a->st_dev != b->st_dev || a->st_ino != b->st_ino || a->st_size != b->st_size ||
           a->st_mtim.tv_sec != b->st_mtim.tv_sec || a->st_mtim.tv_nsec != b->st_mtim.tv_nsec;
}

/* Looks at the file. True when it is there and not the one of the last time. */
static bool look(struct file *f)
{
    struct stat now = {0};

    if (stat(f->path, &now) == -1 || !is_another(&now, &f->last))
        return false;
    f->last = now;
    return true;
}

/* Watches the folder that path is in. */
static bool watch_folder(int fd, const char *path)
{
    const char *slash = strrchr(path, '/');
    char folder[WATCH_PATH_MAX] = ".";

    if (slash && slice_to_cstr(slice_of(path, slash == path ? 1 : (size_t)(slash - path)), folder,
                               sizeof(folder)) != 0)
        return false;
    return inotify_add_watch(fd, folder, WATCHED) != -1;
}

struct file_watch *file_watch_new(const char *const *paths, size_t n)
{
    struct file_watch *w =
        n > FILE_WATCH_MAX ? NULL : mem_zalloc(sizeof(*w) + n * sizeof(w->files[0]));

    if (!w)
        return NULL;
    w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    bool ok = w->fd != -1;
    for (size_t i = 0; ok && i < n; i++) {
        struct file *f = &w->files[w->n++];
        ok = slice_to_cstr(slice_str(paths[i]), f->path, sizeof(f->path)) == 0 &&
             watch_folder(w->fd, f->path);
        look(f);
    }
    if (ok && fcntl(w->fd, F_SETOWN, getpid()) == 0 &&
        fcntl(w->fd, F_SETFL, O_NONBLOCK | O_ASYNC) == 0)
        return w;
    file_watch_free(w);
    return NULL;
}

bool file_watch_changed(struct file_watch *w)
{
    uint8_t events[4096];
    bool changed = false;

    while (read(w->fd, events, sizeof(events)) > 0)
        continue;
    for (size_t i = 0; i < w->n; i++)
        changed = look(&w->files[i]) || changed;
    return changed;
}

void file_watch_free(struct file_watch *w)
{
    if (!w)
        return;
    if (w->fd != -1)
        close(w->fd);
    mem_free(w);
}
