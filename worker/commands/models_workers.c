/* `models --workers`: who answers with which version, as the newest predictions of every partition say. Nobody is asked: a worker
 * without requests lately is not seen. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/commands/models_view.h"
#include "worker/service/text.h"
#include "worker/stream/clock.h"
#include "worker/stream/reader.h"

enum { NEWEST = 200, MOST = 256, WAIT_MS = 100 }; /* offsets of each partition; pairs of worker and version */

struct seat {
    char model[128], worker[256];
    int64_t version, at_ms; /* of its newest answer */
};

struct workers {
    struct seat seats[MOST];
    int count;
};

static bool is(const char *text, struct span s)
{
    return strlen(text) == s.size && memcmp(text, s.data, s.size) == 0;
}

/* A record that is no prediction tells of nobody. */
static int take(struct workers *w, const struct context *cx, const struct record *r, struct fail *why)
{
    struct prediction_head head;
    struct span payload;
    struct fail unread;
    int i = 0, rc = command_payload(cx, r, "Prediction", &payload, &unread);
    if (rc && fail_class(unread.code) != FAIL_RECORD) {
        *why = unread;
        return rc;
    }
    if (rc || prediction_read_head(payload, &head, &unread) || head.supersedes)
        return 0;
    while (i < w->count && !(w->seats[i].version == head.version && is(w->seats[i].model, head.model) &&
                             is(w->seats[i].worker, head.worker)))
        i++;
    if (i == MOST)
        return 0;
    struct seat *s = &w->seats[i];
    if (i == w->count) {
        snprintf(s->model, sizeof s->model, "%.*s", (int)head.model.size, head.model.data);
        snprintf(s->worker, sizeof s->worker, "%.*s", (int)head.worker.size, head.worker.data);
        s->version = head.version;
        w->count++;
    }
    s->at_ms = head.produced_at > s->at_ms ? head.produced_at : s->at_ms;
    return 0;
}

static int ranges_make(const struct context *cx, const char *topic, struct reader_range **out, int *count,
                       struct fail *why)
{
    int partitions = 0, rc = topic_partitions(&cx->settings, topic, cx->timeout_ms, &partitions, why);
    if (!rc && !(*out = calloc((size_t)partitions, sizeof **out)))
        rc = fail(why, E_MEMORY, "%d partitions", partitions);
    for (int32_t p = 0; !rc && p < partitions; p++) {
        int64_t low, high;
        rc = topic_offsets(&cx->settings, topic, p, cx->timeout_ms, &low, &high, why);
        if (!rc && high > low)
            (*out)[(*count)++] = (struct reader_range){p, high - NEWEST > low ? high - NEWEST : low, high};
    }
    return rc;
}

int workers_read(struct workers **out, const struct context *cx, struct fail *why)
{
    char topic[TOPIC_NAME];
    struct reader_range *ranges = NULL;
    struct reader *reader = NULL;
    struct record r;
    int count = 0, idle_ms = 0;
    struct workers *w = calloc(1, sizeof *w);
    if (!w)
        return fail(why, E_MEMORY, "a list of workers");
    topic_full_name(&cx->settings, TOPIC_PREDICTIONS, topic);
    int rc = ranges_make(cx, topic, &ranges, &count, why);
    if (!rc && count)
        rc = reader_open(&reader, &cx->settings, topic, ranges, count, READER_BEGINNING, cx->timeout_ms, why);
    for (bool done = !count; !rc && !done;) {
        int event = reader_next(reader, &r, WAIT_MS, why);
        idle_ms = event == SOURCE_NONE ? idle_ms + WAIT_MS : 0;
        done = event == SOURCE_END;
        if (event == SOURCE_RECORD)
            rc = take(w, cx, &r, why);
        else if (event < 0)
            rc = event;
        else if (idle_ms > cx->timeout_ms)
            rc = fail(why, E_UNREACHABLE, "%s gave nothing for %d ms", topic, cx->timeout_ms);
    }
    reader_close(&reader);
    free(ranges);
    if (rc)
        free(w);
    else
        *out = w;
    return rc;
}

void workers_free(struct workers **w)
{
    free(*w);
    *w = NULL;
}

void workers_json(const struct workers *w, const struct model_version_event *v)
{
    int n = 0;
    fputs("\"workers\":[", stdout);
    for (int i = 0; i < w->count; i++) {
        const struct seat *s = &w->seats[i];
        if (s->version != v->version || strcmp(s->model, v->model) != 0)
            continue;
        fputs(n++ ? ",{\"worker\":" : "{\"worker\":", stdout);
        text_print_json(s->worker, strlen(s->worker), stdout);
        printf(",\"answered_at\":%lld}", (long long)s->at_ms);
    }
    fputs("],", stdout);
}

void workers_print(const struct workers *w)
{
    printf("\n%-28s %-28s %s\n", "WORKER", "VERSION", "ANSWERED");
    for (int i = 0; i < w->count; i++) {
        const struct seat *s = &w->seats[i];
        char name[160], age[32];
        snprintf(name, sizeof name, "%s@%lld", s->model, (long long)s->version);
        printf("%-28s %-28s %s ago\n", s->worker, name, models_age(s->at_ms, age));
    }
}
