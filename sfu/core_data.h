/* Data channels of a worker's participants: between the data thread (data_link.h) and the rooms.
 * Worker-owned. SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_CORE_DATA_H
#define SORI_SFU_CORE_DATA_H

#include "sfu/sfu_core.h"

/* The callbacks for data_link_port(); owners are struct peer. */
extern const struct data_port_ops core_data_ops;

#endif
