/* `send`: rows of files to InferenceBatch or Sample records. Records go round the partitions in turn, so that
 * each partition gets one dense range of offsets.
 * Next to read: send_folder.c, worker/data/rows.h, worker/stream/writer.h. */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "worker/codec/model_spec.h"
#include "worker/commands/send_parts.h"
#include "worker/service/log.h"
#include "worker/service/text.h"
#include "worker/stream/reader.h"

#define AT(field) offsetof(struct send_options, field)
static const struct setting options[] = {
    {"model", SETTING_STRING, AT(model), "", 0, 200, NULL,
     "who is to answer: NAME, NAME@ALIAS or NAME@VERSION; needed unless --samples", false},
    {"samples", SETTING_BOOL, AT(samples), "false", 0, 0, NULL,
     "Sample records with the file's labels or targets; prints the ranges written as the JSON list that a "
     "job's dataset takes",
     false},
    {"rows-per-record", SETTING_INT, AT(rows_per_record), "16", 1, 1e6, NULL, "rows of a record", false},
    {"rate", SETTING_REAL, AT(rate), "0", 0, 1e9, NULL, "rows a second; 0: as fast as it goes", false},
    {"encoding", SETTING_CHOICE, AT(encoding), "file", 0, 0, "file|u8|f32",
     "type of the numbers sent. u8: the file holds whole numbers 0..255; f32: bytes are divided by 255. A "
     "folder: file "
     "sends its JPEG and PNG files as they are, u8 and f32 their pixels",
     false},
    {"shape", SETTING_STRING, AT(shape), "", 0, 40, NULL,
     "of a folder's pixels: 3x32x32; empty: three channels in the first image's size", false},
    {"id-prefix", SETTING_STRING, AT(id_prefix), "", 0, 100, NULL,
     "ids are PREFIX-N, from 0; empty: made of the time", false},
    {"row-ids", SETTING_BOOL, AT(row_ids), "false", 0, 0, NULL, "rows carry their number in the file as id",
     false},
    {"top-k", SETTING_INT, AT(top_k), "1", 0, 1e6, NULL, "classes listed for each row", false},
    {"return-outputs", SETTING_BOOL, AT(return_outputs), "false", 0, 0, NULL,
     "predictions carry the network's output tensor", false},
    {"deadline-ms", SETTING_INT, AT(deadline_ms), "0", 0, 1e12, NULL,
     "rows not scored this long after they were sent are answered EXPIRED; 0: none", false},
    {"repeat", SETTING_INT, AT(repeat), "1", 1, 1e9, NULL, "sends the files N times", false},
    {0},
};

static int64_t clock_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static enum dtype sent_type(const struct send_options *o, const struct rows *r)
{
    return o->encoding == ENCODING_U8 ? DTYPE_UINT8 : o->encoding == ENCODING_F32 ? DTYPE_FP32 : r->dtype;
}

/* The rows of one record in the type sent. */
static int convert(struct sender *s, const struct rows *r, int64_t first, int64_t rows, const char *file,
                   const void **out, struct fail *why)
{
    const char *from = (const char *)r->data + (size_t)first * r->row_size;
    int64_t row_count = shape_size(r->row_shape), n = rows * row_count;
    enum dtype to = sent_type(s->o, r);
    *out = from;
    if (to == r->dtype)
        return 0;
    float *f = s->converted;
    dtype_to_float(r->dtype, from, n, f);
    if (to == DTYPE_FP32) {
        for (int64_t i = 0; i < n && r->dtype == DTYPE_UINT8; i++)
            f[i] /= 255.0f;
    } else {
        unsigned char *u = s->converted; /* never overtakes the floats it is made of */
        for (int64_t i = 0; i < n; i++) {
            float v = f[i];
            if (!(v >= 0 && v <= 255 && v == floorf(v)))
                return fail(
                    why, E_FILE,
                    "%s: row %lld holds %g: --encoding u8 sends whole numbers 0..255 only; send it as f32",
                    file, (long long)(first + i / row_count), (double)v);
            u[i] = (unsigned char)v;
        }
    }
    *out = s->converted;
    return 0;
}

void send_name_rows(struct sender *s, int64_t first, int64_t rows)
{
    for (int64_t i = 0; i < rows; i++) {
        int n = snprintf(s->row_texts[i], sizeof s->row_texts[i], "%lld", (long long)(first + i));
        s->row_ids[i] = (struct span){s->row_texts[i], (size_t)n};
    }
}

