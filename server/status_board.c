/* The status between two threads.
 *
 * Called by main.c: written on the worker, read on the admin listener's thread. The lock is held
 * for a copy of a few kilobytes. SPDX-License-Identifier: BSD-3-Clause */
#include "server/status_board.h"

#include <errno.h>
#include <pthread.h>

#include "base/mem.h"

struct status_board {
    pthread_mutex_t lock;
    uint64_t looked_us; /* 0: never */
    char *text;         /* NULL: none that is fresh */
    size_t len;
};

struct status_board *status_board_new(void)
{
    struct status_board *b = mem_zalloc(sizeof(*b));

    if (b)
        pthread_mutex_init(&b->lock, NULL);
    return b;
}

void status_board_free(struct status_board *b)
{
    if (!b)
        return;
    pthread_mutex_destroy(&b->lock);
    mem_free(b->text);
    mem_free(b);
}

static bool is_wanted(const struct status_board *b, uint64_t now_us)
{
    return b->looked_us != 0 && now_us - b->looked_us < STATUS_BOARD_LOOK_US;
}

bool status_board_wanted(struct status_board *b, uint64_t now_us)
{
    pthread_mutex_lock(&b->lock);
    bool wanted = is_wanted(b, now_us);
    if (!wanted) { /* what is there will be old when somebody looks */
        mem_free(b->text);
        b->text = NULL;
    }
    pthread_mutex_unlock(&b->lock);
    return wanted;
}

int status_board_write(struct status_board *b, struct slice text)
{
    char *copy = mem_strndup(text);

    if (!copy)
        return -ENOMEM;
    pthread_mutex_lock(&b->lock);
    char *old = b->text;
    b->text = copy;
    b->len = text.len;
    pthread_mutex_unlock(&b->lock);
    mem_free(old);
    return 0;
}

char *status_board_look(struct status_board *b, uint64_t now_us, size_t *len)
{
    pthread_mutex_lock(&b->lock);
    b->looked_us = now_us > 0 ? now_us : 1;
    char *copy = b->text ? mem_strndup(slice_of(b->text, b->len)) : NULL;
    *len = copy ? b->len : 0;
    pthread_mutex_unlock(&b->lock);
    return copy;
}
