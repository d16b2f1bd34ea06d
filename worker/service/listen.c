/* See listen.h. Who listens: http.c. */
#include "worker/service/listen.h"

#include <stdlib.h>
#include <string.h>

int listen_parse(struct listen *l, const char *text, struct fail *why)
{
    static const char form[] = "http.listen: expected HOST:PORT, [IPV6]:PORT or :PORT, got '%s'";
    const char *colon = strrchr(text, ':'), *host = text;
    size_t size = colon ? (size_t)(colon - text) : 0;
    char *end;
    if (!colon || !colon[1] || size >= sizeof l->host)
        return fail(why, E_CONFIG, form, text);
    if (size && text[0] == '[') {
        if (size < 3 || text[size - 1] != ']')
            return fail(why, E_CONFIG, form, text);
        host++;
        size -= 2;
    } else if (memchr(text, ':', size)) {
        return fail(why, E_CONFIG, form, text);
    }
    long port = strspn(colon + 1, "0123456789") == strlen(colon + 1) ? strtol(colon + 1, &end, 10) : -1;
    if (port < 0 || port > 65535)
        return fail(why, E_CONFIG, "http.listen: expected a port from 0 to 65535 in '%s'", text);
    memcpy(l->host, host, size);
    l->host[size] = 0;
    l->port = colon + 1;
    return 0;
}

int listen_check(const char *text, struct fail *why)
{
    struct listen l;
    return *text ? listen_parse(&l, text, why) : 0;
}
