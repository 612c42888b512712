/* An impaired link between two network namespaces, in user space.
 *
 *     impair CLIENT_NETNS CLIENT_DEVICE SERVER_DEVICE SEED     (two TUN devices are made)
 *     impair --dry SEED PACKETS INTERVAL_US BYTES              (no device: the clock is a variable)
 *
 * CLIENT_NETNS is a path such as /proc/PID/ns/net; the other device is made where the program is
 * started. Whoever starts it gives the devices their addresses after the line {"event":"ready"}.
 * "up" is from the client to the server. Commands (impair_script.h) come on stdin, answers are JSON
 * objects, one a line, on stdout; it ends when stdin does.
 *
 * --dry sends PACKETS UDP packets up, one each INTERVAL_US, by the commands that stdin holds (`at`
 * works), and prints what became of each: `delay_us` in the order of sending, -1 for a lost one.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "impair_link.h"
#include "impair_script.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define STEPS_MAX   256
#define STDIN_BYTES 8192
#define SLACK_US    50  /* packets that are due so soon after another leave with it */
#define BATCH       256 /* packets that are read before some are written */

enum { UP, DOWN, DIRECTIONS };
enum { EV_CLIENT, EV_SERVER, EV_TIMER, EV_STDIN };

struct impairer {
    struct impair_link *link[DIRECTIONS];
    int tun[DIRECTIONS]; /* where a direction's packets come from; they leave by the other */
    int timer, epoll;
    uint64_t start_us, armed_us;
    struct impair_step step[STEPS_MAX]; /* still to come */
    unsigned n_steps;
    uint64_t write_failed;
};

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "impair: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void print_stats(const struct impairer *im)
{
    static const char *const name[DIRECTIONS] = {"up", "down"};

    printf("{\"event\":\"stats\",\"write_failed\":%" PRIu64, im->write_failed);
    for (unsigned d = 0; d < DIRECTIONS; d++) {
        const struct impair_stats *s = impair_link_stats(im->link[d]);
        printf(",\"%s\":{\"in_pkts\":%" PRIu64 ",\"in_bytes\":%" PRIu64 ",\"out_pkts\":%" PRIu64
               ",\"out_bytes\":%" PRIu64 ",\"cut\":%" PRIu64 ",\"blocked\":%" PRIu64
               ",\"queue_full\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"pool_full\":%" PRIu64
               ",\"too_long\":%" PRIu64 ",\"dup\":%" PRIu64 ",\"held\":%" PRIu64
               ",\"queue_us_max\":%" PRIu64 "}",
               name[d], s->in_pkts, s->in_bytes, s->out_pkts, s->out_bytes, s->cut, s->blocked,
               s->queue_full, s->lost, s->pool_full, s->too_long, s->dup, s->held, s->queue_us_max);
    }
    printf("}\n");
}

/* One row a bucket: when it began, then bytes in and out, drops and longest wait in the queue. */
static void print_series(const struct impairer *im)
{
    static const char *const name[DIRECTIONS] = {"up", "down"};

    printf("{\"event\":\"series\",\"bucket_us\":%d", IMPAIR_BUCKET_US);
    for (unsigned d = 0; d < DIRECTIONS; d++) {
        uint64_t last = (clock_now_us() - im->start_us) / IMPAIR_BUCKET_US;
        const char *comma = "";
        printf(",\"%s\":[", name[d]);
        for (uint64_t i = 0; i <= last; i++) {
            const struct impair_bucket *b = impair_link_bucket(im->link[d], i);
            if (!b)
                continue;
            printf("%s[%" PRIu64 ",%u,%u,%u,%u]", comma, i * IMPAIR_BUCKET_US, b->in_bytes,
                   b->out_bytes, b->drops, b->queue_us_max);
            comma = ",";
        }
        printf("]");
    }
    printf("}\n");
}

static void perform(struct impairer *im, const struct impair_step *s, uint64_t now_us)
{
    const char *why;

    switch (s->what) {
    case IMPAIR_STATS:
        print_stats(im);
        break;
    case IMPAIR_SERIES:
        print_series(im);
        break;
    case IMPAIR_RESET:
        for (unsigned d = 0; d < DIRECTIONS; d++)
            *impair_link_stats(im->link[d]) = (struct impair_stats){0};
        break;
    case IMPAIR_SET:
        for (unsigned d = 0; d < DIRECTIONS; d++) {
            struct impair_conf c = *impair_link_conf(im->link[d]);
            if ((d == UP ? s->up : s->down) && impair_step_apply(s, &c, &why) == 0)
                impair_link_set(im->link[d], &c, now_us);
        }
        break;
    }
    if (s->what != IMPAIR_STATS && s->what != IMPAIR_SERIES)
        printf("{\"event\":\"done\",\"t_us\":%" PRIu64 "}\n", now_us - im->start_us);
    fflush(stdout);
}

