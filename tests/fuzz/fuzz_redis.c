/* net/redis_client.c and proto/resp.c under whatever a server of Redis may say, in whatever pieces:
 * each call ends exactly once or was cancelled, limits hold, nothing is left behind.
 *
 * Input: commands of a byte each. 0x00..0x0f say what we do; anything else begins bytes of the
 * server's, up to the next 0x00. SPDX-License-Identifier: BSD-3-Clause */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/mem.h"
#include "tests/lib/redis_world.h"

#define CALLS 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct redis_call calls[CALLS];
static bool open_calls[CALLS];

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void done(struct redis_call *call, enum redis_end end, const struct resp *reply,
                 uint64_t now_us)
{
    size_t i = (size_t)(call - calls);

    (void)now_us;
    must(open_calls[i] && (reply != NULL) == (end == REDIS_ANSWERED));
    open_calls[i] = false;
}

static void do_call(size_t i, bool again, bool script)
{
    const struct slice words[] = {SLICE_LIT("GET"), SLICE_LIT("k")};

    if (open_calls[i]) {
        redis_client_cancel(world.c, &calls[i]);
        open_calls[i] = false;
        return;
    }
    calls[i] = (struct redis_call){.fn = done, .again = again};
    int err = script ? redis_client_eval(world.c, &calls[i], 0, 1, words, 2, world.now)
                     : redis_client_call(world.c, &calls[i], words, 2, world.now);
    open_calls[i] = err == 0;
}

static void do_wish(void)
{
    const struct redis_endpoint *to = NULL;

    if (redis_client_wish(world.c, &to, world.now) == REDIS_WISH_OPEN)
        must(to != NULL && to->host[0] != '\0');
}

static void step(uint8_t what)
{
    switch (what) {
    case 0:
        do_wish();
        break;
    case 1:
        redis_client_opened(world.c, world.now);
        break;
    case 2:
        redis_client_closed(world.c, "gone", world.now);
        break;
    case 3:
        world_take(5);
        break;
    case 4:
        world_take(4096);
        break;
    case 5:
        world.now += 300000;
        break;
    case 6:
        if (redis_client_deadline(world.c) != CLOCK_NEVER &&
            redis_client_deadline(world.c) > world.now) /* a clock does not go back */
            world.now = redis_client_deadline(world.c);
        break;
    case 7:
        redis_client_tick(world.c, world.now);
        break;
    default:
        do_call(what - 8U, what & 1, what & 2);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct slice scripts[] = {{(const uint8_t *)"return 1", 8}};
    static const struct slice channels[] = {{(const uint8_t *)"c", 1}};
    struct redis_client_conf conf = world_conf();
    struct slice rest = slice_of(data, size);
    uint64_t live = mem_live();

    if (size == 0)
        return 0;
    if (data[0] & 1)
        conf.master = SLICE_LIT("m");
    conf.scripts = scripts;
    conf.scripts_n = 1;
    conf.channels = channels;
    conf.channels_n = data[0] & 2 ? 1 : 0;
    conf.reply_bytes = 256;
    conf.reply_values = 32;
    memset(&world, 0, sizeof(world));
    memset(open_calls, 0, sizeof(open_calls));
    world.c = redis_client_new(&conf, &world_ops, NULL, 0);
    must(world.c != NULL);
    rest = slice_sub(rest, 1, size);
    while (rest.len > 0) {
        if (rest.p[0] < 16) {
            step(rest.p[0]);
            rest = slice_sub(rest, 1, rest.len);
            continue;
        }
        const uint8_t *zero = memchr(rest.p, 0, rest.len);
        size_t n = zero ? (size_t)(zero - rest.p) : rest.len;
        redis_client_recv(world.c, slice_sub(rest, 0, n), world.now);
        rest = slice_sub(rest, n + 1, rest.len);
    }
    /* In the end each is told. */
    for (int i = 0; i < 64 && redis_client_calls(world.c) > 0; i++) {
        redis_client_closed(world.c, "end", world.now);
        world.now += 1000000;
        redis_client_tick(world.c, world.now);
    }
    for (size_t i = 0; i < CALLS; i++)
        must(!open_calls[i]);
    redis_client_free(world.c);
    must(mem_live() == live);
    return 0;
}
