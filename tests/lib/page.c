/* Asks for pages and checks what Prometheus would stumble over. */
#include "tests/lib/page.h"

#include <arpa/inet.h>
#include <math.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include <jansson.h>

#include "tests/lib/process.h"

enum { SERIES = 512 };

void page_find(struct process *p, char address[64])
{
    char line[4096];
    assert_true(process_wait_text(p, "http listens", 1, 20000));
    FILE *f = fopen(p->log, "r");
    assert_non_null(f);
    address[0] = 0;
    while (!address[0] && fgets(line, sizeof line, f)) {
        json_t *event = json_loads(line, 0, NULL);
        assert_non_null(event);
        const char *found = json_string_value(json_object_get(event, "address"));
        if (found)
            snprintf(address, 64, "%s", found);
        json_decref(event);
    }
    fclose(f);
    assert_true(address[0] != 0);
}

static int dial(const char *address)
{
    struct sockaddr_in to = {.sin_family = AF_INET};
    char host[64];
    const char *colon = strrchr(address, ':');
    assert_non_null(colon);
    snprintf(host, sizeof host, "%.*s", (int)(colon - address), address);
    to.sin_port = htons((uint16_t)atoi(colon + 1));
    assert_int_equal(inet_pton(AF_INET, host, &to.sin_addr), 1);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    struct timeval limit = {.tv_sec = 20};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
        return fd;
    close(fd);
    return -1;
}

void page_get(struct page *p, const char *address, const char *method, const char *path)
{
    char *text = NULL;
    size_t size = 0;
    *p = (struct page){.status = -1};
    int fd = dial(address);
    if (fd < 0)
        return;
    dprintf(fd, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", method, path);
    for (ssize_t n = 1; n > 0; size += (size_t)n) {
        text = realloc(text, size + 65537);
        assert_non_null(text);
        n = read(fd, text + size, 65536);
        assert_true(n >= 0);
    }
    close(fd);
    text[size] = 0;
    assert_int_equal(strlen(text), size);
    char *gap = strstr(text, "\r\n\r\n");
    assert_non_null(gap);
    *gap = 0;
    assert_int_equal(sscanf(text, "HTTP/1.1 %d", &p->status), 1);
    p->headers = text;
    p->body = strdup(gap + 4);
}

void page_free(struct page *p)
{
    free(p->headers);
    free(p->body);
    *p = (struct page){0};
}

/* ---- lines ---- */

/* Takes one line off the page: series and value; false at its end. Comments are passed over. */
static bool next(const char **at, char series[SERIES], double *value)
{
    while (**at == '#')
        *at += strcspn(*at, "\n") + 1;
    if (!**at)
        return false;
    const char *end = *at + strcspn(*at, "\n"), *space = end;
    while (space > *at && *space != ' ')
        space--;
    if (*end != '\n' || space == *at || space - *at >= SERIES)
        fail_msg("no line of the text format: %.80s", *at);
    snprintf(series, SERIES, "%.*s", (int)(space - *at), *at);
    char *stop;
    *value = strtod(space + 1, &stop);
    if (stop != end || isnan(*value))
        fail_msg("no number: %.80s", *at);
    *at = end + 1;
    return true;
}

double page_value(const char *body, const char *want)
{
    char series[SERIES];
    double value;
    for (const char *at = body; next(&at, series, &value);)
        if (strcmp(series, want) == 0)
            return value;
    return -1;
}

double page_sum(const char *body, const char *start)
{
    char series[SERIES];
    double value, sum = 0;
    for (const char *at = body; next(&at, series, &value);)
        if (strncmp(series, start, strlen(start)) == 0)
            sum += value;
    return sum;
}

int page_lines(const char *body, const char *start)
{
    char series[SERIES];
    double value;
    int n = 0;
    for (const char *at = body; next(&at, series, &value);)
        n += strncmp(series, start, strlen(start)) == 0;
    return n;
}

/* ---- histograms ---- */

/* "x_bucket{role=\"a\",le=\"0.5\"}" into bound 0.5 and count series "x_count{role=\"a\"}"; false: it is no bucket. */
static bool split(const char *series, char count[SERIES], double *bound)
{
    const char *kind = strstr(series, "_bucket{"), *le = strstr(series, "{le=\"");
    if (!le)
        le = strstr(series, ",le=\"");
    if (!kind || !le)
        return false;
    le++; /* behind the bracket or comma: "role" ends in le, too */
    *bound = strtod(le + 4, NULL);
    int labels = (int)(le - kind) - 8;
    snprintf(count, SERIES, "%.*s_count", (int)(kind - series), series);
    if (labels > 0)
        snprintf(count + strlen(count), SERIES - strlen(count), "{%.*s}", labels - 1, kind + 8);
    return true;
}

int page_histograms(const char *body)
{
    char series[SERIES], count[SERIES], last[SERIES] = "";
    double value, bound, before = 0, lower = -1;
    int found = 0;
    for (const char *at = body; next(&at, series, &value);) {
        if (!split(series, count, &bound))
            continue;
        if (strcmp(count, last) != 0) {
            before = 0;
            lower = -1;
            found++;
        }
        strcpy(last, count);
        if (!(value >= before) || !(bound > lower))
            fail_msg("%s: %g after %g", series, value, before);
        before = value;
        lower = bound;
        if (isinf(bound) && page_value(body, count) != value)
            fail_msg("%s is %g, le=+Inf %g", count, page_value(body, count), value);
    }
    return found;
}

static bool ends_with(const char *text, size_t size, const char *end)
{
    size_t n = strlen(end);
    return size >= n && memcmp(text + size - n, end, n) == 0;
}

int page_not_less(const char *before, const char *after)
{
    char series[SERIES];
    double value;
    int compared = 0;
    for (const char *at = before; next(&at, series, &value);) {
        size_t name = strcspn(series, "{");
        if (!ends_with(series, name, "_total") && !ends_with(series, name, "_bucket") &&
            !ends_with(series, name, "_count") && !ends_with(series, name, "_sum"))
            continue;
        compared++;
        if (!(page_value(after, series) >= value))
            fail_msg("%s was %g and is %g", series, value, page_value(after, series));
    }
    return compared;
}

void page_promtool(const char *body)
{
    struct result r = {0};
    result_run(&r, 30000, body, (const char *const[]){"promtool", "check", "metrics", NULL});
    result_expect(&r, 0);
    assert_string_equal(r.out, "");
    assert_string_equal(r.err, "");
    result_free(&r);
}
