/* operator_decode(): whatever a line holds, a request that is accepted stays within its bounds.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/operator.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct operator_request q;
    const char *why = NULL;

    if (operator_decode(&q, slice_of(data, size), &why) != 0) {
        if (!why)
            abort();
        return 0;
    }
    if (size > OPERATOR_LINE_MAX || q.user_len > sizeof(q.user) || q.command > OPERATOR_DRAIN ||
        q.level > LOG_DEBUG || q.seconds > OPERATOR_DRAIN_MAX_S)
        abort();
    return 0;
}