/* One command: performs it, or keeps it for its time. */
static void take_line(struct impairer *im, const char *line, uint64_t now_us)
{
    struct impair_step s;
    const char *why = "";
    int rc = impair_step_parse(&s, line, &why);

    if (rc == 1)
        return;
    if (rc == 0 && s.at_us > 0 && im->n_steps == STEPS_MAX)
        why = "too many steps";
    else if (rc == 0 && s.at_us > 0) {
        im->step[im->n_steps++] = s;
        return;
    } else if (rc == 0) {
        perform(im, &s, now_us);
        return;
    }
    printf("{\"event\":\"error\",\"why\":\"%s\"}\n", why);
    fflush(stdout);
}

static uint64_t next_step_us(const struct impairer *im)
{
    uint64_t at = CLOCK_NEVER;

    for (unsigned i = 0; i < im->n_steps; i++)
        at = im->start_us + im->step[i].at_us < at ? im->start_us + im->step[i].at_us : at;
    return at;
}

/* Performs the steps whose time has come, the earliest first. */
static void run_steps(struct impairer *im, uint64_t now_us)
{
    uint64_t at;

    while ((at = next_step_us(im)) <= now_us) {
        unsigned i = 0;
        while (im->start_us + im->step[i].at_us != at)
            i++;
        struct impair_step s = im->step[i];
        memmove(&im->step[i], &im->step[i + 1], (--im->n_steps - i) * sizeof(s));
        perform(im, &s, now_us);
    }
}

/* Reads what stdin holds; false at its end. */
static bool read_commands(struct impairer *im)
{
    static char buf[STDIN_BYTES];
    static size_t len;
    ssize_t n = read(STDIN_FILENO, buf + len, sizeof(buf) - 1 - len);

    if (n <= 0)
        return n == -1 && errno == EAGAIN;
    len += (size_t)n;
    buf[len] = '\0';
    char *line = buf, *end;
    for (; (end = strchr(line, '\n')); line = end + 1) {
        *end = '\0';
        take_line(im, line, clock_now_us());
    }
    len = strlen(line);
    memmove(buf, line, len + 1);
    return len < sizeof(buf) - 1;
}

/* --- devices */

static int tun_open(const char *name)
{
    struct ifreq ifr = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

    if (fd == -1)
        die("/dev/net/tun");
    if (snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name) >= IFNAMSIZ ||
        ioctl(fd, TUNSETIFF, &ifr) == -1)
        die(name);
    return fd;
}

static void open_devices(struct impairer *im, const char *netns, const char *client,
                         const char *server)
{
    int here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    int there = open(netns, O_RDONLY | O_CLOEXEC);

    if (here == -1 || there == -1)
        die(netns);
    im->tun[DOWN] = tun_open(server);
    if (setns(there, CLONE_NEWNET) == -1)
        die("setns");
    im->tun[UP] = tun_open(client);
    if (setns(here, CLONE_NEWNET) == -1)
        die("setns back");
    close(here);
    close(there);
}

static void watch(struct impairer *im, int fd, unsigned which)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.u32 = which};

    if (epoll_ctl(im->epoll, EPOLL_CTL_ADD, fd, &ev) == -1)
        die("epoll");
}

static void read_tun(struct impairer *im, unsigned d)
{
    uint8_t buf[IMPAIR_PACKET_MAX + 1];
    uint64_t now_us = clock_now_us();
    ssize_t n;

    for (unsigned i = 0; i < BATCH && (n = read(im->tun[d], buf, sizeof(buf))) > 0; i++)
        impair_link_push(im->link[d], slice_of(buf, (size_t)n), now_us);
}

static void write_due(struct impairer *im, uint64_t now_us)
{
    struct slice packet;

    for (unsigned d = 0; d < DIRECTIONS; d++) {
        while (impair_link_pop(im->link[d], now_us, &packet)) {
            if (write(im->tun[d == UP ? DOWN : UP], packet.p, packet.len) == -1)
                im->write_failed++; /* the device is down */
        }
    }
}

static void arm(struct impairer *im)
{
    uint64_t at = next_step_us(im);

    for (unsigned d = 0; d < DIRECTIONS; d++) {
        uint64_t due = impair_link_deadline(im->link[d]);
        at = due < at ? due : at;
    }
    if (at == im->armed_us)
        return;
    struct itimerspec t = {0};
    if (at != CLOCK_NEVER) {
        uint64_t soon = clock_now_us() + SLACK_US;
        at = at < soon ? soon : at;
        t.it_value = (struct timespec){(time_t)(at / US_PER_S), (long)(at % US_PER_S * 1000)};
    }
    im->armed_us = at;
    timerfd_settime(im->timer, TFD_TIMER_ABSTIME, &t, NULL);
}

