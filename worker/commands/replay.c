/* `replay`: dead letters go back to the topic they came from, each once, whatever is killed.
 *
 * The transaction that writes a record to its topic writes a marker behind its letter; a letter with a marker is passed over.
 * There is one transactional.id, so an earlier run can commit nothing more once this one has it; then what was written is
 * waited for (topic_settle) and read twice, for the markers and for the letters, up to where it ended then: what comes back as a
 * dead letter meanwhile is not sent again by the same run. Next to read: worker/stream/letter.h. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/commands/models_view.h"
#include "worker/service/log.h"
#include "worker/service/terminal.h"
#include "worker/service/text.h"
#include "worker/stream/clock.h"
#include "worker/stream/letter.h"
#include "worker/stream/lone_sink.h"
#include "worker/stream/reader.h"

/* SETTLE_MS: above transaction.timeout.ms */
enum { SETTLE_MS = 15000, WAIT_MS = 100, BATCH_RECORDS = 500, BATCH_BYTES = 8 << 20 };

struct options {
    struct setting_strings reasons;
    char *older, *newer;
    int64_t most;
    bool all, dry_run;
};

static const struct setting options[] = {
    {"reason", SETTING_STRINGS, offsetof(struct options, reasons), "[]", 0, 0, NULL,
     "only letters of these reasons: unknown_model, crash, ... (commas between)", false},
    {"older-than", SETTING_STRING, offsetof(struct options, older), "", 0, 16, NULL,
     "only letters written longer ago than this: 90s, 15m, 2h, 7d", false},
    {"newer-than", SETTING_STRING, offsetof(struct options, newer), "", 0, 16, NULL,
     "only letters written less long ago than this", false},
    {"n", SETTING_INT, offsetof(struct options, most), "0", 0, 1e15, NULL,
     "at most N letters, in the order of each partition; 0: all of them", false},
    {"all", SETTING_BOOL, offsetof(struct options, all), "false", 0, 0, NULL,
     "every letter: what is needed when nothing else narrows it", false},
    {"dry-run", SETTING_BOOL, offsetof(struct options, dry_run), "false", 0, 0, NULL,
     "list them, with what would become of each, and send nothing", false},
    {0},
};

struct replay {
    const struct context *cx;
    const struct options *o;
    char topic[TOPIC_NAME];
    int64_t before_ms, since_ms; /* the time in which letters are wanted */
    struct reader_range *ranges;
    int range_count;
    struct letter_marks marks;
    struct lone_sink *out;
    struct batch *batch; /* being filled; NULL: none */
    int64_t in_batch;
    struct progress progress;
    int64_t sent;                    /* committed, by all attempts of this run */
    int marks_before;                /* this run; -1: not known yet */
    int64_t taken, already, refused; /* by this attempt: put into a batch, passed over, cannot be sent */
};

/* ---- the dead letters topic, up to a fixed end ---- */

static int ranges_make(struct replay *r, struct fail *why)
{
    const struct context *cx = r->cx;
    int partitions = 0;
    int rc = topic_partitions(&cx->settings, r->topic, cx->timeout_ms, &partitions, why);
    r->range_count = 0;
    free(r->ranges);
    r->ranges = rc ? NULL : calloc((size_t)partitions, sizeof *r->ranges);
    if (!rc && !r->ranges)
        rc = fail(why, E_MEMORY, "%d partitions", partitions);
    for (int32_t p = 0; !rc && p < partitions; p++) {
        int64_t low, high;
        rc = topic_offsets(&cx->settings, r->topic, p, cx->timeout_ms, &low, &high, why);
        if (!rc && high > low)
            r->ranges[r->range_count++] = (struct reader_range){p, READER_BEGINNING, high};
    }
    return rc;
}

typedef int visit(struct replay *r, const struct record *record, struct fail *why);

static bool enough(const struct replay *r)
{
    return r->o->most && r->sent + r->taken >= r->o->most;
}

