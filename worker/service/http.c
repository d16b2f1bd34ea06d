/* Serves the three pages through libmicrohttpd, on a socket that is opened here so that a busy port can be told from other
 * trouble. What the pages say: metrics.c. */
#include "worker/service/http.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "worker/service/listen.h"
#include "worker/service/log.h"

enum { CONNECTIONS = 16, IDLE_S = 10, BACKLOG = 16, CONNECTION_BYTES = 16 * 1024 };

struct http {
    struct MHD_Daemon *daemon;
    struct metrics *metrics;
    char address[NI_MAXHOST + NI_MAXSERV + 4];
};

/* ---- pages ---- */

static unsigned page_metrics(struct metrics *m, FILE *out)
{
    metrics_print(m, out);
    return MHD_HTTP_OK;
}

static unsigned page_health(struct metrics *m, FILE *out)
{
    (void)m;
    fputs("ok\n", out);
    return MHD_HTTP_OK;
}

static unsigned page_ready(struct metrics *m, FILE *out)
{
    if (!metrics_ready(m, out))
        return MHD_HTTP_SERVICE_UNAVAILABLE;
    fputs("ready\n", out);
    return MHD_HTTP_OK;
}

static unsigned page_none(struct metrics *m, FILE *out)
{
    (void)m;
    fputs("not found: /metrics, /healthz and /readyz are here\n", out);
    return MHD_HTTP_NOT_FOUND;
}

static unsigned page_refused(struct metrics *m, FILE *out)
{
    (void)m;
    fputs("only GET and HEAD\n", out);
    return MHD_HTTP_METHOD_NOT_ALLOWED;
}

struct page {
    const char *path;
    unsigned (*print)(struct metrics *m, FILE *out); /* returns the status */
    const char *type;
};

static const char PLAIN[] = "text/plain; charset=utf-8";
static const struct page pages[] = {
    {"/metrics", page_metrics, "text/plain; version=0.0.4; charset=utf-8"},
    {"/healthz", page_health, PLAIN},
    {"/readyz", page_ready, PLAIN},
};
static const struct page missing = {NULL, page_none, PLAIN}, refused = {NULL, page_refused, PLAIN};

static const struct page *page_find(const char *method, const char *path)
{
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return &refused;
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++)
        if (strcmp(path, pages[i].path) == 0)
            return &pages[i];
    return &missing;
}

/* Prints the page into memory; the response frees it. */
static enum MHD_Result answer(struct http *h, struct MHD_Connection *c, const struct page *p)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return MHD_NO; /* closes the connection */
    unsigned status = p->print(h->metrics, out);
    bool failed = ferror(out);
    if (fclose(out) != 0 || failed) {
        free(text);
        return MHD_NO;
    }
    struct MHD_Response *r = MHD_create_response_from_buffer(size, text, MHD_RESPMEM_MUST_FREE);
    if (!r) {
        free(text);
        return MHD_NO;
    }
    MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, p->type);
    MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    if (p == &refused)
        MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    enum MHD_Result rc = MHD_queue_response(c, status, r);
    MHD_destroy_response(r);
    return rc;
}

/* Called once when the headers are there, and again for pieces of a body, which is thrown away. */
static enum MHD_Result on_request(void *http, struct MHD_Connection *c, const char *path, const char *method,
                                  const char *version, const char *body, size_t *body_size, void **seen)
{
    static const char mark = 0;
    (void)version, (void)body;
    if (!*seen) {
        *seen = (void *)(uintptr_t)&mark;
        return MHD_YES;
    }
    if (*body_size) {
        *body_size = 0;
        return MHD_YES;
    }
    return answer(http, c, page_find(method, path));
}

static void on_log(void *http, const char *format, va_list args) __attribute__((format(printf, 2, 0)));
static void on_log(void *http, const char *format, va_list args)
{
    char text[300];
    (void)http;
    vsnprintf(text, sizeof text, format, args);
    text[strcspn(text, "\n")] = 0;
    log_event(LOG_DEBUG, "http", "text", text, NULL);
}

/* ---- the address ---- */

static void address_print(struct http *h, int fd)
{
    struct sockaddr_storage at;
    socklen_t size = sizeof at;
    char host[NI_MAXHOST] = "?", port[NI_MAXSERV] = "?";
    if (getsockname(fd, (struct sockaddr *)&at, &size) == 0)
        getnameinfo((struct sockaddr *)&at, size, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(h->address, sizeof h->address, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}

/* A listening socket on the first address that takes one; -1 with errno. */
static int socket_open(const struct addrinfo *list)
{
    int fd = -1, yes = 1;
    for (const struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        if (fd < 0)
            continue;
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
        if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
            return fd;
        int error = errno;
        close(fd);
        fd = -1;
        errno = error;
    }
    return fd;
}

static int listen_open(int *fd, const char *text, struct fail *why)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *list = NULL;
    struct listen l;
    int rc = listen_parse(&l, text, why);
    if (rc)
        return rc;
    int error = getaddrinfo(*l.host ? l.host : NULL, l.port, &hints, &list);
    if (error)
        return fail(why, E_CONFIG, "http.listen: '%s': %s", text, gai_strerror(error));
    *fd = socket_open(list);
    if (*fd < 0)
        rc = fail(why, E_IO, "http.listen: cannot listen on %s: %s", text, strerror(errno));
    freeaddrinfo(list);
    return rc;
}

int http_open(struct http **out, const char *listen, struct metrics *m, struct fail *why)
{
    int fd = -1;
    struct http *h = calloc(1, sizeof *h);
    if (!h)
        return fail(why, E_MEMORY, "an HTTP server");
    h->metrics = m;
    int rc = listen_open(&fd, listen, why);
    if (rc)
        goto out;
    address_print(h, fd);
    h->daemon = MHD_start_daemon(
        MHD_USE_AUTO | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_request, h,
        MHD_OPTION_EXTERNAL_LOGGER, on_log, h, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_S,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES, MHD_OPTION_END);
    if (!h->daemon) {
        close(fd);
        rc = fail(why, E_IO, "http.listen: no server on %s", listen);
    }
out:
    if (rc)
        free(h);
    else
        *out = h;
    return rc;
}

void http_close(struct http **h)
{
    if (!*h)
        return;
    MHD_stop_daemon((*h)->daemon); /* closes the socket */
    free(*h);
    *h = NULL;
}

const char *http_address(const struct http *h)
{
    return h->address;
}
