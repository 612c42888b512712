/* Relaying of open channels in the kernel: loads and attaches bpf/relay.bpf.c, feeds its maps.
 *
 * Called by turn_node.c (life), turn_worker.c (relay_ops.offload). A shell: offload_plan.c decides
 * what goes in. The only file that sees libbpf.
 *
 *     no flow ──offload_update: open──► flow in both maps ──update: longer──► the same, later end
 *                                          │
 *     closed, moved, ended, expired ──remove_flow──► slot closed, out of both maps, counts taken
 *
 * Sockets stay open: without its entry a channel is relayed by them. An end that comes later than
 * it should is not late for the kernel, which compares the time itself; and when this process is
 * gone, the beat that the program waits for is, too, so that it relays for BEAT_US more at most.
 *
 * A slot outlives its entries by as long as the ring of free slots takes: what a packet that was
 * under way adds to it goes nowhere.
 * SPDX-License-Identifier: BSD-3-Clause */
#include "turn/offload.h"

#include <errno.h>

#ifdef SORI_OFFLOAD

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <ifaddrs.h>
#include <linux/pkt_sched.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "turn/netlink_sock.h"
#include "turn/offload_plan.h"
#include "turn/turn_worker.h"

#define DEVICES_MAX (TURN_LISTEN_MAX + TURN_RELAYS_MAX)
#define NAMES_MAX   (DEVICES_MAX * (IF_NAMESIZE + 1))
#define PRIORITY    0x534f /* of our filter: the one mark that tells it from others' */
#define HANDLE      1
#define TICK_US     US_PER_S
#define BEAT_US     (5 * US_PER_S)
#define NS_PER_US   1000
#define WHY_MAX     160

/* The program is compiled into the binary. */
__asm__(".section .rodata\n"
        ".balign 16\n"
        "offload_program_begin:\n"
        ".incbin \"" SORI_OFFLOAD "\"\n"
        "offload_program_end:\n"
        ".byte 0\n"
        ".previous\n");
extern const uint8_t offload_program_begin[] __attribute__((visibility("hidden")));
extern const uint8_t offload_program_end[] __attribute__((visibility("hidden")));

struct device {
    int ifindex;
    bool ours; /* the hook is: nobody else had one there */
};

struct offload {
    struct bpf_object *object;
    int program, up, down; /* descriptors, the object's */
    uint32_t program_id;
    struct offload_slot *slots; /* mapped */
    size_t slots_bytes;
    struct offload_rules *rules; /* mapped */
    size_t rules_bytes;
    struct device devices[DEVICES_MAX];
    size_t n_devices;
    char names[NAMES_MAX];
    pthread_mutex_t lock; /* over the rest: free slots, oldest first */
    uint32_t *free_slots;
    uint32_t n_slots, first, n_free;
};

/* One channel that the kernel relays. */
struct offload_flow {
    struct list in_worker;
    struct offload_flow *next; /* of the same allocation */
    struct alloc *alloc;
    struct offload_plan plan;
    struct offload_slot seen; /* counts already taken */
    bool kept;
};

static char complaint[WHY_MAX]; /* libbpf's last one, at the start */

__attribute__((format(printf, 2, 0))) static int keep_complaint(enum libbpf_print_level level,
                                                                const char *fmt, va_list args)
{
    if (level == LIBBPF_WARN)
        vsnprintf(complaint, sizeof(complaint), fmt, args);
    complaint[strcspn(complaint, "\n")] = '\0';
    return 0;
}

static int refuse(char err[CONF_ERR_MAX], const char *what, int e)
{
    if (e == -EPERM || e == -EACCES)
        snprintf(
            err, CONF_ERR_MAX,
            "[turn] offload: cannot %s: needs CAP_BPF and CAP_NET_ADMIN, and no user namespace "
            "in between",
            what);
    else
        snprintf(err, CONF_ERR_MAX, "[turn] offload: cannot %s: %s%s%s", what, strerror(-e),
                 complaint[0] ? ": " : "", complaint);
    return e;
}

/* ---- the program and its maps ---- */

static int set_entries(struct offload *o, const char *map, uint32_t n)
{
    struct bpf_map *m = bpf_object__find_map_by_name(o->object, map);

    return m ? bpf_map__set_max_entries(m, n) : -ENOENT;
}

static int map_fd(const struct offload *o, const char *map)
{
    return bpf_object__find_map_fd_by_name(o->object, map);
}

static void *map_memory(const struct offload *o, const char *map, size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, map_fd(o, map), 0);

    return p == MAP_FAILED ? NULL : p;
}