static int read_all(struct replay *r, visit *see, struct fail *why)
{
    struct reader *reader = NULL;
    struct record record;
    int idle_ms = 0;
    if (!r->range_count)
        return 0;
    int rc = reader_open(&reader, &r->cx->settings, r->topic, r->ranges, r->range_count, READER_BEGINNING,
                         r->cx->timeout_ms, why);
    while (!rc && !enough(r)) {
        int event = reader_next(reader, &record, WAIT_MS, why);
        idle_ms = event == SOURCE_NONE ? idle_ms + WAIT_MS : 0;
        if (event == SOURCE_END)
            break;
        if (command_stop)
            rc = fail(why, E_INTERRUPTED, "interrupted: run it again to go on");
        else if (event == SOURCE_RECORD)
            rc = see(r, &record, why);
        else if (event < 0)
            rc = event;
        else if (idle_ms > r->cx->timeout_ms)
            rc = fail(why, E_UNREACHABLE, "%s gave nothing for %d ms", r->topic, r->cx->timeout_ms);
    }
    reader_close(&reader);
    return rc;
}

static int take_mark(struct replay *r, const struct record *record, struct fail *why)
{
    return letter_marks_take(&r->marks, record, why);
}

static int marks_read(struct replay *r, struct fail *why)
{
    r->marks.count = 0;
    int rc = ranges_make(r, why);
    if (!rc)
        rc = read_all(r, take_mark, why);
    letter_marks_sort(&r->marks);
    return rc;
}

/* ---- letters ---- */

static bool is_wanted(const struct replay *r, const struct record *record, const struct letter *l)
{
    const struct setting_strings *reasons = &r->o->reasons;
    bool named = !reasons->count;
    for (int i = 0; i < reasons->count && !named; i++)
        named = l->reason.data && strlen(reasons->v[i]) == l->reason.size &&
                memcmp(reasons->v[i], l->reason.data, l->reason.size) == 0;
    return named && record->timestamp_ms <= r->before_ms && record->timestamp_ms >= r->since_ms;
}

static int batch_commit(struct replay *r, struct fail *why)
{
    int64_t count = r->in_batch;
    if (!r->batch)
        return 0;
    r->in_batch = 0;
    int rc = sink_put(lone_sink_base(r->out), &r->batch, why);
    if (rc)
        return rc;
    r->sent += count;
    r->taken -= count;
    progress_set(&r->progress, r->sent, NULL);
    return 0;
}

static int send(struct replay *r, const struct record *record, const struct letter *l, struct fail *why)
{
    int rc = r->batch ? 0 : sink_take(lone_sink_base(r->out), &r->batch, why);
    if (!rc)
        rc = letter_send(r->batch, l, record, why);
    if (rc)
        return rc;
    r->taken++;
    r->in_batch++;
    return r->in_batch >= BATCH_RECORDS || r->batch->bytes >= BATCH_BYTES ? batch_commit(r, why) : 0;
}

static int take_letter(struct replay *r, const struct record *record, struct fail *why)
{
    struct letter l;
    struct fail bad;
    if (letter_is_marker(record))
        return 0;
    int refused = letter_parse(&l, &r->cx->settings, record, &bad);
    if (!is_wanted(r, record, &l))
        return 0;
    if (letter_marks_has(&r->marks, record)) {
        r->already++;
        return 0;
    }
    if (!refused)
        return send(r, record, &l, why);
    r->refused++;
    log_event(LOG_WARN, "a dead letter cannot be sent again", "partition",
              log_text("%d", (int)record->partition), "offset", log_text("%" PRId64, record->offset), "text",
              bad.text, NULL);
    return 0;
}

static bool asked_to_stop(void *arg)
{
    (void)arg;
    return command_stop != 0;
}

