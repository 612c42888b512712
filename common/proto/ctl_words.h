/* The words of the control protocol, for ctl.c, ctl_decode.c and ctl_encode.c only.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_PROTO_CTL_WORDS_H
#define SORI_PROTO_CTL_WORDS_H

#include "proto/ctl.h"

/* What a type may be and must carry. */
enum {
    CTL_CAN_REQUEST = 1,
    CTL_CAN_EVENT = 2,
    CTL_HAS_SEQ = 4,
    CTL_HAS_ROOM = 8,
    CTL_HAS_PARTICIPANT = 16,
    CTL_MAY_ROOM = 32, /* room is optional */
};

struct ctl_word {
    const char *name;
    unsigned flags;
};
extern const struct ctl_word ctl_types[CTL_TYPE_COUNT];

extern const char *const ctl_err_words[CTL_ERR_COUNT];
extern const char *const ctl_source_words[CTL_SOURCE_COUNT];
extern const char *const ctl_mode_words[CTL_MODE_COUNT];
extern const char *const ctl_media_words[CTL_MEDIA_COUNT];
extern const char *const ctl_track_words[CTL_TRACK_EVENT_COUNT];
extern const char *const ctl_pause_words[CTL_PAUSE_COUNT];
extern const char *const ctl_negotiate_words[CTL_NEGOTIATE_COUNT];
extern const char *const ctl_kind_words[2]; /* RTP_KIND_AUDIO, RTP_KIND_VIDEO */

/* The index of name among n words, from 1 for an error's (words[0] is ""); n when it is none. */
unsigned ctl_word_find(const char *const *words, unsigned n, struct slice name);

#endif
