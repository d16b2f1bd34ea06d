/* `tail`: the records of a topic, one JSON line each, committed ones only.
 * Next to read: pictures.c, for --images; worker/codec/record.h, record_print_json. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/codec/framing.h"
#include "worker/commands/pictures.h"
#include "worker/service/text.h"
#include "worker/stream/reader.h"

struct options {
    char *from;
    int64_t count, partition, image_rows;
    bool follow, images;
};

static const struct setting options[] = {
    {"o", SETTING_STRING, offsetof(struct options, from), "beginning", 1, 32, NULL,
     "where to begin: beginning, end, OFFSET, or -N: the last N of each partition", false},
    {"n", SETTING_INT, offsetof(struct options, count), "0", 0, 1e15, NULL, "end after N records; 0: all",
     false},
    {"p", SETTING_INT, offsetof(struct options, partition), "-1", -1, 1e6, NULL,
     "one partition only; -1: all", false},
    {"follow", SETTING_BOOL, offsetof(struct options, follow), "false", 0, 0, NULL,
     "wait for more at the end; else it ends at what is committed now", false},
    {"images", SETTING_BOOL, offsetof(struct options, images), "false", 0, 0, NULL,
     "draw the images instead (a prediction's: those of its request); with --json: besides", false},
    {"image-rows", SETTING_INT, offsetof(struct options, image_rows), "3", 1, 4096, NULL,
     "rows of each record that --images draws", false},
    {0},
};

struct tail {
    const struct context *cx;
    const struct options *o;
    char topic[TOPIC_NAME];
    const struct record_type *type; /* NULL: bytes only */
    bool dead_letters;
    int64_t printed;
};

static void print_text_or_base64(struct span s, FILE *out)
{
    if (!s.data) {
        fputs("null", out);
    } else if (text_is_utf8(s.data, s.size)) {
        text_print_json(s.data, s.size, out);
    } else {
        fputs("{\"base64\":\"", out);
        text_print_base64(s.data, s.size, out);
        fputs("\"}", out);
    }
}

/* An object; of headers with one name the last counts, as everywhere. */
static void print_headers(const struct record *r, FILE *out)
{
    bool first = true;
    putc('{', out);
    for (int i = 0; i < r->header_count; i++) {
        const char *name = r->headers[i].name;
        bool again = false;
        for (int j = i + 1; j < r->header_count && !again; j++)
            again = strcmp(name, r->headers[j].name) == 0;
        if (again)
            continue;
        fputs(first ? "" : ",", out);
        text_print_json(name, strlen(name), out);
        putc(':', out);
        print_text_or_base64(r->headers[i].value, out);
        first = false;
    }
    putc('}', out);
}

/* The value as bytes, and why it is not more than that. */
static void print_undecoded(const struct record *r, const char *reason, FILE *out)
{
    fputs("{\"base64\":\"", out);
    text_print_base64(r->value.data, r->value.size, out);
    fputs("\"},\"error\":", out);
    text_print_json(reason, strlen(reason), out);
}

static void print_dead_letter(const struct record *r, FILE *out)
{
    struct span reason = record_header(r, "dlq.reason"), detail = record_header(r, "dlq.detail");
    char text[400];
    snprintf(text, sizeof text, "%.*s%s%.*s", (int)reason.size, reason.data ? reason.data : "",
             detail.size ? ": " : "", (int)(detail.size < 256 ? detail.size : 256),
             detail.data ? detail.data : "");
    print_undecoded(r, *text ? text : "no dlq.reason", out);
}

static int version_of(const struct tail *t, const struct record *r)
{
    struct span s = record_header(r, "millrace.schema");
    char text[12];
    int64_t n = 1;
    if (framing_is_confluent(r->framing, t->type))
        return t->type->version;
    if (s.data && s.size < sizeof text) {
        snprintf(text, sizeof text, "%.*s", (int)s.size, s.data);
        if (!text_to_int(text, &n))
            return 0;
    }
    return (int)n;
}

/* What is in a record's frame; data NULL: nothing that can be read, and `bad` says why. */
struct content {
    struct span payload;
    struct fail bad;
};

static void print_value(const struct tail *t, const struct record *r, struct content *c, FILE *out)
{
    struct bytes json = {0};
    if (!r->value.data) {
        fputs("null", out);
    } else if (t->dead_letters) {
        print_dead_letter(r, out);
    } else if (!t->type) {
        print_undecoded(r, "not one of millrace's topics: no schema is known", out);
    } else if (!c->payload.data || record_print_json(&json, t->type, version_of(t, r), c->payload, &c->bad) ||
               json.failed) {
        c->payload = (struct span){0};
        print_undecoded(r, json.failed ? "out of memory" : c->bad.text, out);
    } else {
        fwrite(json.data, 1, json.size, out);
    }
    bytes_free(&json);
}

static void print_line(const struct tail *t, const struct record *r, struct content *c, FILE *out)
{
    fputs("{\"topic\":", out);
    text_print_json(r->topic, strlen(r->topic), out);
    fprintf(out, ",\"partition\":%d,\"offset\":%lld,\"timestamp\":%lld,\"key\":", (int)r->partition,
            (long long)r->offset, (long long)r->timestamp_ms);
    print_text_or_base64(r->key, out);
    fputs(",\"headers\":", out);
    print_headers(r, out);
    fputs(",\"value\":", out);
    print_value(t, r, c, out);
    fputs("}\n", out);
}