struct inference_head send_head(const struct sender *s, struct span id)
{
    int64_t now = clock_now_ms();
    return (struct inference_head){
        .id = id,
        .model = {s->o->model, strlen(s->o->model)},
        .created_at = now,
        .deadline_at = s->o->deadline_ms ? now + s->o->deadline_ms : 0,
        .top_k = (int32_t)s->o->top_k,
        .return_outputs = s->o->return_outputs,
    };
}

static void encode(struct sender *s, const struct rows *r, int64_t first, int64_t rows, const void *data,
                   struct span id)
{
    struct tensor_view t = {.name = {"", 0}, .dtype = sent_type(s->o, r)};
    t.shape.rank = r->row_shape.rank + 1;
    t.shape.dim[0] = rows;
    memcpy(t.shape.dim + 1, r->row_shape.dim, sizeof *t.shape.dim * (size_t)r->row_shape.rank);
    t.data = (struct span){data, (size_t)shape_size(t.shape) * dtype_size(t.dtype)};
    s->value.size = 0;
    if (s->o->samples) {
        struct tensor_view targets = {.name = {"", 0}, .dtype = DTYPE_FP32};
        targets.shape = (struct shape){.rank = 2, .dim = {rows, r->target_size}};
        targets.data = (struct span){r->targets ? (const char *)(r->targets + first * r->target_size) : NULL,
                                     (size_t)(rows * r->target_size) * sizeof(float)};
        sample_encode(&s->value, &t, r->labels ? r->labels + first : NULL, r->targets ? &targets : NULL);
        return;
    }
    struct inference_head head = send_head(s, id);
    if (s->o->row_ids)
        send_name_rows(s, first, rows);
    inference_encode(&s->value, &head, &t, s->o->row_ids ? s->row_ids : NULL);
}

int send_pace(const struct sender *s, struct fail *why)
{
    double due = s->o->rate > 0 ? s->began + (double)s->rows / s->o->rate : 0;
    for (double left; !command_stop && (left = due - terminal_now()) > 0;) {
        long ns = left < 0.1 ? (long)(left * 1e9) : 100000000L;
        nanosleep(&(struct timespec){0, ns}, NULL);
    }
    return command_stop ? fail(why, E_INTERRUPTED, "stopped after %lld of %lld rows", (long long)s->rows,
                               (long long)s->total)
                        : 0;
}

/* Waits until the writer takes a record; not for ever, and not against Ctrl-C. */
static int wait_for_room(struct sender *s, struct fail *why)
{
    for (int waited_ms = 0; !writer_has_room(s->writer, 100);) {
        if (command_stop)
            return fail(why, E_INTERRUPTED, "stopped after %lld of %lld rows", (long long)s->rows,
                        (long long)s->total);
        if ((waited_ms += 100) >= s->cx->timeout_ms)
            return fail(why, E_UNREACHABLE,
                        "%d records sent and none acknowledged within %d ms: is the broker "
                        "still running?",
                        writer_waiting(s->writer), s->cx->timeout_ms);
    }
    return 0;
}

struct span send_id(const struct sender *s, char out[160])
{
    int n = snprintf(out, 160, "%s-%lld", s->prefix, (long long)s->records);
    return (struct span){out, (size_t)n};
}

int send_value(struct sender *s, struct span id, int64_t rows, struct fail *why)
{
    struct lane *lane = &s->lanes[s->records % s->lane_count];
    struct span value = {(const char *)s->value.data, s->value.size};
    if (s->value.failed)
        return fail(why, E_MEMORY, "a record of %lld rows", (long long)rows);
    if (s->value.size > RECORD_MOST)
        return fail(why, E_USAGE,
                    "a record of %lld rows has %zu bytes, the topic takes %d; send fewer "
                    "--rows-per-record",
                    (long long)rows, s->value.size, RECORD_MOST);
    int rc = wait_for_room(s, why);
    if (rc)
        return rc;
    /* Acknowledgements of a partition come in order: `last` ends as the last record's place. */
    rc = writer_put(s->writer, s->topic, (int32_t)(s->records % s->lane_count), id, value, NULL, 0,
                    lane->records ? &lane->last : &lane->first, why);
    if (rc)
        return rc;
    lane->records++;
    s->records++;
    s->rows += rows;
    progress_set(&s->progress, s->rows, NULL);
    return 0;
}

