/* `rescore`: requests that were answered once are answered again by a version: the worker's own runner between a reader of the
 * inference topic and a sink without a group.
 *
 * At most one new answer for each offset and version, whatever is killed: there is one transactional.id for each version, so an
 * earlier run can commit nothing more once this one has it; then all that was written is waited for (topic_settle), read
 * (infer/answered.h), and left out. After a transaction that did not end well it all begins anew. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/codec/model_spec.h"
#include "worker/commands/models_view.h"
#include "worker/infer/answered.h"
#include "worker/infer/runner.h"
#include "worker/service/log.h"
#include "worker/service/terminal.h"
#include "worker/stream/clock.h"
#include "worker/stream/lone_sink.h"
#include "worker/stream/payload.h"

enum { SETTLE_MS = 15000 }; /* above transaction.timeout.ms */

struct options {
    char *from, *to;
    int64_t partition, served;
};

static const struct setting options[] = {
    {"from", SETTING_STRING, offsetof(struct options, from), "", 0, 32, NULL,
     "the first offset of the inference topic, in every partition: OFFSET or beginning", false},
    {"to", SETTING_STRING, offsetof(struct options, to), "", 0, 32, NULL,
     "the offset behind the last: OFFSET or end", false},
    {"p", SETTING_INT, offsetof(struct options, partition), "-1", -1, 1e6, NULL,
     "one partition of it only; -1: all", false},
    {"served", SETTING_INT, offsetof(struct options, served), "0", 0, 1e15, NULL,
     "only requests whose newest answer is of this (bad) version; 0: of any", false},
    {0},
};

struct rescore {
    struct sink sink;     /* what the runner puts into; keeps dead letters back */
    struct source source; /* what it reads: only requests to be answered again, and the user's Ctrl-C */
    const struct context *cx;
    struct model *model;
    struct backend *be;
    struct answered_query query;
    struct answered *answered;
    struct lone_sink *out;
    struct framing *framing; /* of what is written */
    struct frame frames[TOPICS];
    struct reader *reader;
    struct progress progress;
    int64_t idle_ms;
    int64_t records, rows; /* committed */
    int64_t already;       /* answers of this version that an earlier run made */
    int64_t refused, lost; /* keep the answer they have */
};

#define OF(part, pointer) ((struct rescore *)(void *)((char *)(pointer)-offsetof(struct rescore, part)))

/* ---- the source ---- */

static int source_op_next(struct source *base, struct record *out, int timeout_ms, struct fail *why)
{
    struct rescore *r = OF(source, base);
    int64_t until_us = now_us() + (int64_t)timeout_ms * 1000;
    for (;;) {
        int64_t left_us = until_us - now_us();
        if (command_stop)
            return fail(why, E_INTERRUPTED, "interrupted after %" PRId64 " records: run it again to go on",
                        r->records);
        int rc = reader_next(r->reader, out, left_us > 0 ? (int)((left_us + 999) / 1000) : 0, why);
        r->idle_ms = rc == SOURCE_NONE ? r->idle_ms + timeout_ms : 0;
        if (r->idle_ms > r->cx->timeout_ms)
            return fail(why, E_UNREACHABLE, "the inference topic gave nothing for %d ms", r->cx->timeout_ms);
        if (rc != SOURCE_RECORD || answered_version(r->answered, out->partition, out->offset))
            return rc;
        if (left_us <= 0)
            return SOURCE_NONE;
    }
}

static int source_op_seal(struct source *base, struct batch *b, enum seal how, struct fail *why)
{
    (void)base, (void)how, (void)why;
    b->sealed_us = now_us();
    return 0;
}

static bool source_op_changed(struct source *base)
{
    (void)base;
    return command_stop != 0;
}

static const struct source_ops source_ops = {source_op_next, source_op_seal, source_op_changed, NULL, NULL};

static int64_t replaces(void *arg, const struct record *record)
{
    const struct rescore *r = arg;
    return answered_version(r->answered, record->partition, record->offset);
}

/* ---- the sink ---- */

static int sink_op_take(struct sink *base, struct batch **out, struct fail *why)
{
    return sink_take(lone_sink_base(OF(sink, base)->out), out, why);
}

static void say_refused(const struct output *o)
{
    struct span detail = {0}, offset = {0}, partition = {0};
    for (int i = 0; i < o->header_count; i++) {
        const struct header *h = &o->headers[i];
        detail = strcmp(h->name, "dlq.detail") == 0 ? h->value : detail;
        offset = strcmp(h->name, "dlq.offset") == 0 ? h->value : offset;
        partition = strcmp(h->name, "dlq.partition") == 0 ? h->value : partition;
    }
    log_event(LOG_WARN, "a request keeps the answer it has", "partition",
              log_text("%.*s", (int)partition.size, partition.data), "offset",
              log_text("%.*s", (int)offset.size, offset.data), "text",
              log_text("%.*s", (int)detail.size, detail.data), NULL);
}

