// SPDX-License-Identifier: Apache-2.0
//
// A doubly linked list of structs that embed a link each: it allocates nothing, and a struct leaves
// it in constant time wherever it stands. The head is a link too; LIST_OF finds the struct of a
// link. One thread.
#ifndef TABARD_BASE_LIST_H
#define TABARD_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

// Zero state: a link that is in no list. A head needs list_init.
struct list {
    struct list *prev;
    struct list *next;
};

#define LIST_OF(link, type, member) ((type *)((char *)(link)-offsetof(type, member)))

// LIST_EACH_SAFE walks over the links of a list. The body may take out the link that it is given,
// and free its struct, but not the one behind it.
#define LIST_EACH_SAFE(link, head)                                                                 \
    for (struct list *link = (head)->next, *link##_next = link->next; link != (head);              \
         link = link##_next, link##_next = link->next)

static inline void list_init(struct list *head)
{
    head->prev = head->next = head;
}

static inline bool list_is_empty(const struct list *head)
{
    return head->next == head;
}

static inline bool list_is_linked(const struct list *link)
{
    return link->next != NULL;
}

// list_push puts a link that is in no list at the end.
static inline void list_push(struct list *head, struct list *link)
{
    link->prev = head->prev;
    link->next = head;
    head->prev->next = link;
    head->prev = link;
}

// list_remove takes a link out of its list, if it is in one.
static inline void list_remove(struct list *link)
{
    if (list_is_linked(link)) {
        link->prev->next = link->next;
        link->next->prev = link->prev;
        link->prev = link->next = NULL;
    }
}

// list_pop takes the first link out. NULL: the list is empty.
static inline struct list *list_pop(struct list *head)
{
    struct list *first = list_is_empty(head) ? NULL : head->next;
    if (first != NULL) {
        list_remove(first);
    }
    return first;
}

#endif
