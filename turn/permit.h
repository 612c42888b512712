/* CreatePermission and ChannelBind (RFC 8656 §10, §12.1). SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_TURN_PERMIT_H
#define SORI_TURN_PERMIT_H

#include "turn/request.h"

/* Answers a CreatePermission request: 0, or 400, 403, 437, 441, 443, 508. All its peers are
 * permitted or none. */
int permit_create(struct request *r, struct wr *w);

/* Answers a ChannelBind request: 0, or 400, 403, 437, 441, 443, 508. */
int permit_bind(struct request *r, struct wr *w);

#endif
