/* WebRTC data channels inside one SCTP association: DCEP, and which stream is which channel.
 *
 * Called by data_link.c, in the data thread. Clients open the channels; we only answer, so that
 * the rule who has even and who has odd streams (RFC 8832 §6) never needs us to choose one.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "sfu/data_channel.h"

#include <errno.h>

static const char *const labels[DATA_CLASSES] = {
    [DATA_RELIABLE] = "sori",
    [DATA_LOSSY] = "sori-lossy",
};

int dcep_decode(struct dcep_open *out, struct slice msg)
{
    struct rd r = rd_init(msg);
    struct dcep_open o = {0};
    unsigned type = rd_u8(&r);

    if (!r.bad && type == DCEP_ACK)
        return DCEP_ACK; /* RFC 8832 §5.2: one byte; what follows is of a later version */
    o.channel_type = rd_u8(&r);
    o.priority = rd_be16(&r);
    o.reliability = rd_be32(&r);
    size_t label = rd_be16(&r), protocol = rd_be16(&r);
    o.label = rd_take(&r, label);
    o.protocol = rd_take(&r, protocol);
    if (r.bad || r.left != 0 || type != DCEP_OPEN || label > DCEP_LABEL_MAX ||
        protocol > DCEP_LABEL_MAX || (o.channel_type & ~DCEP_UNORDERED) > DCEP_TIMED)
        return -EBADMSG;
    *out = o;
    return DCEP_OPEN;
}

void dcep_open_encode(const struct dcep_open *open, struct wr *w)
{
    wr_u8(w, DCEP_OPEN);
    wr_u8(w, open->channel_type);
    wr_be16(w, open->priority);
    wr_be32(w, open->reliability);
    wr_be16(w, (uint16_t)open->label.len);
    wr_be16(w, (uint16_t)open->protocol.len);
    wr_bytes(w, open->label);
    wr_bytes(w, open->protocol);
}

void dcep_ack_encode(struct wr *w)
{
    wr_u8(w, DCEP_ACK);
}

int data_channels_open(struct data_channels *t, uint16_t stream, const struct dcep_open *open)
{
    unsigned class = 0;

    while (class < DATA_CLASSES && !slice_is(open->label, labels[class]))
        class ++;
    if (class == DATA_CLASSES || data_channels_by_stream(t, stream) ||
        data_channels_by_class(t, (enum data_class) class))
        return -EPROTO;
    t->_v[t->_n++] =
        (struct data_channel){stream, (uint8_t) class, open->channel_type, open->reliability};
    return 0;
}

bool data_channels_close(struct data_channels *t, uint16_t stream)
{
    for (unsigned i = 0; i < t->_n; i++) {
        if (t->_v[i].stream == stream) {
            t->_v[i] = t->_v[--t->_n];
            return true;
        }
    }
    return false;
}

const struct data_channel *data_channels_by_stream(const struct data_channels *t, uint16_t stream)
{
    for (unsigned i = 0; i < t->_n; i++) {
        if (t->_v[i].stream == stream)
            return &t->_v[i];
    }
    return NULL;
}

const struct data_channel *data_channels_by_class(const struct data_channels *t,
                                                  enum data_class class)
{
    for (unsigned i = 0; i < t->_n; i++) {
        if (t->_v[i].class == class)
            return &t->_v[i];
    }
    return NULL;
}