static int load(struct offload *o, char err[CONF_ERR_MAX])
{
    const size_t bytes = (size_t)(offload_program_end - offload_program_begin);
    struct bpf_prog_info info = {0};
    uint32_t info_bytes = sizeof(info);

    o->object = bpf_object__open_mem(offload_program_begin, bytes, NULL);
    if (!o->object)
        return refuse(err, "read its program", -errno);
    int e = set_entries(o, "up", o->n_slots);
    if (!e)
        e = set_entries(o, "down", o->n_slots);
    if (!e)
        e = set_entries(o, "slots", o->n_slots);
    if (!e)
        e = bpf_object__load(o->object);
    if (e)
        return refuse(err, "load its program", e);
    const struct bpf_program *p = bpf_object__find_program_by_name(o->object, "sori_relay");
    o->program = p ? bpf_program__fd(p) : -1;
    o->up = map_fd(o, "up");
    o->down = map_fd(o, "down");
    if (bpf_obj_get_info_by_fd(o->program, &info, &info_bytes) != 0)
        return refuse(err, "find its program", -errno);
    o->program_id = info.id;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    o->slots_bytes = (o->n_slots * sizeof(*o->slots) + page - 1) / page * page;
    o->rules_bytes = page;
    o->slots = map_memory(o, "slots", o->slots_bytes);
    o->rules = map_memory(o, "rules", o->rules_bytes);
    return o->slots && o->rules ? 0 : refuse(err, "map its counters", -errno);
}

static uint8_t default_ttl(void)
{
    int ttl = IPDEFTTL, fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t len = sizeof(ttl);

    if (fd != -1) {
        (void)getsockopt(fd, IPPROTO_IP, IP_TTL, &ttl, &len);
        close(fd);
    }
    return (uint8_t)ttl;
}

/* ---- devices ---- */

static bool is_ours(const struct turn_conf *c, const struct addr *ip)
{
    for (size_t i = 0; i < c->n_udp; i++) {
        if (addr_ip_eq(&c->listen_udp[i], ip))
            return true;
    }
    for (size_t i = 0; i < c->n_relay; i++) {
        if (addr_ip_eq(&c->relay[i], ip))
            return true;
    }
    return false;
}

/* The program expects an Ethernet header, which loopback has, too. */
static bool has_ethernet(const char *name)
{
    struct ifreq r = {0};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
    int e = fd == -1 ? -1 : ioctl(fd, SIOCGIFHWADDR, &r);
    if (fd != -1)
        close(fd);
    return e == 0 &&
           (r.ifr_hwaddr.sa_family == ARPHRD_ETHER || r.ifr_hwaddr.sa_family == ARPHRD_LOOPBACK);
}

static struct bpf_tc_hook hook_of(const struct device *d)
{
    return (struct bpf_tc_hook){
        .sz = sizeof(struct bpf_tc_hook), .ifindex = d->ifindex, .attach_point = BPF_TC_INGRESS};
}

static struct bpf_tc_opts our_filter(void)
{
    return (struct bpf_tc_opts){
        .sz = sizeof(struct bpf_tc_opts), .handle = HANDLE, .priority = PRIORITY};
}

static int attach(struct offload *o, const char *name, char err[CONF_ERR_MAX])
{
    struct device *d = &o->devices[o->n_devices];

    *d = (struct device){.ifindex = (int)if_nametoindex(name)};
    for (size_t i = 0; i < o->n_devices; i++) {
        if (o->devices[i].ifindex == d->ifindex)
            return 0;
    }
    if (o->n_devices == DEVICES_MAX - 1 || !has_ethernet(name)) {
        log_warn("offload", "%s: not an Ethernet device, its traffic is relayed by sockets", name);
        return 0;
    }
    struct bpf_tc_hook hook = hook_of(d);
    struct bpf_tc_opts left = our_filter(), filter = our_filter();
    int e = bpf_tc_hook_create(&hook);
    if (e && e != -EEXIST)
        return refuse(err, "attach its program", e);
    d->ours = e == 0 || bpf_tc_query(&hook, &left) == 0; /* or of a predecessor that was killed */
    filter.prog_fd = o->program;
    filter.flags = BPF_TC_F_REPLACE;
    e = bpf_tc_attach(&hook, &filter);
    if (e)
        return refuse(err, "attach its program", e);
    size_t len = strlen(o->names);
    snprintf(&o->names[len], sizeof(o->names) - len, "%s%s", len > 0 ? " " : "", name);
    o->n_devices++;
    return 0;
}

