/* Two ICE agents made of libnice (Debian's libnice-dev) that may use only their relayed candidates,
 * for tests/e2e/turn_libnice_test.py.
 *
 *     nice_agents udp|tcp|tls SERVER_HOST SERVER_PORT USER PASSWORD [SECONDS]
 *
 * Both run in one GLib main loop. When each has found its way, the controlling one sends numbered
 * messages of many sizes one after the other, the other sends each back; then one every ten seconds
 * for SECONDS more. Prints the types of both ends of the selected pairs. Ends with 0 when every
 * message came back unchanged.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include <nice/agent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    COMPONENT = 1,
    MESSAGES = 200,
    STEP_BYTES = 6,
    BEAT_S = 10,
    DEADLINE_S = 30,
};

struct side {
    NiceAgent *agent;
    guint stream;
    struct side *other;
    gboolean gathered, ready;
};

static struct side sides[2];
static GMainLoop *loop;
static guint sent, beats_left;
static int result = 1;

static gsize size_of(guint number)
{
    return 1 + number % MESSAGES * STEP_BYTES;
}

static void send_next(void)
{
    guint8 text[1 + MESSAGES * STEP_BYTES];

    memset(text, (int)sent, size_of(sent));
    if (nice_agent_send(sides[0].agent, sides[0].stream, COMPONENT, (guint)size_of(sent),
                        (const gchar *)text) != (gint)size_of(sent)) {
        printf("message %u was not sent\n", sent);
        g_main_loop_quit(loop);
    }
}

static gboolean on_beat(gpointer arg)
{
    (void)arg;
    send_next();
    return G_SOURCE_REMOVE;
}

/* The controlling side gets an echo, the other what is to be echoed. */
static void on_data(NiceAgent *agent, guint stream, guint component, guint size, gchar *text,
                    gpointer arg)
{
    struct side *side = arg;

    if (side == &sides[1]) {
        (void)nice_agent_send(agent, stream, component, size, text);
        return;
    }
    if (size != size_of(sent) || (guint8)text[0] != (guint8)sent ||
        (guint8)text[size - 1] != (guint8)sent) {
        printf("message %u came back as %u bytes\n", sent, size);
        g_main_loop_quit(loop);
        return;
    }
    if (++sent < MESSAGES) {
        send_next();
        return;
    }
    if (beats_left > 0) {
        beats_left--;
        (void)g_timeout_add_seconds(BEAT_S, on_beat, NULL);
        return;
    }
    printf("%u messages came back\n", sent);
    result = 0;
    g_main_loop_quit(loop);
}

static void on_state(NiceAgent *agent, guint stream, guint component, guint state, gpointer arg)
{
    static const char *const types[] = {"host", "srflx", "prflx", "relay"};
    struct side *side = arg;
    NiceCandidate *local, *remote;

    if (state == NICE_COMPONENT_STATE_FAILED) {
        printf("agent %d: failed\n", (int)(side - sides));
        g_main_loop_quit(loop);
    }
    if (state != NICE_COMPONENT_STATE_READY || side->ready)
        return;
    side->ready = TRUE;
    if (nice_agent_get_selected_pair(agent, stream, component, &local, &remote))
        printf("agent %d: %s %s\n", (int)(side - sides), types[local->type], types[remote->type]);
    if (side->other->ready)
        send_next();
}

static void introduce(struct side *to, struct side *whom)
{
    GSList *candidates = nice_agent_get_local_candidates(whom->agent, whom->stream, COMPONENT);
    gchar *ufrag = NULL, *password = NULL;

    (void)nice_agent_get_local_credentials(whom->agent, whom->stream, &ufrag, &password);
    (void)nice_agent_set_remote_credentials(to->agent, to->stream, ufrag, password);
    if (nice_agent_set_remote_candidates(to->agent, to->stream, COMPONENT, candidates) < 1)
        g_main_loop_quit(loop);
    g_free(ufrag);
    g_free(password);
    g_slist_free_full(candidates, (GDestroyNotify)nice_candidate_free);
}

static void on_gathered(NiceAgent *agent, guint stream, gpointer arg)
{
    struct side *side = arg;

    (void)agent;
    (void)stream;
    side->gathered = TRUE;
    if (!side->other->gathered)
        return;
    introduce(side, side->other);
    introduce(side->other, side);
}

static gboolean start(struct side *side, NiceRelayType relay, char **argv)
{
    NiceAddress host;

    side->agent = nice_agent_new(g_main_loop_get_context(loop), NICE_COMPATIBILITY_RFC5245);
    g_object_set(side->agent, "controlling-mode", side == &sides[0], "force-relay", TRUE, "upnp",
                 FALSE, "ice-tcp", FALSE, NULL);
    nice_address_init(&host);
    (void)nice_address_set_from_string(&host, argv[2]);
    (void)nice_agent_add_local_address(side->agent, &host);
    (void)g_signal_connect(side->agent, "candidate-gathering-done", G_CALLBACK(on_gathered), side);
    (void)g_signal_connect(side->agent, "component-state-changed", G_CALLBACK(on_state), side);
    side->stream = nice_agent_add_stream(side->agent, 1);
    return nice_agent_set_relay_info(side->agent, side->stream, COMPONENT, argv[2],
                                     (guint)strtoul(argv[3], NULL, 10), argv[4], argv[5], relay) &&
           nice_agent_attach_recv(side->agent, side->stream, COMPONENT,
                                  g_main_loop_get_context(loop), on_data, side) &&
           nice_agent_gather_candidates(side->agent, side->stream);
}

static gboolean on_deadline(gpointer arg)
{
    (void)arg;
    printf("not done in time, after %u messages\n", sent);
    g_main_loop_quit(loop);
    return G_SOURCE_REMOVE;
}

/* The relay is told that the allocations are not needed any more. */
static void on_closed(GObject *agent, GAsyncResult *ended, gpointer arg)
{
    int *left = arg;

    (void)agent;
    (void)ended;
    if (--*left == 0)
        g_main_loop_quit(loop);
}

int main(int argc, char **argv)
{
    NiceRelayType relay;
    guint seconds;
    int left = 2;

    if (argc < 6)
        return 64;
    seconds = argc > 6 ? (guint)strtoul(argv[6], NULL, 10) : 0;
    beats_left = seconds / BEAT_S;
    relay = strcmp(argv[1], "udp") == 0   ? NICE_RELAY_TYPE_TURN_UDP
            : strcmp(argv[1], "tcp") == 0 ? NICE_RELAY_TYPE_TURN_TCP
                                          : NICE_RELAY_TYPE_TURN_TLS;
    setvbuf(stdout, NULL, _IOLBF, 0);
    loop = g_main_loop_new(NULL, FALSE);
    (void)g_timeout_add_seconds(DEADLINE_S + 2 * seconds, on_deadline, NULL);
    sides[0].other = &sides[1];
    sides[1].other = &sides[0];
    if (!start(&sides[0], relay, argv) || !start(&sides[1], relay, argv)) {
        printf("cannot start\n");
        return 1;
    }
    g_main_loop_run(loop);
    for (int i = 0; i < 2; i++)
        nice_agent_close_async(sides[i].agent, on_closed, &left);
    g_main_loop_run(loop);
    for (int i = 0; i < 2; i++)
        g_object_unref(sides[i].agent);
    g_main_loop_unref(loop);
    return result;
}
