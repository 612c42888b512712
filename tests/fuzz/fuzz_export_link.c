/* Links to exports: no bytes are a link but those that were signed, and reading them is harmless.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/export_link.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct export_link *k;
    struct ledger_privacy p = {.bytes = 1}, of = {.kind = LEDGER_EXPORT};
    uint8_t text[EXPORT_LINK_MAX];
    struct wr w = wr_init(text, sizeof(text));

    if (!k)
        k = export_link_new(SLICE_LIT("a secret that no fuzzer has seen"));
    if (!k || export_link_read(k, slice_of(data, size), 0, &p) == 0 || p.bytes != 1)
        abort(); /* a forged signature */
    if (size >= sizeof(of.id)) {
        memcpy(of.id, data, sizeof(of.id));
        export_link_write(k, &w, &of, size);
        struct slice s = wr_done(&w);
        s = slice_sub(s, sizeof(EXPORT_LINK_PATH) - 1, s.len);
        if (w.bad || export_link_read(k, s, size, &p) != 0 ||
            memcmp(p.id, of.id, sizeof(of.id)) != 0)
            abort();
    }
    return 0;
}
