/* The network as a fault. Workers reach the broker only through the proxy: the broker has a listener more, whose address
 * for clients is the proxy's. Where the machine lets us, they live in a network namespace of their own, whose loopback
 * is cut off by nftables and slowed down by tc; producer, reader and checker are not in it. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/torture/proxy.h"
#include "tests/torture/strikes.h"

#include <cmocka.h>

enum { TOOL_MS = 10000 };

#define NAMESPACE "millrace-torture-"

struct network {
    char name[64]; /* of the namespace; empty: workers share ours */
    char bootstrap[32];
    bool has_nft, has_tbf;
    struct proxy *proxy;
    int first; /* the first strike's row in kinds */
};

/* ---- the namespace ---- */

/* A command line inside the namespace; its success. */
static bool inside(const struct network *n, const char *line)
{
    struct result r = {0};
    int code = result_runl(&r, TOOL_MS, "ip", "netns", "exec", n->name, "sh", "-c", line, NULL);
    result_free(&r);
    return code == 0;
}

static bool netns(const char *verb, const char *name)
{
    struct result r = {0};
    int code = result_runl(&r, TOOL_MS, "ip", "netns", verb, name, NULL);
    result_free(&r);
    return code == 0;
}

/* Of runs that were killed. */
static void remove_stale(void)
{
    DIR *d = opendir("/run/netns");
    for (struct dirent *e; d && (e = readdir(d));)
        if (!strncmp(e->d_name, NAMESPACE, strlen(NAMESPACE)) &&
            kill((pid_t)atoi(e->d_name + strlen(NAMESPACE)), 0) && errno == ESRCH)
            netns("delete", e->d_name);
    if (d)
        closedir(d);
}

static void namespace_open(struct network *n)
{
    if (geteuid() != 0)
        return;
    remove_stale();
    snprintf(n->name, sizeof n->name, NAMESPACE "%d", (int)getpid());
    if (!netns("add", n->name) || !inside(n, "ip link set lo up")) {
        n->name[0] = 0;
        return;
    }
    n->has_nft = inside(
        n,
        "nft add table ip torture && nft 'add chain ip torture in { type filter hook input priority 0; }'");
    n->has_tbf = inside(
        n, "tc qdisc add dev lo root tbf rate 8mbit burst 64kb latency 100ms && tc qdisc del dev lo root");
}

static int listener_open(int port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int yes = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 64))
        fail_msg("the proxy cannot listen on port %d: %s", port, strerror(errno));
    return fd;
}

/* A socket belongs to the namespace its thread was in when it was made. */
static int listener_open_inside(const struct network *n, int port)
{
    char path[128];
    snprintf(path, sizeof path, "/run/netns/%s", n->name);
    int here = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC),
        there = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(setns(there, CLONE_NEWNET), 0);
    int fd = listener_open(port);
    assert_int_equal(setns(here, CLONE_NEWNET), 0);
    close(here);
    close(there);
    return fd;
}

/* ---- the broker's listener ---- */

/* Puts `more` behind each line of the file that begins with `key`. */
static void lengthen(const char *path, const char *key, const char *more)
{
    struct result r = {0};
    char edit[300];
    snprintf(edit, sizeof edit, "s|^%s=.*|&%s|", key, more);
    result_runl(&r, TOOL_MS, "sed", "-i", edit, path, NULL);
    result_expect(&r, 0);
    result_free(&r);
}

static void broker_advertise(struct broker *b, int port, int proxy)
{
    char path[400], text[64];
    snprintf(path, sizeof path, "%s/node1/server.properties", b->dir);
    broker_stop(b, 0);
    snprintf(text, sizeof text, ",PROXIED://127.0.0.1:%d", port);
    lengthen(path, "listeners", text);
    snprintf(text, sizeof text, ",PROXIED://127.0.0.1:%d", proxy);
    lengthen(path, "advertised.listeners", text);
    lengthen(path, "listener.security.protocol.map", ",PROXIED:PLAINTEXT");
    broker_start(b, 0);
}

/* ---- the fault ---- */

void network_open(struct run *r)
{
    struct network *n = calloc(1, sizeof *n);
    int proxy = test_free_port(), broker = test_free_port();
    assert_non_null(n);
    r->tools = n;
    n->first = -1;
    namespace_open(n);
    broker_advertise(&r->broker, broker, proxy);
    n->proxy = proxy_open(n->name[0] ? listener_open_inside(n, proxy) : listener_open(proxy), broker);
    snprintf(n->bootstrap, sizeof n->bootstrap, "127.0.0.1:%d", proxy);
    r->bootstrap = n->bootstrap;
    if (n->name[0]) {
        const char *const words[] = {"ip", "netns", "exec", n->name};
        memcpy(r->prefix, words, sizeof words);
    }
    snprintf(r->note, sizeof r->note, "%s%s%s",
             !n->name[0]   ? "; skipped: network namespace (needs root and ip netns), frozen proxy instead"
             : !n->has_nft ? "; skipped: nftables (nft is missing), frozen proxy instead"
                           : "",
             n->name[0] && !n->has_tbf ? "; skipped: tbf (the kernel has none), slow proxy instead" : "", "");
}

void network_close(struct run *r)
{
    struct network *n = r->tools;
    if (!n)
        return;
    proxy_close(&n->proxy);
    if (n->name[0])
        netns("delete", n->name);
    free(n);
    r->tools = NULL;
}

static void pass_for(struct run *r, enum proxy_mode mode, int low_ms, int high_ms)
{
    struct network *n = r->tools;
    proxy_set(n->proxy, mode);
    run_pause(run_between(r, low_ms, high_ms));
    proxy_set(n->proxy, PROXY_PASS);
}

static void delay(struct run *r)
{
    pass_for(r, PROXY_DELAY, 1000, 5000);
}

static void slices(struct run *r)
{
    pass_for(r, PROXY_SLICES, 1000, 5000);
}

static void half_open(struct run *r)
{
    struct network *n = r->tools;
    proxy_half_open(n->proxy);
}

static void reset(struct run *r)
{
    struct network *n = r->tools;
    proxy_reset(n->proxy);
}

static void slow(struct run *r)
{
    struct network *n = r->tools;
    if (!n->has_tbf) {
        pass_for(r, PROXY_SLOW, 1000, 5000);
        return;
    }
    assert_true(inside(n, "tc qdisc add dev lo root tbf rate 8mbit burst 64kb latency 100ms"));
    run_pause(run_between(r, 1000, 5000));
    assert_true(inside(n, "tc qdisc del dev lo root"));
}

static void black_hole(struct run *r)
{
    struct network *n = r->tools;
    if (!n->has_nft) {
        pass_for(r, PROXY_FREEZE, 1000, 30000);
        return;
    }
    assert_true(inside(n, "nft add rule ip torture in drop"));
    run_pause(run_between(r, 1000, 30000));
    assert_true(inside(n, "nft flush chain ip torture in"));
}

/* Each kind in turn, from one that the seed chooses. */
void strike_network(struct run *r)
{
    static void (*const kinds[])(struct run *) = {delay, slices, half_open, reset, slow, black_hole};
    enum { KINDS = sizeof kinds / sizeof *kinds };
    struct network *n = r->tools;
    if (n->first < 0)
        n->first = run_between(r, 0, KINDS - 1);
    run_pause(run_between(r, 200, 2000));
    kinds[(n->first + r->strikes) % KINDS](r);
    run_recover(r);
}
