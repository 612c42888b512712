/* Counts allocations and locks of a program from outside, with LD_PRELOAD: malloc, calloc, realloc,
 * free, pthread_mutex_lock, pthread_rwlock_*lock, each a 64-bit number in the file that HOT_COUNT
 * names (in this order: allocations, frees, locks), which whoever measures reads meanwhile.
 * SPDX-License-Identifier: BSD-3-Clause */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ALLOCS, FREES, LOCKS, COUNTERS };

/* glibc's own names for what is replaced here. */
extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t count, size_t n);
extern void *__libc_realloc(void *p, size_t n);
extern void __libc_free(void *p);

typedef int lock_fn(void *lock);
static _Atomic uint64_t nowhere[COUNTERS];
static _Atomic uint64_t *count = nowhere;
static lock_fn *mutex_lock, *read_lock, *write_lock;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("HOT_COUNT");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *p = fd == -1 ? MAP_FAILED
                       : mmap(NULL, sizeof(nowhere), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (fd != -1)
        close(fd);
    if (p != MAP_FAILED)
        count = p;
}

static void add(unsigned i)
{
    atomic_fetch_add_explicit(&count[i], 1, memory_order_relaxed);
}

void *malloc(size_t n)
{
    add(ALLOCS);
    return __libc_malloc(n);
}

void *calloc(size_t c, size_t n)
{
    add(ALLOCS);
    return __libc_calloc(c, n);
}

void *realloc(void *p, size_t n)
{
    add(ALLOCS);
    return __libc_realloc(p, n);
}

void free(void *p)
{
    if (p)
        add(FREES);
    __libc_free(p);
}

static int lock(lock_fn **real, const char *name, void *what)
{
    if (!*real)
        *(void **)real = dlsym(RTLD_NEXT, name);
    add(LOCKS);
    return (*real)(what);
}

int pthread_mutex_lock(pthread_mutex_t *m)
{
    return lock(&mutex_lock, "pthread_mutex_lock", m);
}

int pthread_rwlock_rdlock(pthread_rwlock_t *l)
{
    return lock(&read_lock, "pthread_rwlock_rdlock", l);
}

int pthread_rwlock_wrlock(pthread_rwlock_t *l)
{
    return lock(&write_lock, "pthread_rwlock_wrlock", l);
}