static int attempt(void *arg, struct fail *why)
{
    struct replay *r = arg;
    const struct settings *s = &r->cx->settings;
    unsigned outputs =
        1u << TOPIC_INFERENCE | 1u << TOPIC_SAMPLES | 1u << TOPIC_JOBS | 1u << TOPIC_DEAD_LETTERS;
    r->taken = r->refused = r->in_batch = 0;
    r->batch = NULL;
    int rc = lone_sink_open(&r->out, s, "replay", outputs, r->cx->timeout_ms, why);
    if (!rc)
        rc = topic_settle(s, r->topic, SETTLE_MS, asked_to_stop, NULL, why);
    if (!rc)
        rc = marks_read(r, why);
    if (!rc && r->marks_before < 0)
        r->marks_before = r->marks.count;
    if (!rc)
        r->sent = r->marks.count - r->marks_before; /* also what an attempt committed without knowing it */
    r->already = -r->sent;
    if (!rc)
        rc = read_all(r, take_letter, why);
    if (!rc)
        rc = batch_commit(r, why);
    lone_sink_close(&r->out);
    return rc;
}

/* ---- the list ---- */

static void list_json(const struct record *record, const struct letter *l, const char *state, bool first)
{
    struct span topic = record_header(record, "dlq.topic");
    printf("%s{\"partition\":%d,\"offset\":%" PRId64 ",\"timestamp\":%" PRId64 ",\"topic\":",
           first ? "" : ",\n", (int)record->partition, record->offset, record->timestamp_ms);
    text_print_json(topic.data ? topic.data : "", topic.size, stdout);
    printf(",\"source_partition\":%d,\"source_offset\":%" PRId64 ",\"attempts\":%" PRId64 ",\"reason\":",
           (int)l->partition, l->offset, l->attempts);
    text_print_json(l->reason.data ? l->reason.data : "", l->reason.size, stdout);
    fputs(",\"detail\":", stdout);
    text_print_json(l->detail.data ? l->detail.data : "", l->detail.size, stdout);
    printf(",\"bytes\":%zu,\"state\":\"%s\"}", record->value.size, state);
}

/* What came with a record is not printed to a terminal as it is. */
static void print_plain(struct span s)
{
    for (size_t i = 0; i < s.size; i++)
        putchar((unsigned char)s.data[i] < ' ' || s.data[i] == 127 ? ' ' : s.data[i]);
}

static void list_line(const struct record *record, const struct letter *l, const char *state, bool first)
{
    char age[32], at[40], from[TOPIC_NAME + 40];
    if (first)
        printf("%-12s %-8s %-9s %-24s %-8s %s\n", "LETTER", "AGE", "STATE", "CAME FROM", "ATTEMPTS",
               "REASON");
    snprintf(at, sizeof at, "%d/%" PRId64, (int)record->partition, record->offset);
    snprintf(from, sizeof from, "%s %d/%" PRId64, topic_short_name(l->topic), (int)l->partition, l->offset);
    printf("%-12s %-8s %-9s %-24s %-8" PRId64 " ", at, models_age(record->timestamp_ms, age), state,
           l->offset < 0 ? "unknown" : from, l->attempts < 0 ? 0 : l->attempts);
    print_plain(l->reason);
    fputs(l->detail.size ? ": " : "", stdout);
    print_plain(l->detail);
    putchar('\n');
}

static int list_letter(struct replay *r, const struct record *record, struct fail *why)
{
    struct letter l;
    struct fail bad;
    (void)why;
    if (letter_is_marker(record))
        return 0;
    bool cannot = letter_parse(&l, &r->cx->settings, record, &bad) != 0,
         marked = letter_marks_has(&r->marks, record);
    if (!is_wanted(r, record, &l))
        return 0;
    bool first = !(r->taken + r->already + r->refused);
    const char *state = marked ? "replayed" : cannot ? "refused" : "waiting";
    if (r->cx->json)
        list_json(record, &l, state, first);
    else
        list_line(record, &l, state, first);
    *(marked ? &r->already : cannot ? &r->refused : &r->taken) += 1;
    return 0;
}

static int list(struct replay *r, struct fail *why)
{
    int rc = marks_read(r, why);
    fputs(r->cx->json ? "[" : "", stdout);
    if (!rc)
        rc = read_all(r, list_letter, why);
    fputs(r->cx->json ? "]\n" : "", stdout);
    if (!rc && !r->cx->json)
        printf("%" PRId64 " would be sent; %" PRId64 " were sent before, %" PRId64 " cannot be sent\n",
               r->taken, r->already, r->refused);
    return rc;
}