static int attach_all(struct offload *o, const struct turn_conf *c, char err[CONF_ERR_MAX])
{
    struct ifaddrs *all;
    int e = 0;

    if (getifaddrs(&all) == -1)
        return refuse(err, "list devices", -errno);
    for (const struct ifaddrs *i = all; i && !e; i = i->ifa_next) {
        if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET)
            continue;
        struct addr ip = addr_with_port(addr_from_sockaddr(i->ifa_addr), 0);
        if (is_ours(c, &ip))
            e = attach(o, i->ifa_name, err);
    }
    freeifaddrs(all);
    if (!e && o->n_devices == 0) {
        snprintf(err, CONF_ERR_MAX,
                 "[turn] offload: no Ethernet or loopback device has an IPv4 address of ours");
        e = -ENODEV;
    }
    return e;
}

/* Takes our filter off, and the hook with it when we made it and nobody else has come to use it. */
static void detach(const struct offload *o, const struct device *d)
{
    struct bpf_tc_hook hook = hook_of(d);
    struct bpf_tc_opts found = our_filter(), ours = our_filter();

    if (bpf_tc_query(&hook, &found) != 0 || found.prog_id != o->program_id)
        return; /* another sori-turn has taken the place */
    (void)bpf_tc_detach(&hook, &ours);
    int fd = d->ours ? netlink_sock_open(false) : -1;
    if (fd < 0)
        return;
    if (!netlink_sock_has_filters(fd, d->ifindex, TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS)) &&
        !netlink_sock_has_filters(fd, d->ifindex, TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS))) {
        hook.attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS;
        (void)bpf_tc_hook_destroy(&hook);
    }
    close(fd);
}

/* ---- slots ---- */

static bool take_slot(struct offload *o, uint32_t *slot)
{
    pthread_mutex_lock(&o->lock);
    bool some = o->n_free > 0;
    if (some) {
        *slot = o->free_slots[o->first];
        o->first = (o->first + 1) % o->n_slots;
        o->n_free--;
    }
    pthread_mutex_unlock(&o->lock);
    if (some)
        o->slots[*slot] = (struct offload_slot){0};
    return some;
}

static void give_slot(struct offload *o, uint32_t slot)
{
    pthread_mutex_lock(&o->lock);
    o->free_slots[(o->first + o->n_free++) % o->n_slots] = slot;
    pthread_mutex_unlock(&o->lock);
}

static void set_end(struct offload *o, uint32_t slot, uint64_t until_us)
{
    __atomic_store_n(&o->slots[slot].until_ns, until_us * NS_PER_US, __ATOMIC_RELEASE);
}

static void beat(struct offload *o, uint64_t now_us)
{
    __atomic_store_n(&o->rules->beat_until_ns, (now_us + BEAT_US) * NS_PER_US, __ATOMIC_RELEASE);
}

/* ---- flows ---- */

/* Takes what has been relayed since the last time into the allocation's counts. */
static void take_counts(struct offload_worker *o, struct offload_flow *f)
{
    const struct offload_slot *s = &o->shared->slots[f->plan.up.slot];
    struct counter *const total[] = {&o->up_pkts, &o->down_pkts};

    for (unsigned i = 0; i < 2; i++) {
        uint64_t pkts = __atomic_load_n(&s->pkts[i], __ATOMIC_ACQUIRE);
        uint64_t bytes = __atomic_load_n(&s->bytes[i], __ATOMIC_ACQUIRE);
        uint64_t more = pkts - f->seen.pkts[i];
        relay_count(&o->w->core, f->alloc, i == OFFLOAD_UP, more, bytes - f->seen.bytes[i]);
        counter_add(total[i], more);
        f->seen.pkts[i] = pkts;
        f->seen.bytes[i] = bytes;
    }
}

/* Takes it out of the maps; the caller has taken it out of its allocation's list. */
static void remove_flow(struct offload_worker *o, struct offload_flow *f)
{
    struct offload *s = o->shared;

    set_end(s, f->plan.up.slot, 0);
    (void)bpf_map_delete_elem(s->up, &f->plan.up_key);
    (void)bpf_map_delete_elem(s->down, &f->plan.down_key);
    take_counts(o, f);
    give_slot(s, f->plan.up.slot);
    list_del(&f->in_worker);
    counter_sub(&o->channels, 1);
    mem_free(f);
}

static int enter(const struct offload *s, const struct offload_plan *p, uint64_t flags)
{
    if (bpf_map_update_elem(s->down, &p->down_key, &p->down, flags) != 0)
        return -errno;
    if (bpf_map_update_elem(s->up, &p->up_key, &p->up, flags) == 0)
        return 0;
    int e = -errno;
    if (flags == BPF_NOEXIST)
        (void)bpf_map_delete_elem(s->down, &p->down_key);
    return e;
}