/* A request is answered once or is a dead letter; one that has an answer cannot become the other. */
static int sink_op_put(struct sink *base, struct batch **b, struct fail *why)
{
    struct rescore *r = OF(sink, base);
    struct batch *whole = *b;
    int64_t rows = whole->rows, refused = 0;
    int kept = 0;
    for (int i = 0; i < whole->output_count; i++) {
        if (whole->outputs[i].topic == TOPIC_PREDICTIONS) {
            whole->outputs[kept++] = whole->outputs[i];
            continue;
        }
        say_refused(&whole->outputs[i]);
        refused++;
    }
    whole->output_count = kept;
    int rc = sink_put(lone_sink_base(r->out), b, why);
    if (rc)
        return rc;
    r->records += kept;
    r->rows += rows;
    r->refused += refused;
    progress_set(&r->progress, r->records, NULL);
    return 0;
}

static int sink_op_wait(struct sink *base, struct fail *why)
{
    return sink_wait(lone_sink_base(OF(sink, base)->out), why);
}

static size_t sink_op_limit(struct sink *base, enum topic topic)
{
    return sink_limit(lone_sink_base(OF(sink, base)->out), topic);
}

static const struct sink_ops sink_ops = {sink_op_take, sink_op_put, sink_op_wait, sink_op_limit};

/* ---- one attempt ---- */

static bool asked_to_stop(void *arg)
{
    (void)arg;
    return command_stop != 0;
}

/* Whatever earlier runs did is decided and read. */
static int look(struct rescore *r, struct fail *why)
{
    const struct settings *s = &r->cx->settings;
    char name[200], topic[TOPIC_NAME];
    snprintf(name, sizeof name, "rescore.%s@%" PRId64, r->query.model, r->query.version);
    int rc = lone_sink_open(&r->out, s, name, 1u << TOPIC_PREDICTIONS, r->cx->timeout_ms, why);
    if (!rc)
        rc = topic_settle(s, topic_full_name(s, TOPIC_PREDICTIONS, topic), SETTLE_MS, asked_to_stop, NULL,
                          why);
    if (!rc)
        rc = answered_read(&r->answered, s, &r->query, r->cx->timeout_ms, why);
    return rc;
}

/* From the first request that is wanted to the last, of every partition that has one. */
static int reader_begin(struct rescore *r, struct fail *why)
{
    const struct settings *s = &r->cx->settings;
    char topic[TOPIC_NAME];
    int partitions = answered_partitions(r->answered), count = 0, rc = 0;
    struct reader_range *ranges = calloc((size_t)partitions, sizeof *ranges);
    if (!ranges)
        return fail(why, E_MEMORY, "%d partitions", partitions);
    topic_full_name(s, TOPIC_INFERENCE, topic);
    for (int32_t p = 0; !rc && p < partitions; p++) {
        int64_t low, high;
        struct reader_range *range = &ranges[count];
        if (!answered_range(r->answered, p, &range->start, &range->end))
            continue;
        rc = topic_offsets(s, topic, p, r->cx->timeout_ms, &low, &high, why);
        if (rc)
            break;
        r->lost += answered_forget(r->answered, p, low);
        range->partition = p;
        count += answered_range(r->answered, p, &range->start, &range->end);
    }
    if (!rc && count)
        rc = reader_open(&r->reader, s, topic, ranges, count, READER_BEGINNING, r->cx->timeout_ms, why);
    free(ranges);
    return rc;
}

static int answer_again(struct rescore *r, struct fail *why)
{
    struct runner_options o = {.frames = r->frames,
                               .settings = &r->cx->settings,
                               .stop_at_end = true,
                               .replaces = replaces,
                               .replaces_arg = r};
    int rc = router_open(&o.router, r->be, (int)r->cx->settings.batch_max_rows, NULL, r->model, NULL, why);
    if (rc)
        return rc;
    progress_open(&r->progress, "rescored", "records", r->records + answered_count(r->answered));
    rc = runner_work(&r->source, &r->sink, &o, why);
    progress_close(&r->progress);
    router_close(&o.router);
    return rc;
}

static int attempt(void *arg, struct fail *why)
{
    struct rescore *r = arg;
    r->refused = r->lost = r->idle_ms = 0;
    int rc = look(r, why);
    if (!rc)
        r->already = answered_done(r->answered) - r->records;
    if (!rc)
        rc = reader_begin(r, why);
    if (!rc && r->reader)
        rc = answer_again(r, why);
    reader_close(&r->reader);
    answered_free(&r->answered);
    lone_sink_close(&r->out);
    return rc;
}

/* ---- the command ---- */

static int offset_parse(const char *name, const char *text, const char *word, int64_t of_word, int64_t *out,
                        struct fail *why)
{
    char *end;
    *out = of_word;
    if (!*text || strcmp(text, word) == 0)
        return 0;
    *out = strtoll(text, &end, 10);
    if (text[0] >= '0' && text[0] <= '9' && !*end)
        return 0;
    return fail(why, E_USAGE, "--%s: an offset or %s is expected, not \"%s\"", name, word, text);
}