/* ---- the command ---- */

/* "15m" before now, in ms since 1970; `otherwise` without text. */
static int age_parse(const char *name, const char *text, int64_t otherwise, int64_t *at_ms, struct fail *why)
{
    static const struct {
        char unit;
        int64_t seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
    char *end;
    *at_ms = otherwise;
    if (!*text)
        return 0;
    int64_t n = strtoll(text, &end, 10);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (text[0] >= '0' && text[0] <= '9' && n < 1000000000 && end[0] == units[i].unit && !end[1]) {
            *at_ms = clock_ms() - n * units[i].seconds * 1000;
            return 0;
        }
    return fail(why, E_USAGE, "--%s: an age such as 90s, 15m, 2h or 7d is expected, not \"%s\"", name, text);
}

static int reasons_check(const struct setting_strings *reasons, struct fail *why)
{
    for (int i = 0; i < reasons->count; i++) {
        int code = E_OK + 1;
        while (code < E_CODES && (fail_class((enum fail_code)code) != FAIL_RECORD ||
                                  strcmp(fail_name((enum fail_code)code), reasons->v[i]) != 0))
            code++;
        if (code == E_CODES)
            return fail(why, E_USAGE,
                        "--reason: no dead letter has the reason \"%s\"; replay --dry-run lists "
                        "those that there are",
                        reasons->v[i]);
    }
    return 0;
}

static int options_check(struct replay *r, struct fail *why)
{
    const struct options *o = r->o;
    if (!o->all && !o->dry_run && !o->reasons.count && !*o->older && !*o->newer && !o->most)
        return fail(why, E_USAGE,
                    "say which letters: --reason, --older-than, --newer-than, -n or --all; "
                    "--dry-run lists them");
    int rc = reasons_check(&o->reasons, why);
    if (!rc)
        rc = age_parse("older-than", o->older, INT64_MAX, &r->before_ms, why);
    if (!rc)
        rc = age_parse("newer-than", o->newer, INT64_MIN, &r->since_ms, why);
    return rc;
}

static int report(const struct replay *r, struct fail *why)
{
    if (r->cx->json)
        printf("{\"sent\":%" PRId64 ",\"already\":%" PRId64 ",\"refused\":%" PRId64 "}\n", r->sent,
               r->already, r->refused);
    else
        printf("%" PRId64 " dead letters sent back; %" PRId64 " had been sent before\n", r->sent, r->already);
    return r->refused ? fail(why, E_FAILED, "%" PRId64 " dead letters cannot be sent again", r->refused) : 0;
}

static int run(const struct context *cx, struct fail *why)
{
    struct replay r = {.cx = cx, .o = cx->options, .marks_before = -1};
    topic_full_name(&cx->settings, TOPIC_DEAD_LETTERS, r.topic);
    int rc = options_check(&r, why);
    if (!rc && r.o->dry_run) {
        rc = list(&r, why);
    } else if (!rc) {
        progress_open(&r.progress, "sent back", "records", 0);
        rc = lone_sink_insist(attempt, &r, &command_stop, why);
        progress_close(&r.progress);
        if (!rc)
            rc = report(&r, why);
    }
    free(r.ranges);
    letter_marks_free(&r.marks);
    return rc;
}

const struct command command_replay = {
    .name = "replay",
    .max_operands = 0,
    .summary = "sends dead letters back to the topic they came from",
    .text =
        "Key, value and the record's own headers go back byte for byte, to the partition they came from; of\n"
        "the dlq.* headers dlq.attempts stays, so that attempts are counted on. The same transaction writes "
        "a\n"
        "marker to the dead letters (no value; headers dlq.replayed.partition and dlq.replayed.offset), and "
        "a\n"
        "letter with a marker is passed over: run it again after a kill or Ctrl-C, and it does what is "
        "left.\n"
        "Letters that were cut (dlq.truncated) cannot be sent and are named; then the exit status is 1.",
    .options = options,
    .options_size = sizeof(struct options),
    .needs_settings = true,
    .run = run,
};
