/* A TCP proxy in a thread of its own, between workers and a broker, that mistreats what passes through it. */
#ifndef TESTS_TORTURE_PROXY_H
#define TESTS_TORTURE_PROXY_H

enum proxy_mode {
    PROXY_PASS,
    PROXY_DELAY,  /* every chunk (64 KiB at most) arrives 100 ms late, in both directions */
    PROXY_SLICES, /* the first 512 bytes of every chunk go byte by byte, each in a segment of its own */
    PROXY_SLOW,   /* 1 MB/s for all connections together */
    PROXY_FREEZE, /* nothing is read, written or accepted */
};

struct proxy;

/* Takes over the listening socket; connections go on to 127.0.0.1:port. */
struct proxy *proxy_open(int listener, int port);
void proxy_close(struct proxy **p); /* NULL is allowed */
void proxy_set(struct proxy *p, enum proxy_mode mode);
/* What is connected now stays connected for the worker and is dead: the broker's side is closed, what the worker sends
 * is swallowed, nothing comes back. Returns how many connections that are. */
int proxy_half_open(struct proxy *p);
/* What is connected now is reset on both sides. */
int proxy_reset(struct proxy *p);

#endif
