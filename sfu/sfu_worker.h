/* One worker of the SFU: the core, its sockets and its mail, on one thread.
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef SORI_SFU_WORKER_H
#define SORI_SFU_WORKER_H

#include "net/udp.h"
#include "net/worker.h"
#include "sfu/media_sock.h"
#include "sfu/sfu_core.h"

/* What a worker has to say to the control thread, in the order in which it happened. Lent for the
 * call, which is made in the worker's thread, at the end of a turn, with everything of that turn.
 */
enum sfu_say {
    SFU_SAY_REPLY,
    SFU_SAY_EVENT,
    SFU_SAY_PASSING /* an event that is not kept */,
    SFU_SAY_ROOM_GONE
};
struct sfu_saying {
    struct list link;
    enum sfu_say what;
    uint64_t id;    /* REPLY: the request's */
    uint64_t epoch; /* REPLY: of the server that asked */
    size_t room_len, len;
    uint8_t bytes[]; /* the room's key, then the message (ctl_encode()) */
};

struct sfu_worker {
    struct worker *loop, *control; /* control: who gets the sayings */
    struct udp_io *io;
    struct media_sock *media;
    struct sfu_core *core;
    struct histogram busy;
    char io_why[UDP_WHY_MAX];
    struct wtimer tick;
    struct wflush flush;
    struct list outbox;                            /* sayings of this turn */
    void (*said)(void *arg, struct list *sayings); /* in the control thread; takes them */
    void *said_arg;
    const struct sfu_conf *conf;
    uint8_t buf[CTL_HEADER_BYTES + CTL_MESSAGE_MAX];
    struct ctl_msg req, reply;
};

/* Makes a worker with its sockets open, not running yet. control's thread gets what it says by
 * said(arg, sayings), and owns those. conf and census are borrowed. NULL with err (CONF_ERR_MAX).
 */
struct sfu_worker *sfu_worker_new(unsigned index, const struct sfu_conf *conf,
                                  struct core_census *census, struct data_link *data,
                                  struct worker *control,
                                  void (*said)(void *arg, struct list *sayings), void *arg,
                                  char err[CONF_ERR_MAX]);
/* Ends its rooms; its thread must have been joined, the data link be there still. */
void sfu_worker_end(struct sfu_worker *w);
/* Ends everything; its thread must have been joined. NULL is allowed. */
void sfu_worker_free(struct sfu_worker *w);

/* Hands it a request: text is one message (without header) that ctl_decode() has taken once; room
 * is the key of its room. Copies. Any thread. Returns 0 or -ENOMEM. */
int sfu_worker_request(struct sfu_worker *w, uint64_t epoch, struct slice room, struct slice text);

/* Closes a room, when reason is not empty with an event; takes new rooms or not. Any thread. */
int sfu_worker_close_room(struct sfu_worker *w, struct slice room, struct slice reason);
int sfu_worker_drain(struct sfu_worker *w, bool on);

#endif