static int serve(struct impairer *im)
{
    struct epoll_event ev[4];
    uint64_t expired;

    im->epoll = epoll_create1(EPOLL_CLOEXEC);
    im->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (im->epoll == -1 || im->timer == -1)
        die("epoll");
    watch(im, im->tun[UP], EV_CLIENT);
    watch(im, im->tun[DOWN], EV_SERVER);
    watch(im, im->timer, EV_TIMER);
    watch(im, STDIN_FILENO, EV_STDIN);
    printf("{\"event\":\"ready\"}\n");
    fflush(stdout);
    for (;;) {
        int n = epoll_wait(im->epoll, ev, 4, -1);
        for (int i = 0; i < n; i++) {
            if (ev[i].data.u32 == EV_CLIENT || ev[i].data.u32 == EV_SERVER)
                read_tun(im, ev[i].data.u32 == EV_CLIENT ? UP : DOWN);
            else if (ev[i].data.u32 == EV_TIMER)
                im->armed_us = read(im->timer, &expired, sizeof(expired)) > 0 ? 0 : im->armed_us;
            else if (!read_commands(im))
                return 0;
        }
        uint64_t now_us = clock_now_us();
        run_steps(im, now_us);
        write_due(im, now_us + SLACK_US);
        arm(im);
    }
}

/* --- without devices */

#define DRY_HEADER 28 /* IPv4 and UDP */

static void dry_deliver(struct impair_link *l, uint64_t now_us, uint64_t interval_us, long *delay)
{
    struct slice got;

    for (uint64_t due; (due = impair_link_deadline(l)) <= now_us;) {
        while (impair_link_pop(l, due, &got)) {
            struct rd r = rd_init(slice_sub(got, DRY_HEADER, 4));
            uint32_t i = rd_be32(&r);
            if (delay[i] == -1)
                delay[i] = (long)(due - i * interval_us);
        }
    }
}

static int dry(struct impairer *im, unsigned long pkts, uint64_t interval_us, size_t bytes)
{
    static uint8_t buf[IMPAIR_PACKET_MAX] = {0x45, [9] = 17};
    long *delay = mem_calloc(pkts, sizeof(*delay));

    if (!delay || bytes < DRY_HEADER + 4 || bytes > sizeof(buf)) {
        errno = EINVAL;
        die("--dry");
    }
    for (uint32_t i = 0; i < pkts; i++) {
        struct wr w = wr_init(buf + DRY_HEADER, 4);
        uint64_t now_us = i * interval_us;
        delay[i] = -1;
        run_steps(im, now_us);
        dry_deliver(im->link[UP], now_us, interval_us, delay);
        wr_be32(&w, i);
        impair_link_push(im->link[UP], slice_of(buf, bytes), now_us);
    }
    dry_deliver(im->link[UP], CLOCK_NEVER - 1, interval_us, delay);
    print_stats(im);
    printf("{\"event\":\"delays\",\"delay_us\":[");
    for (uint32_t i = 0; i < pkts; i++)
        printf("%s%ld", i ? "," : "", delay[i]);
    printf("]}\n");
    mem_free(delay);
    return 0;
}

int main(int argc, char **argv)
{
    static struct impairer im;
    bool is_dry = argc == 6 && strcmp(argv[1], "--dry") == 0;

    if (argc != 5 && !is_dry) {
        fprintf(stderr, "usage: impair CLIENT_NETNS CLIENT_DEVICE SERVER_DEVICE SEED\n"
                        "       impair --dry SEED PACKETS INTERVAL_US BYTES\n");
        return 64;
    }
    prctl(PR_SET_PDEATHSIG, 9);
    im.start_us = is_dry ? 0 : clock_now_us();
    uint64_t seed = strtoull(argv[is_dry ? 2 : 4], NULL, 10);
    for (unsigned d = 0; d < DIRECTIONS; d++) {
        im.link[d] = impair_link_new(2 * seed + d, im.start_us);
        if (!im.link[d])
            die("links");
    }
    if (!is_dry) {
        open_devices(&im, argv[1], argv[2], argv[3]);
        return serve(&im);
    }
    char line[IMPAIR_LINE_MAX];
    while (fgets(line, sizeof(line), stdin)) {
        line[strcspn(line, "\n")] = '\0';
        take_line(&im, line, 0);
    }
    return dry(&im, strtoul(argv[3], NULL, 10), strtoull(argv[4], NULL, 10),
               strtoul(argv[5], NULL, 10));
}
