/* The connection to one SFU node: TCP or a Unix socket, made again whenever it breaks.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SERVER_NODE_LINK_H
#define SORI_SERVER_NODE_LINK_H

#include "base/bytes.h"

struct node;
struct node_link;
struct worker;
struct ws_listener;

#define NODE_LINK_QUEUE_BYTES ((size_t)4194304) /* unsent output; more ends the connection */

/* Connects now and goes on trying. entry: one item of [sfu] nodes (server_sfu_parse() accepts it).
 * l: whose clock the router is told; outlives the link, like n. NULL when memory is out. */
struct node_link *node_link_new(struct worker *w, struct ws_listener *l, struct node *n,
                                struct slice entry);
/* Closes; the node is told. NULL is allowed. */
void node_link_free(struct node_link *k);

#endif
