/* PROXY protocol headers: what is accepted lies within the input and has an address or none at all;
 * what proxy2_length() says is what proxy2_decode() takes. SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdlib.h>

#include "proto/proxy2.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy2 h;
    size_t len = 0;
    int known = proxy2_length(&len, slice_of(data, size));

    if (proxy2_decode(&h, slice_of(data, size)) != 0)
        return 0;
    if (known != 0 || len != h.len || h.len > size || h.len < PROXY2_FIXED_BYTES ||
        h.len > PROXY2_MAX)
        abort();
    if (h.src.family == ADDR_NONE ? h.transport != 0
                                  : h.transport != PROXY2_STREAM && h.transport != PROXY2_DGRAM)
        abort();
    return 0;
}