static bool find_devices(const struct offload_worker *o, struct offload_plan *p)
{
    p->up.ifindex = netlink_sock_device(o->route_fd, p->up.from_ip, p->up.to_ip);
    p->down.ifindex = netlink_sock_device(o->route_fd, p->down.from_ip, p->down.to_ip);
    return p->up.ifindex > 0 && p->down.ifindex > 0;
}

/* A channel that cannot be added stays with the sockets, and is tried again with its next request.
 */
static void add_flow(struct offload_worker *o, struct alloc *a, const struct offload_plan *plan,
                     uint64_t now_us)
{
    struct offload *s = o->shared;
    struct offload_flow *f = mem_zalloc(sizeof(*f));
    uint32_t slot;

    if (!f || !take_slot(s, &slot)) {
        counter_inc(&o->refused);
        mem_free(f);
        return;
    }
    f->plan = *plan;
    f->plan.up.slot = f->plan.down.slot = slot;
    if (!find_devices(o, &f->plan) || enter(s, &f->plan, BPF_NOEXIST) != 0) {
        counter_inc(&o->refused);
        give_slot(s, slot);
        mem_free(f);
        return;
    }
    if (list_empty(&o->flows))
        worker_timer(o->w->loop, &o->tick, now_us + TICK_US);
    beat(s, now_us);
    set_end(s, slot, plan->until_us);
    f->alloc = a;
    f->next = a->flows;
    a->flows = f;
    if (a->media)
        media_quality_blind(a->media);
    list_append(&o->flows, &f->in_worker);
    counter_inc(&o->channels);
}

static struct offload_flow *find_flow(const struct alloc *a, const struct offload_plan *p)
{
    struct offload_flow *f = a->flows;

    while (f && !offload_plan_same(&f->plan, p))
        f = f->next;
    return f;
}

static bool plan(const struct offload_worker *o, const struct alloc *a, const struct chan *c,
                 struct offload_plan *out)
{
    const struct turn_worker *w = o->w;

    return a->tuple.listener < w->conf->n_udp &&
           offload_plan_channel(out, w->core.shared, w->core.worker, a, c,
                                &w->conf->listen_udp[a->tuple.listener], worker_now(w->loop));
}

/* Removes those flows of a that are not marked. */
static void sweep(struct offload_worker *o, struct alloc *a)
{
    for (struct offload_flow **at = &a->flows; *at;) {
        struct offload_flow *f = *at;
        if (f->kept) {
            f->kept = false;
            at = &f->next;
        } else {
            *at = f->next;
            remove_flow(o, f);
        }
    }
}

/* What has gone goes first: a number or peer that is bound anew needs the old one's keys. */
void offload_update(struct offload_worker *o, struct alloc *a, bool alive)
{
    struct offload_plan p;
    const struct chan *c;

    if (!o->shared)
        return;
    for (unsigned i = 0; alive && (c = chan_at(&a->chans, i)); i++) {
        struct offload_flow *f = plan(o, a, c, &p) ? find_flow(a, &p) : NULL;
        if (!f)
            continue;
        f->kept = true;
        f->plan.until_us = p.until_us;
        set_end(o->shared, f->plan.up.slot, p.until_us);
    }
    sweep(o, a);
    for (unsigned i = 0; alive && (c = chan_at(&a->chans, i)); i++) {
        if (plan(o, a, c, &p) && !find_flow(a, &p))
            add_flow(o, a, &p, worker_now(o->w->loop));
    }
}

static void forget(struct offload_worker *o, struct offload_flow *f)
{
    struct offload_flow **at = &f->alloc->flows;

    while (*at != f)
        at = &(*at)->next;
    *at = f->next;
    remove_flow(o, f);
}

/* Follows the routes. False: there is none any more. */
static bool reroute(struct offload_worker *o, struct offload_flow *f)
{
    struct offload_plan was = f->plan;

    if (!find_devices(o, &f->plan))
        return false;
    return (was.up.ifindex == f->plan.up.ifindex && was.down.ifindex == f->plan.down.ifindex) ||
           enter(o->shared, &f->plan, BPF_EXIST) == 0;
}