static int print_images(const struct tail *t, const struct record *r, const struct content *c,
                        struct fail *why)
{
    printf("%s [%d] @ %lld  key ", r->topic, (int)r->partition, (long long)r->offset);
    print_text_or_base64(r->key, stdout);
    putchar('\n');
    if (c->payload.data)
        return pictures_print(t->cx, t->type->name, r, c->payload, (int)t->o->image_rows, why);
    puts("(nothing to draw)");
    return 0;
}

static int print_record(struct tail *t, const struct record *r, struct fail *why)
{
    struct content c = {0};
    int rc = t->type && r->value.data ? command_payload(t->cx, r, t->type->name, &c.payload, &c.bad) : 0;
    if (rc)
        c.payload = (struct span){0};
    if (rc && fail_class(c.bad.code) != FAIL_RECORD) {
        *why = c.bad;
        return rc;
    }
    rc = 0;
    if (!t->o->images || t->cx->json)
        print_line(t, r, &c, stdout);
    if (t->o->images)
        rc = print_images(t, r, &c, why);
    t->printed++;
    if (t->o->follow || t->cx->terminal)
        fflush(stdout);
    return rc;
}

/* Until the end, -n, Ctrl-C, or nobody listens any more. */
static int loop(struct tail *t, struct reader *reader, struct fail *why)
{
    int silent_ms = 0;
    while (!command_output_closed()) {
        struct record r;
        if (command_stop)
            return fail(why, E_INTERRUPTED, "stopped after %lld records", (long long)t->printed);
        int event = reader_next(reader, &r, 100, why);
        if (event < 0)
            return event;
        if (event == SOURCE_END && !t->o->follow)
            return 0;
        silent_ms = event == SOURCE_NONE ? silent_ms + 100 : 0;
        if (silent_ms >= t->cx->timeout_ms && !t->o->follow)
            return fail(why, E_UNREACHABLE, "%s: no answer within %d ms; is the broker still running?",
                        t->topic, t->cx->timeout_ms);
        if (event != SOURCE_RECORD)
            continue;
        int rc = print_record(t, &r, why);
        if (rc || (t->o->count && t->printed >= t->o->count))
            return rc;
    }
    return 0;
}

/* An offset is brought into what the partition holds: what was deleted cannot be asked for. */
static int range_clamp(const struct tail *t, int64_t from, struct reader_range *g, struct fail *why)
{
    int64_t low, high;
    int rc = topic_offsets(&t->cx->settings, t->topic, g->partition, t->cx->timeout_ms, &low, &high, why);
    int64_t start = from < 0 ? high + from : from;
    g->start = start < low ? low : start > high ? high : start;
    return rc;
}

static int ranges_make(const struct tail *t, struct reader_range *ranges, int count, struct fail *why)
{
    int64_t from;
    int rc = 0;
    for (int i = 0; i < count && !rc; i++) {
        ranges[i].partition = t->o->partition >= 0 ? (int32_t)t->o->partition : i;
        ranges[i].end = t->o->follow ? READER_UNBOUNDED : READER_END;
        ranges[i].start = strcmp(t->o->from, "end") == 0 ? READER_END : READER_BEGINNING;
        if (text_to_int(t->o->from, &from))
            rc = range_clamp(t, from, &ranges[i], why);
    }
    return rc;
}

static int check_options(const struct options *o, struct fail *why)
{
    int64_t offset;
    if (strcmp(o->from, "beginning") == 0 || strcmp(o->from, "end") == 0 || text_to_int(o->from, &offset))
        return 0;
    return fail(why, E_USAGE, "-o: expected beginning, end or an offset, got '%s'", o->from);
}

static int run(const struct context *cx, struct fail *why)
{
    struct tail t = {.cx = cx, .o = cx->options};
    struct reader *reader = NULL;
    struct reader_range *ranges = NULL;
    int partitions, ours = topic_find(&cx->settings, cx->argv[0]);
    snprintf(t.topic, sizeof t.topic, "%s", cx->argv[0]);
    if (ours >= 0) {
        topic_full_name(&cx->settings, (enum topic)ours, t.topic);
        t.type = record_type_of_topic(topic_short_name((enum topic)ours));
        t.dead_letters = ours == TOPIC_DEAD_LETTERS;
    }
    int rc = check_options(t.o, why);
    if (!rc)
        rc = topic_partitions(&cx->settings, t.topic, cx->timeout_ms, &partitions, why);
    if (!rc && t.o->partition >= partitions)
        rc = fail(why, E_USAGE, "-p %d: %s has %d partitions, from 0", (int)t.o->partition, t.topic,
                  partitions);
    if (rc)
        return rc;
    int count = t.o->partition >= 0 ? 1 : partitions;
    if (!(ranges = calloc((size_t)count, sizeof *ranges)))
        return fail(why, E_MEMORY, "%d partitions", count);
    rc = ranges_make(&t, ranges, count, why);
    if (!rc)
        rc = reader_open(&reader, &cx->settings, t.topic, ranges, count, 0, cx->timeout_ms, why);
    if (!rc)
        rc = loop(&t, reader, why);
    reader_close(&reader);
    free(ranges);
    return rc;
}

const struct command command_tail = {
    .name = "tail",
    .operands = "TOPIC",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "prints a topic's records, a JSON line each",
    .text = "TOPIC is a full or a short name (predictions, models, dead-letters, ...). A line holds topic,\n"
            "partition, offset, timestamp (ms), key, headers and value, the value decoded by its schema:\n"
            "unions plain, bytes in base64. What has no schema or cannot be decoded has the value\n"
            "{\"base64\": ...} and an \"error\". Records of open or aborted transactions are not shown.",
    .options = options,
    .options_size = sizeof(struct options),
    .needs_settings = true,
    .run = run,
};