static int query_parse(struct rescore *r, char name[128], struct fail *why)
{
    const struct options *o = r->cx->options;
    struct answered_query *q = &r->query;
    struct model_spec spec;
    int rc = model_spec_parse(&spec, text_span(r->cx->argv[0]), why);
    if (rc || !spec.version)
        return fail(why, E_USAGE, "MODEL@VERSION is expected, such as digits@2, not %.100s", r->cx->argv[0]);
    snprintf(name, 128, "%.*s", (int)spec.name.size, spec.name.data);
    *q = (struct answered_query){
        .model = name, .version = spec.version, .served = o->served, .partition = (int32_t)o->partition};
    if (!*o->from && !*o->to && !o->served)
        return fail(why, E_USAGE,
                    "say what is to be answered again: --from and --to, or --served and the bad version");
    if (q->served == q->version)
        return fail(why, E_USAGE, "--served %" PRId64 " is the version that is to answer", q->served);
    rc = offset_parse("from", o->from, "beginning", 0, &q->from, why);
    if (!rc)
        rc = offset_parse("to", o->to, "end", INT64_MAX, &q->to, why);
    if (!rc && q->from > q->to)
        rc = fail(why, E_USAGE, "--from %s is behind --to %s", o->from, o->to);
    return rc;
}

static int frames_open(struct rescore *r, struct fail *why)
{
    const struct payload_wait wait = {{asked_to_stop, NULL}, r->cx->timeout_ms};
    const struct settings *s = &r->cx->settings;
    int rc = framing_open(&r->framing, s, why);
    return rc ? rc : payload_frames(r->framing, s, 1u << TOPIC_PREDICTIONS, &wait, r->frames, why);
}

static int model_open(struct rescore *r, struct fail *why)
{
    const struct settings *s = &r->cx->settings;
    const struct model_version_event *v = NULL;
    struct registry *registry = NULL;
    struct backend_options engine = settings_engine(s, (int)s->engine_threads);
    int rc = registry_load(&registry, s, r->cx->timeout_ms, why);
    if (!rc)
        rc = models_version_find(registry, r->query.model, r->query.version, &v, why);
    if (!rc && r->query.served && !registry_version(registry, r->query.model, r->query.served))
        rc = fail(why, E_FAILED, "--served: there is no version %s@%" PRId64 " (millrace models lists them)",
                  r->query.model, r->query.served);
    if (!rc)
        rc = model_load(&r->model, s->models_store, v, why);
    if (!rc)
        rc = backend_open_with(&r->be, s->engine_backend, &engine, why);
    registry_free(&registry);
    return rc;
}

static int report(const struct rescore *r, struct fail *why)
{
    if (r->cx->json)
        printf("{\"model\":\"%s\",\"version\":%" PRId64 ",\"records\":%" PRId64 ",\"rows\":%" PRId64
               ",\"already\":%" PRId64 ",\"refused\":%" PRId64 ",\"lost\":%" PRId64 "}\n",
               r->query.model, r->query.version, r->records, r->rows, r->already, r->refused, r->lost);
    else
        printf("%s@%" PRId64 " answered %" PRId64 " records (%" PRId64 " rows) again; %" PRId64
               " had its answer already\n",
               r->query.model, r->query.version, r->records, r->rows, r->already);
    if (!r->refused && !r->lost)
        return 0;
    return fail(why, E_FAILED,
                "%" PRId64 " records keep the answer they have: %" PRId64 " cannot be answered by %s@%" PRId64
                ", %" PRId64 " were deleted by retention",
                r->refused + r->lost, r->refused, r->query.model, r->query.version, r->lost);
}

static int run(const struct context *cx, struct fail *why)
{
    struct rescore r = {.cx = cx, .sink.ops = &sink_ops, .source.ops = &source_ops};
    char name[128];
    int rc = query_parse(&r, name, why);
    if (!rc)
        rc = frames_open(&r, why);
    if (!rc)
        rc = model_open(&r, why);
    if (!rc)
        rc = lone_sink_insist(attempt, &r, &command_stop, why);
    if (!rc)
        rc = report(&r, why);
    backend_close(&r.be);
    model_release(&r.model);
    framing_close(&r.framing);
    return rc;
}

const struct command command_rescore = {
    .name = "rescore",
    .operands = "MODEL@VERSION",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "answers requests again with a version",
    .text =
        "Of the requests at offsets --from to before --to of the inference topic those that MODEL answered,\n"
        "or with --served those whose newest answer is of a bad version, get another Prediction, in the "
        "same\n"
        "partition and with the same headers, whose `supersedes` is the version it replaces. Each offset "
        "gets\n"
        "at most one from a version: run it again after a kill or Ctrl-C, and it does what is left. "
        "Requests\n"
        "that were not answered yet or became dead letters are left alone. Deadlines are not looked at.",
    .options = options,
    .options_size = sizeof(struct options),
    .needs_settings = true,
    .run = run,
};
