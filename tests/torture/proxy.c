/* See proxy.h: poll() over pairs of sockets, a buffer for each direction. */
#include "tests/torture/proxy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { PAIRS = 256, CHUNK = 65536, SLICED = 512, DELAY_US = 100000, SLOW_BYTES_PER_S = 1000000, TURN_MS = 5 };

/* One direction: what was read and not yet written. */
struct way {
    unsigned char *chunk;
    size_t at, end;
    int64_t due_us;
};

struct pair {
    int worker, broker;   /* -1: none; a pair without `worker` is free, one without `broker` is half open */
    struct way out, back; /* to the broker, to the worker */
    bool worker_ended, broker_ended;
};

struct proxy {
    int listener, port;
    pthread_t thread;
    pthread_mutex_t lock; /* guards the rest */
    bool stop;
    enum proxy_mode mode;
    double allowance; /* bytes that PROXY_SLOW lets pass now */
    int64_t filled_us;
    struct pair pairs[PAIRS];
};

static int64_t clock_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* ---- pairs ---- */

static void socket_end(int *fd, bool reset)
{
    struct linger now = {1, 0};
    if (*fd < 0)
        return;
    if (reset)
        setsockopt(*fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(*fd);
    *fd = -1;
}

static void pair_end(struct pair *c, bool reset)
{
    socket_end(&c->worker, reset);
    socket_end(&c->broker, reset);
    free(c->out.chunk);
    free(c->back.chunk);
    *c = (struct pair){.worker = -1, .broker = -1};
}

static void prepare(int fd)
{
    int yes = 1;
    fcntl(fd, F_SETFL, O_NONBLOCK);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
}

/* On loopback a connection is there or refused at once. */
static int broker_connect(int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to))
        socket_end(&fd, true);
    return fd;
}

static void accept_one(struct proxy *p)
{
    int fd = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC);
    struct pair *c = p->pairs;
    while (c < p->pairs + PAIRS && c->worker >= 0)
        c++;
    int broker = fd >= 0 && c < p->pairs + PAIRS ? broker_connect(p->port) : -1;
    if (broker < 0) {
        socket_end(&fd, true);
        return;
    }
    prepare(fd);
    prepare(broker);
    *c = (struct pair){.worker = fd, .broker = broker};
    c->out.chunk = malloc(CHUNK);
    c->back.chunk = malloc(CHUNK);
    if (!c->out.chunk || !c->back.chunk)
        pair_end(c, true);
}

/* ---- bytes ---- */

