/* control_decode(): whatever a line holds, a request that is accepted stays within its bounds.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/control.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct control_request r;
    const char *why = NULL;

    if (control_decode(&r, slice_of(data, size), &why) != 0) {
        if (!why)
            abort();
        return 0;
    }
    if (size > CONTROL_LINE_MAX || r.user_len > sizeof(r.user) || r.command > CONTROL_DRAIN ||
        r.level > LOG_DEBUG || r.id.worker > UINT16_MAX)
        abort();
    return 0;
}
