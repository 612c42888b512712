/* Links to exports: signed, expiring.
 *
 * Written by router_record.c into privacy.status, read by export_sock.c. Pure.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "server/export_link.h"

#include "base/crypto.h"
#include "base/mem.h"

#include <errno.h>

enum {
    FORM_JSON = 0x10, /* version 1 */
    FORM_NDJSON = 0x11,
    HEAD = 1 + 8 + LEDGER_REQUEST_ID_BYTES,
    MAC = 16, /* bytes of the signature that are sent */
    WHOLE = HEAD + MAC,
};

struct export_link {
    struct hmac *mac;
};

struct export_link *export_link_new(struct slice secret)
{
    const struct slice purpose = SLICE_LIT("sori: link to an export, 1");
    struct export_link *k = mem_zalloc(sizeof(*k));
    uint8_t key[32];

    if (!k)
        return NULL;
    if (crypto_hmac(CRYPTO_SHA256, secret, &purpose, 1, key) == 0)
        k->mac = hmac_new(CRYPTO_SHA256, slice_of(key, sizeof(key)));
    crypto_wipe(key, sizeof(key));
    if (!k->mac) {
        mem_free(k);
        return NULL;
    }
    return k;
}

void export_link_free(struct export_link *k)
{
    if (!k)
        return;
    hmac_free(k->mac);
    mem_free(k);
}

void export_link_write(struct export_link *k, struct wr *w, const struct ledger_privacy *p,
                       uint64_t until_s)
{
    uint8_t bytes[WHOLE], sum[32];
    struct wr b = wr_init(bytes, sizeof(bytes));

    wr_u8(&b, p->ndjson ? FORM_NDJSON : FORM_JSON);
    wr_be64(&b, until_s);
    wr_bytes(&b, slice_of(p->id, sizeof(p->id)));
    const struct slice head = wr_done(&b);
    if (hmac_sum(k->mac, &head, 1, sum) != 0) {
        w->bad = true;
        return;
    }
    wr_bytes(&b, slice_of(sum, MAC));
    wr_str(w, EXPORT_LINK_PATH);
    base64url_encode(w, wr_done(&b));
}

int export_link_read(struct export_link *k, struct slice text, uint64_t now_s,
                     struct ledger_privacy *p)
{
    uint8_t bytes[WHOLE], sum[32];
    size_t len;

    if (base64url_decode(text, bytes, sizeof(bytes), &len) != 0 || len != WHOLE)
        return -EBADMSG;
    const struct slice head = slice_of(bytes, HEAD);
    if (hmac_sum(k->mac, &head, 1, sum) != 0 ||
        !crypto_equal(slice_of(bytes + HEAD, MAC), slice_of(sum, MAC)))
        return -EBADMSG;
    struct rd r = rd_init(head);
    uint8_t form = rd_u8(&r);
    uint64_t until_s = rd_be64(&r);
    if (form != FORM_JSON && form != FORM_NDJSON)
        return -EBADMSG; /* signed by a version to come */
    if (until_s < now_s)
        return -ETIME;
    *p = (struct ledger_privacy){.kind = LEDGER_EXPORT, .ndjson = form == FORM_NDJSON};
    struct slice id = rd_take(&r, sizeof(p->id));
    memcpy(p->id, id.p, sizeof(p->id));
    return 0;
}