static int send_record(struct sender *s, const struct rows *r, int64_t first, int64_t rows, const char *file,
                       struct fail *why)
{
    char text[160];
    const void *data;
    struct span id = send_id(s, text);
    int rc = convert(s, r, first, rows, file, &data, why);
    if (rc)
        return rc;
    encode(s, r, first, rows, data, id);
    return send_value(s, id, rows, why);
}

/* Room for the largest record's rows as float and for its row ids. */
static int reserve(struct sender *s, const struct rows *r, const char *file, struct fail *why)
{
    int64_t each = shape_size(r->row_shape), rows = s->o->rows_per_record;
    rows = rows < r->count ? rows : r->count;
    if (r->row_shape.rank + 1 > SHAPE_DIMS)
        return fail(why, E_FILE, "%s: rows have %d dimensions, a record holds at most %d", file,
                    r->row_shape.rank, SHAPE_DIMS - 1);
    if (each < 1 || each * rows > 4 * (int64_t)RECORD_MOST)
        return fail(why, E_USAGE,
                    "%s: %lld rows of %lld numbers do not fit into a record of 16 MiB; send fewer "
                    "--rows-per-record",
                    file, (long long)rows, (long long)each);
    free(s->converted);
    s->converted = malloc((size_t)(each * rows) * sizeof(float) + 1);
    free(s->row_ids);
    s->row_ids = calloc((size_t)rows + 1, sizeof *s->row_ids);
    free(s->row_texts);
    s->row_texts = calloc((size_t)rows + 1, sizeof *s->row_texts);
    return s->converted && s->row_ids && s->row_texts ? 0 : fail(why, E_MEMORY, "%s: out of memory", file);
}

static int send_rows(struct sender *s, const struct rows *r, const char *file, struct fail *why)
{
    if (s->o->samples && !r->labels && !r->targets)
        return fail(why, E_FILE, "%s: has neither labels nor targets, --samples needs one of them", file);
    if (!r->count) {
        log_event(LOG_WARN, "file without rows", "file", file, NULL);
        return 0;
    }
    int rc = reserve(s, r, file, why);
    for (int64_t first = 0; first < r->count && !rc;) {
        int64_t left = r->count - first;
        int64_t rows = left < s->o->rows_per_record ? left : s->o->rows_per_record;
        if (!(rc = send_pace(s, why)))
            rc = send_record(s, r, first, rows, file, why);
        first += rows;
    }
    return rc;
}

/* Each partition's records lie between its first and its last offset; strangers' may lie between them. */
static void print_ranges(const struct sender *s)
{
    const char *comma = "[";
    for (int p = 0; p < s->lane_count; p++) {
        const struct lane *l = &s->lanes[p];
        if (!l->records)
            continue;
        int64_t end = (l->records > 1 ? l->last.offset : l->first.offset) + 1;
        printf("%s{\"topic\":\"%s\",\"partition\":%d,\"start_offset\":%lld,\"end_offset\":%lld}", comma,
               s->topic, p, (long long)l->first.offset, (long long)end);
        comma = ",";
        if (end - l->first.offset != l->records)
            log_event(LOG_WARN, "others wrote to the topic meanwhile: the range holds their records too",
                      "topic", s->topic, "partition", log_text("%d", p), NULL);
    }
    printf("%s]\n", *comma == '[' ? "[" : "");
}

/* Waits for the acknowledgements, as long as some come within --timeout. */
static int flush(struct sender *s, struct fail *why)
{
    int waited_ms = 0, waiting = INT_MAX, rc;
    while ((rc = writer_flush(s->writer, 200, why)) == -E_UNREACHABLE && waited_ms < s->cx->timeout_ms) {
        int now = writer_waiting(s->writer);
        waited_ms = now < waiting ? 0 : waited_ms + 200;
        waiting = now;
        if (command_stop)
            return fail(why, E_INTERRUPTED, "stopped before all %lld rows were acknowledged",
                        (long long)s->rows);
    }
    return rc;
}

