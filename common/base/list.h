/* Intrusive doubly linked list with a head node.
 *
 * The owner embeds `struct list` in the object and names the link after the list it is on. A
 * zeroed link is "on no list". Worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_BASE_LIST_H
#define SORI_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *prev, *next;
};

/* The object of type `type` whose member `member` is at ptr. */
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Makes head an empty list. */
static inline void list_init(struct list *head)
{
    head->prev = head->next = head;
}

static inline bool list_empty(const struct list *head)
{
    return head->next == head || !head->next;
}

/* True when the link is on some list. */
static inline bool list_linked(const struct list *link)
{
    return link->next != NULL;
}

/* Adds link at the end. link must be on no list. */
static inline void list_append(struct list *head, struct list *link)
{
    link->prev = head->prev;
    link->next = head;
    head->prev->next = link;
    head->prev = link;
}

/* Adds link at the front. link must be on no list. */
static inline void list_prepend(struct list *head, struct list *link)
{
    list_append(head->next, link);
}

/* Takes link off its list; harmless when it is on none. */
static inline void list_del(struct list *link)
{
    if (!link->next)
        return;
    link->prev->next = link->next;
    link->next->prev = link->prev;
    link->prev = link->next = NULL;
}

/* The first link, or NULL. */
static inline struct list *list_first(const struct list *head)
{
    return list_empty(head) ? NULL : head->next;
}

/* Walks a list; the current link may be deleted inside. */
#define LIST_EACH(it, tmp, head)                                                          \
    for (struct list *it = (head)->next, *tmp = it ? it->next : NULL; it && it != (head); \
         it = tmp, tmp = it->next)

#endif
