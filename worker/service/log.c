/* Log lines: built whole in a buffer on the stack, then one write(2), so that lines of threads never mix.
 * What is worth an event is the callers' affair, how much of it can be read is log_quota.c's.
 * Next to read: log_quota.c; settings.h, log.format and log.level. */
#include "worker/service/log.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "worker/service/log_quota.h"
#include "worker/service/text.h"

enum { LINE = 8192, CLOSING = 16, TEXTS = 8, TEXT = 640 };

/* What log_open chose; the process has one stderr, so it has one of these. */
static atomic_int log_level_shown = LOG_INFO;
static atomic_int log_form = LOG_AUTO;

static const char *const level_names[] = {"error", "warn", "info", "debug"};

struct line {
    size_t used;
    char text[LINE];
};

void log_open(enum log_format format, enum log_level level)
{
    if (format == LOG_AUTO)
        format = isatty(STDERR_FILENO) ? LOG_TEXT : LOG_JSON;
    atomic_store(&log_form, (int)format);
    atomic_store(&log_level_shown, (int)level);
}

/* Appends as much as fits before the room kept for closing quote, bracket and newline. */
static void line_add(struct line *l, const char *text, size_t size)
{
    size_t room = LINE - CLOSING - l->used;
    size_t n = size < room ? size : room;
    memcpy(l->text + l->used, text, n);
    l->used += n;
}

static void line_text(struct line *l, const char *text)
{
    line_add(l, text, strlen(text));
}

/* Closing marks use the reserve: a cut line is still a whole JSON object. */
static void line_close(struct line *l, const char *mark)
{
    size_t n = strlen(mark);
    if (l->used + n <= LINE) {
        memcpy(l->text + l->used, mark, n);
        l->used += n;
    }
}

/* Room for the shortest field that still says something; what does not fit is left out whole. */
static bool line_has_room(const struct line *l, const char *name)
{
    return l->used + strlen(name) + 2 * CLOSING < LINE - CLOSING;
}

static void line_quoted(struct line *l, const char *text)
{
    line_text(l, "\"");
    const char *at = text, *end = text + strlen(text);
    while (at < end && l->used < LINE - CLOSING - TEXT_ESCAPE) {
        char piece[TEXT_ESCAPE];
        line_add(l, piece, text_escape(&at, end, piece));
    }
    line_close(l, "\"");
}

static void line_time(struct line *l, bool date)
{
    struct timespec now;
    struct tm utc;
    char text[40];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    size_t n = strftime(text, sizeof text, date ? "%Y-%m-%dT%H:%M:%S" : "%H:%M:%S", &utc);
    n += (size_t)snprintf(text + n, sizeof text - n, ".%03ld", now.tv_nsec / 1000000);
    line_add(l, text, n);
    line_text(l, date ? "Z" : "");
}

static void field_json(struct line *l, const char *name, const char *value)
{
    line_text(l, ",");
    line_quoted(l, name);
    line_text(l, ":");
    if (strlen(value) < 24 && text_is_number(value)) /* a longer one might be cut */
        line_text(l, value);
    else
        line_quoted(l, value);
}

static bool needs_quotes(const char *value)
{
    for (const char *c = value; *c; c++)
        if (*c <= ' ' || *c == '"' || *c == '=' || *c == '\\' || *c == 0x7f)
            return true; /* bytes of UTF-8 are negative chars: quoted, and checked on the way */
    return !*value;
}

static void field_text(struct line *l, const char *name, const char *value)
{
    line_text(l, " ");
    line_text(l, name);
    line_text(l, "=");
    if (needs_quotes(value))
        line_quoted(l, value);
    else
        line_text(l, value);
}

static void line_begin(struct line *l, bool json, enum log_level level, const char *event)
{
    line_text(l, json ? "{\"at\":\"" : "");
    line_time(l, json);
    line_text(l, json ? "\",\"level\":\"" : " ");
    line_text(l, level_names[level]);
    if (json) {
        line_text(l, "\",\"event\":");
        line_quoted(l, event);
    } else {
        line_text(l, strlen(level_names[level]) == 4 ? "  " : " ");
        line_text(l, event);
    }
}

static void line_write(const struct line *l)
{
    size_t done = 0;
    while (done < l->used) { /* once, unless a signal or a full pipe cuts it */
        ssize_t n = write(STDERR_FILENO, l->text + done, l->used - done);
        if (n <= 0)
            return; /* nobody left to tell */
        done += (size_t)n;
    }
}

static bool is_json(void)
{
    int form = atomic_load(&log_form);
    return form == LOG_AUTO ? !isatty(STDERR_FILENO) : form == LOG_JSON;
}

static void line_field(struct line *l, bool json, const char *name, const char *value)
{
    if (line_has_room(l, name))
        (json ? field_json : field_text)(l, name, value ? value : "");
}

static void line_end(struct line *l, bool json)
{
    line_close(l, json ? "}\n" : "\n");
    line_write(l);
}

static void line_number(struct line *l, bool json, const char *name, long n)
{
    char text[24];
    snprintf(text, sizeof text, "%ld", n);
    line_field(l, json, name, text);
}

/* A line for each event that went silent with lines left out. */
static void tell_left_out(bool json)
{
    struct line l;
    const char *event;
    long n;
    while ((n = log_quota_silent(&event)) > 0) {
        l.used = 0;
        line_begin(&l, json, LOG_WARN, "log lines left out");
        line_field(&l, json, "of", event);
        line_number(&l, json, "left_out", n);
        line_end(&l, json);
    }
}

void log_event(enum log_level level, const char *event, ...)
{
    long left_out = 0;
    if ((int)level > atomic_load(&log_level_shown) || !log_quota_take(event, &left_out))
        return;
    struct line l;
    l.used = 0;
    bool json = is_json();
    line_begin(&l, json, level, event);
    va_list args;
    va_start(args, event);
    for (const char *name; (name = va_arg(args, const char *));)
        line_field(&l, json, name, va_arg(args, const char *));
    va_end(args);
    if (left_out)
        line_number(&l, json, "left_out", left_out);
    line_end(&l, json);
    tell_left_out(json);
}

const char *log_text(const char *format, ...)
{
    static _Thread_local char texts[TEXTS][TEXT];
    static _Thread_local unsigned next;
    char *out = texts[next++ % TEXTS];
    va_list args;
    va_start(args, format);
    vsnprintf(out, TEXT, format, args);
    va_end(args);
    return out;
}