static void print_summary(const struct sender *s)
{
    char rows[32], rate[32], seconds[32];
    double took = terminal_now() - s->began;
    fprintf(stderr, "sent %s rows in %lld records to %s in %s (%s rows/s)\n",
            text_count(s->rows, rows, sizeof rows), (long long)s->records, s->topic,
            text_seconds(took, seconds, sizeof seconds),
            text_count(took > 0 ? (int64_t)((double)s->rows / took) : 0, rate, sizeof rate));
}

static int send_files(struct sender *s, const struct send_input *files, struct fail *why)
{
    const struct context *cx = s->cx;
    int rc = 0;
    progress_open(&s->progress, "sent", "rows", s->total);
    s->began = terminal_now();
    for (int64_t turn = 0; turn < s->o->repeat && !rc; turn++)
        for (int i = 0; i < cx->argc && !rc; i++)
            rc = files[i].folder.count ? send_folder(s, &files[i].folder, why)
                                       : send_rows(s, &files[i].rows, files[i].path, why);
    struct fail later;
    int flushed = flush(s, rc ? &later : why);
    progress_close(&s->progress);
    if (!flushed) {
        print_summary(s);
        if (s->o->samples || cx->json)
            print_ranges(s);
    }
    return rc ? rc : flushed;
}

static int open_topic(struct sender *s, struct fail *why)
{
    const struct context *cx = s->cx;
    topic_full_name(&cx->settings, s->o->samples ? TOPIC_SAMPLES : TOPIC_INFERENCE, s->topic);
    int rc = topic_partitions(&cx->settings, s->topic, cx->timeout_ms, &s->lane_count, why);
    if (rc)
        return rc;
    if (!(s->lanes = calloc((size_t)s->lane_count, sizeof *s->lanes)))
        return fail(why, E_MEMORY, "%d partitions", s->lane_count);
    return writer_open(&s->writer, &cx->settings, cx->timeout_ms, why);
}

static int check_options(const struct send_options *o, struct fail *why)
{
    struct model_spec spec;
    if (o->samples && *o->model)
        return fail(why, E_USAGE, "--model does not go with --samples: samples belong to no model");
    if (o->samples)
        return 0;
    if (!*o->model)
        return fail(why, E_USAGE, "--model is needed: who is to answer? (--samples: nobody)");
    if (model_spec_parse(&spec, text_span(o->model), why)) {
        if (why)
            why->code = E_USAGE;
        return fail_prefix(why, "--model");
    }
    return 0;
}

static int run(const struct context *cx, struct fail *why)
{
    struct sender s = {.cx = cx, .o = cx->options};
    struct send_input *files = calloc((size_t)cx->argc, sizeof *files);
    int rc = files ? check_options(s.o, why) : fail(why, E_MEMORY, "%d files", cx->argc);
    for (int i = 0; i < cx->argc && !rc; i++) { /* all are looked at before the first record goes out */
        files[i].path = cx->argv[i];
        rc = folder_is(cx->argv[i]) ? send_folder_open(&files[i], s.o, why)
                                    : rows_read(&files[i].rows, cx->argv[i], why);
        s.total += (files[i].rows.count + files[i].folder.count) * s.o->repeat;
    }
    if (*s.o->id_prefix)
        snprintf(s.prefix, sizeof s.prefix, "%s", s.o->id_prefix);
    else
        snprintf(s.prefix, sizeof s.prefix, "send-%llx", (long long)clock_now_ms());
    if (!rc)
        rc = open_topic(&s, why);
    if (!rc)
        rc = send_files(&s, files, why);
    writer_close(&s.writer);
    for (int i = 0; files && i < cx->argc; i++) {
        rows_close(&files[i].rows);
        folder_close(&files[i].folder);
    }
    free(files);
    free(s.lanes);
    free(s.converted);
    free(s.row_ids);
    free(s.row_texts);
    bytes_free(&s.value);
    return rc;
}

const struct command command_send = {
    .name = "send",
    .operands = "FILE...",
    .min_operands = 1,
    .max_operands = -1,
    .summary = "produces requests, or labelled samples, from data files",
    .text = "FILE by its extension: .npy, .npz, MNIST idx (also .gz), CIFAR-10 .bin, .avro; or a folder\n"
            "with a folder of JPEG and PNG files for each class. A record's key is its id. What was sent is "
            "counted on stderr; with --json, and with --samples always, the offset\n"
            "ranges are printed on stdout.",
    .options = options,
    .options_size = sizeof(struct send_options),
    .needs_settings = true,
    .run = run,
};