static void on_tick(void *arg, uint64_t now_us)
{
    struct offload_worker *o = arg;
    bool news = netlink_sock_news(o->news_fd);

    beat(o->shared, now_us);
    LIST_EACH(at, next, &o->flows)
    {
        struct offload_flow *f = CONTAINER_OF(at, struct offload_flow, in_worker);
        if (f->plan.until_us <= now_us || (news && !reroute(o, f)))
            forget(o, f);
        else
            take_counts(o, f);
    }
    if (!list_empty(&o->flows))
        worker_timer(o->w->loop, &o->tick, now_us + TICK_US);
}

/* ---- life ---- */

int offload_worker_init(struct offload_worker *o, struct offload *shared, struct turn_worker *w)
{
    if (!shared)
        return 0;
    o->w = w;
    list_init(&o->flows);
    o->tick = (struct wtimer){.fn = on_tick, .arg = o};
    o->route_fd = netlink_sock_open(false);
    o->news_fd = netlink_sock_open(true);
    o->shared = shared;
    return o->route_fd < 0 ? o->route_fd : o->news_fd < 0 ? o->news_fd : 0;
}

void offload_worker_fini(struct offload_worker *o)
{
    if (!o->shared)
        return;
    if (o->w->loop)
        worker_timer_cancel(o->w->loop, &o->tick);
    if (o->route_fd >= 0)
        close(o->route_fd);
    if (o->news_fd >= 0)
        close(o->news_fd);
    *o = (struct offload_worker){0};
}

void offload_free(struct offload *o)
{
    if (!o)
        return;
    for (size_t i = 0; i < o->n_devices; i++)
        detach(o, &o->devices[i]);
    if (o->slots)
        munmap(o->slots, o->slots_bytes);
    if (o->rules)
        munmap(o->rules, o->rules_bytes);
    bpf_object__close(o->object);
    pthread_mutex_destroy(&o->lock);
    mem_free(o->free_slots);
    mem_free(o);
}

struct offload *offload_new(const struct turn_conf *conf, char err[CONF_ERR_MAX])
{
    struct offload *o = mem_zalloc(sizeof(*o));

    snprintf(err, CONF_ERR_MAX, "out of memory");
    if (!o)
        return NULL;
    pthread_mutex_init(&o->lock, NULL);
    o->n_slots = o->n_free = (uint32_t)conf->offload_channels;
    o->free_slots = mem_calloc(o->n_slots, sizeof(*o->free_slots));
    for (uint32_t i = 0; o->free_slots && i < o->n_slots; i++)
        o->free_slots[i] = i;
    complaint[0] = '\0';
    libbpf_set_print(keep_complaint);
    if (!o->free_slots || load(o, err) != 0)
        goto fail;
    o->rules->copy = conf->ip_headers == TURN_IP_HEADERS_COPY;
    o->rules->ttl = default_ttl();
    if (attach_all(o, conf, err) == 0)
        return o;
fail:
    offload_free(o);
    return NULL;
}

const char *offload_devices(const struct offload *o)
{
    return o->names;
}

#else /* built without clang or libbpf */

struct offload *offload_new(const struct turn_conf *conf, char err[CONF_ERR_MAX])
{
    (void)conf;
    snprintf(err, CONF_ERR_MAX,
             "[turn] offload: not built in (building it needs clang and libbpf-dev)");
    return NULL;
}

void offload_free(struct offload *o)
{
    (void)o;
}

const char *offload_devices(const struct offload *o)
{
    (void)o;
    return "";
}

int offload_worker_init(struct offload_worker *o, struct offload *shared, struct turn_worker *w)
{
    (void)o;
    (void)shared;
    (void)w;
    return 0;
}

void offload_worker_fini(struct offload_worker *o)
{
    (void)o;
}

void offload_update(struct offload_worker *o, struct alloc *a, bool alive)
{
    (void)o;
    (void)a;
    (void)alive;
}

#endif

int offload_register(struct metrics *m, const struct offload_worker *o)
{
    static const char pkts[] = "sori_turn_offloaded_packets_total";
    static const char help[] = "Datagrams relayed in the kernel, among those relayed";

    int err = metrics_add(m, pkts, "direction=\"to_peer\"", help, METRIC_COUNTER, &o->up_pkts);
    if (!err)
        err = metrics_add(m, pkts, "direction=\"to_client\"", help, METRIC_COUNTER, &o->down_pkts);
    if (!err)
        err = metrics_add(m, "sori_turn_offloaded_channels", "", "Channels that the kernel relays",
                          METRIC_GAUGE, &o->channels);
    if (!err)
        err = metrics_add(m, "sori_turn_offload_refused_total", "",
                          "Channels that the kernel had no room or route for", METRIC_COUNTER,
                          &o->refused);
    return err;
}
