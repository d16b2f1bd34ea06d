/* The form of http.listen: HOST:PORT, [IPV6]:PORT or :PORT (every address); port 0: a free one. Nobody is asked whether there is such
 * a host. */
#ifndef WORKER_SERVICE_LISTEN_H
#define WORKER_SERVICE_LISTEN_H

#include "engine/fail.h"

struct listen {
    char host[256]; /* "": every address */
    const char *port;
};

/* l->port borrows from text. E_CONFIG. */
int listen_parse(struct listen *l, const char *text, struct fail *why);
/* The same of a setting: "" is off, and well. */
int listen_check(const char *text, struct fail *why);

#endif
