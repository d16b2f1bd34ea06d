/* The worker's window: GET /metrics, /healthz and /readyz on one address, answered by a thread of its own.
 *
 *   /metrics   Prometheus' text format (metrics.h)
 *   /healthz   200 while the process answers: a supervisor restarts what does not
 *   /readyz    200 once every role is ready, else 503 and what it waits for, a line a role
 *
 * There is no password and nothing here can be changed from outside, but names of models can be read: the default is
 * loopback. Requests have no body worth reading, connections are few and short-lived. */
#ifndef WORKER_SERVICE_HTTP_H
#define WORKER_SERVICE_HTTP_H

#include "worker/service/metrics.h"

struct http;

/* `listen` as listen.h says. E_CONFIG: it is not of that form or no such
 * host; E_IO: the address is taken or not ours. `m` must outlive the server. */
int http_open(struct http **out, const char *listen, struct metrics *m, struct fail *why);
void http_close(struct http **h); /* NULL is allowed */
/* Where it listens, "127.0.0.1:9464". */
const char *http_address(const struct http *h);

#endif