/* False: the other side has ended. */
static bool way_read(struct proxy *p, struct way *w, int from)
{
    if (w->end)
        return true;
    ssize_t n = recv(from, w->chunk, CHUNK, MSG_DONTWAIT);
    if (n > 0) {
        w->end = (size_t)n;
        w->at = 0;
        w->due_us = clock_us() + (p->mode == PROXY_DELAY ? DELAY_US : 0);
    }
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static size_t allowed(struct proxy *p, const struct way *w)
{
    size_t left = w->end - w->at;
    if (p->mode == PROXY_SLICES && w->at < SLICED)
        return 1;
    if (p->mode == PROXY_SLOW && (double)left > p->allowance)
        return p->allowance > 0 ? (size_t)p->allowance : 0;
    return left;
}

static void way_write(struct proxy *p, struct way *w, int to)
{
    while (w->at < w->end && clock_us() >= w->due_us) {
        size_t size = allowed(p, w);
        ssize_t n = size ? send(to, w->chunk + w->at, size, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
        if (n <= 0)
            return; /* full, slow, or ended: reading from there says so */
        w->at += (size_t)n;
        p->allowance -= (double)n;
    }
    if (w->at == w->end)
        w->at = w->end = 0;
}

static void swallow(struct pair *c)
{
    unsigned char nothing[4096];
    ssize_t n = recv(c->worker, nothing, sizeof nothing, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        pair_end(c, false);
}

static void pair_move(struct proxy *p, struct pair *c)
{
    if (c->broker < 0) {
        swallow(c);
        return;
    }
    c->worker_ended |= !way_read(p, &c->out, c->worker);
    c->broker_ended |= !way_read(p, &c->back, c->broker);
    way_write(p, &c->out, c->broker);
    way_write(p, &c->back, c->worker);
    if ((c->worker_ended && !c->out.end) || (c->broker_ended && !c->back.end))
        pair_end(c, false);
}

static void refill(struct proxy *p)
{
    int64_t now = clock_us();
    p->allowance += (double)(now - p->filled_us) * SLOW_BYTES_PER_S / 1e6;
    if (p->allowance > CHUNK)
        p->allowance = CHUNK;
    p->filled_us = now;
}

/* ---- the thread ---- */

/* Waits until something can be read or TURN_MS: what waits to be written is tried again by then. */
static void wait_for_any(struct proxy *p)
{
    struct pollfd polled[2 * PAIRS + 1];
    nfds_t count = 0;
    pthread_mutex_lock(&p->lock);
    if (p->mode != PROXY_FREEZE)
        polled[count++] = (struct pollfd){p->listener, POLLIN, 0};
    for (struct pair *c = p->pairs; p->mode != PROXY_FREEZE && c < p->pairs + PAIRS; c++) {
        if (c->worker >= 0 && !c->out.end)
            polled[count++] = (struct pollfd){c->worker, POLLIN, 0};
        if (c->broker >= 0 && !c->back.end)
            polled[count++] = (struct pollfd){c->broker, POLLIN, 0};
    }
    pthread_mutex_unlock(&p->lock);
    poll(polled, count, TURN_MS);
}

static void *proxy_main(void *context)
{
    struct proxy *p = context;
    for (bool stop = false; !stop;) {
        wait_for_any(p);
        pthread_mutex_lock(&p->lock);
        refill(p);
        if (p->mode != PROXY_FREEZE) {
            accept_one(p);
            for (struct pair *c = p->pairs; c < p->pairs + PAIRS; c++)
                if (c->worker >= 0)
                    pair_move(p, c);
        }
        stop = p->stop;
        pthread_mutex_unlock(&p->lock);
    }
    return NULL;
}

struct proxy *proxy_open(int listener, int port)
{
    struct proxy *p = calloc(1, sizeof *p);
    assert_non_null(p);
    p->listener = listener;
    p->port = port;
    p->filled_us = clock_us();
    for (int i = 0; i < PAIRS; i++)
        p->pairs[i] = (struct pair){.worker = -1, .broker = -1};
    fcntl(listener, F_SETFL, O_NONBLOCK);
    pthread_mutex_init(&p->lock, NULL);
    assert_int_equal(pthread_create(&p->thread, NULL, proxy_main, p), 0);
    return p;
}

void proxy_close(struct proxy **pp)
{
    struct proxy *p = *pp;
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->thread, NULL);
    for (struct pair *c = p->pairs; c < p->pairs + PAIRS; c++)
        pair_end(c, true);
    close(p->listener);
    pthread_mutex_destroy(&p->lock);
    free(p);
    *pp = NULL;
}

void proxy_set(struct proxy *p, enum proxy_mode mode)
{
    pthread_mutex_lock(&p->lock);
    p->mode = mode;
    pthread_mutex_unlock(&p->lock);
}

int proxy_half_open(struct proxy *p)
{
    int count = 0;
    pthread_mutex_lock(&p->lock);
    for (struct pair *c = p->pairs; c < p->pairs + PAIRS; c++)
        if (c->broker >= 0) {
            socket_end(&c->broker, true);
            count++;
        }
    pthread_mutex_unlock(&p->lock);
    return count;
}

int proxy_reset(struct proxy *p)
{
    int count = 0;
    pthread_mutex_lock(&p->lock);
    for (struct pair *c = p->pairs; c < p->pairs + PAIRS; c++)
        if (c->worker >= 0) {
            pair_end(c, true);
            count++;
        }
    pthread_mutex_unlock(&p->lock);
    return count;
}
