/* Where sori-servers connect (docs/CONTROL.md), and the operator's socket for sori-sfuctl.
 * Lives in the control thread. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_CTL_LISTENER_H
#define SORI_SFU_CTL_LISTENER_H

#include "base/list.h"
#include "base/metrics.h"
#include "sfu/sfu_conf.h"

struct ctl_listener;
struct sfu_node;
struct worker;

/* Opens [control] listen and socket; control's thread serves them. NULL with err. */
struct ctl_listener *ctl_listener_new(struct worker *control, const struct sfu_conf *conf,
                                      struct sfu_node *node, char err[CONF_ERR_MAX]);
void ctl_listener_free(struct ctl_listener *l); /* NULL is allowed */

/* A worker's sayings (sfu_worker.h), in the control thread: takes them. arg is the listener. */
void ctl_listener_said(void *arg, struct list *sayings);

/* Tells the servers that no new rooms are taken, or that they are again. Any thread. */
void ctl_listener_drain(struct ctl_listener *l, bool on);

/* Registers its counters. */
void ctl_listener_metrics(struct ctl_listener *l, struct metrics *m);

#endif
