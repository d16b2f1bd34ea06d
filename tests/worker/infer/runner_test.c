/* What the runner makes of requests: rows scored together and apart, verdicts on rows, images, and for every way in which a record
 * can be wrong as a whole its dead letter, beside neighbours that are answered as if it were not there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "worker/codec/record.h"

#undef fail
#include <cmocka.h>

#include "tests/lib/picture.h"
#include "tests/worker/infer/line.h"
#include "worker/service/log.h"
#include "worker/stream/clock.h"

static struct span span_of(const struct bytes *b)
{
    return (struct span){(const char *)b->data, b->size};
}

/* The values of row i of an FP32 request. */
static void fill(float *row, int i)
{
    for (int k = 0; k < LINE_INPUT; k++)
        row[k] = (float)((k * 37 + i * 101) % 255) / 100 - 1;
}

static void add_floats(struct line *l, const char *id, const float *data, int rows, int64_t deadline_at)
{
    struct bytes b = {0};
    struct tensor_view t = {.dtype = DTYPE_FP32,
                            .shape = SHAPE(rows, 3, 8, 8),
                            .data = {(const char *)data, (size_t)rows * LINE_INPUT * sizeof *data}};
    struct inference_head head = {.id = text_span(id),
                                  .model = text_span("tiny"),
                                  .deadline_at = deadline_at,
                                  .top_k = 4,
                                  .return_outputs = true};
    inference_encode(&b, &head, &t, NULL);
    line_add(l, id, span_of(&b), NULL, 0);
    bytes_free(&b);
}

static void add_rows(struct line *l, const char *id, int first, int rows)
{
    float *data = malloc((size_t)(rows + 1) * LINE_INPUT * sizeof *data);
    for (int i = 0; i < rows; i++)
        fill(data + i * LINE_INPUT, first + i);
    add_floats(l, id, data, rows, 0);
    free(data);
}

static void add_images(struct line *l, const char *id, const struct bytes *files, int count)
{
    struct bytes b = {0};
    struct span spans[16];
    struct inference_head head = {
        .id = text_span(id), .model = text_span("tiny"), .top_k = 4, .return_outputs = true};
    for (int i = 0; i < count; i++)
        spans[i] = span_of(&files[i]);
    inference_encode_images(&b, &head, spans, count, NULL);
    line_add(l, id, span_of(&b), NULL, 0);
    bytes_free(&b);
}

static void run(struct line *l)
{
    struct fail why = {0};
    line_must(line_run(l, &why), &why);
    assert_int_equal(l->sealed_to, l->count);
    assert_int_equal(l->out_count, l->count); /* every record is answered once */
}

static json_t *row_of(json_t *prediction, size_t i)
{
    json_t *row = json_array_get(json_object_get(prediction, "rows"), i);
    assert_non_null(row);
    return row;
}

static const char *text_of(json_t *row, const char *name)
{
    const char *text = json_string_value(json_object_get(row, name));
    return text ? text : "";
}

/* Label, score and classes of row i of one answer are those of row k of another. */
static void are_equal(json_t *a, size_t i, json_t *b, size_t k)
{
    assert_string_equal(text_of(row_of(a, i), "status"), "OK");
    assert_true(json_equal(row_of(a, i), row_of(b, k)));
}

static void is_refused(json_t *prediction, size_t i, const char *status, const char *error)
{
    json_t *row = row_of(prediction, i);
    assert_string_equal(text_of(row, "status"), status);
    assert_int_equal(json_integer_value(json_object_get(row, "label")), -1);
    if (strncmp(text_of(row, "error"), error, strlen(error)) != 0)
        fail_msg("\"%s\" does not begin with \"%s\"", text_of(row, "error"), error);
}

static void rows_of_several_records_share_a_batch(void **state)
{
    struct line l;
    line_open(&l, *state, "batch: {max_rows: 64}\n");
    add_rows(&l, "all", 0, 200); /* more than a batch */
    add_rows(&l, "a", 0, 5);
    add_rows(&l, "none", 0, 0);
    add_rows(&l, "b", 5, 70);
    add_rows(&l, "c", 75, 1);
    run(&l);
    json_t *all = line_prediction(&l, "all"), *a = line_prediction(&l, "a"), *b = line_prediction(&l, "b"),
           *c = line_prediction(&l, "c"), *none = line_prediction(&l, "none");
    for (size_t i = 0; i < 5; i++)
        are_equal(a, i, all, i);
    for (size_t i = 0; i < 70; i++)
        are_equal(b, i, all, 5 + i);
    are_equal(c, 0, all, 75);
    assert_int_equal(json_array_size(json_object_get(none, "rows")), 0);
    assert_false(json_equal(row_of(all, 0), row_of(all, 1)));
    json_decref(all), json_decref(a), json_decref(b), json_decref(c), json_decref(none);
    line_close(&l);
}

static void add_bytes(struct line *l, const char *id, const unsigned char *data, int rows)
{
    struct bytes b = {0};
    struct tensor_view t = {.dtype = DTYPE_UINT8,
                            .shape = SHAPE(rows, 3, 8, 8),
                            .data = {(const char *)data, (size_t)rows * LINE_INPUT}};
    struct inference_head head = {
        .id = text_span(id), .model = text_span("tiny"), .top_k = 4, .return_outputs = true};
    inference_encode(&b, &head, &t, NULL);
    line_add(l, id, span_of(&b), NULL, 0);
    bytes_free(&b);
}

/* Bytes and floats go through a net each, in whatever order their records come: both give what the other gives for the same
 * values, and each record its own. */
static void bytes_and_floats_come_in_turn(void **state)
{
    enum { RECORDS = 40, ROWS = 3 };
    unsigned char bytes[ROWS * LINE_INPUT];
    float floats[ROWS * LINE_INPUT];
    struct line l;
    char id[32];
    line_open(&l, *state, "batch: {max_rows: 16}\n");
    for (int i = 0; i < RECORDS; i++) {
        for (int k = 0; k < ROWS * LINE_INPUT; k++) {
            bytes[k] = (unsigned char)((k * 37 + i * 101) % 256);
            floats[k] = (float)bytes[k] / 255.0f;
        }
        snprintf(id, sizeof id, "bytes-%d", i);
        add_bytes(&l, id, bytes, ROWS);
        snprintf(id, sizeof id, "floats-%d", i);
        add_floats(&l, id, floats, ROWS, 0);
    }
    run(&l);
    json_t *before = NULL;
    for (int i = 0; i < RECORDS; i++) {
        snprintf(id, sizeof id, "bytes-%d", i);
        json_t *a = line_prediction(&l, id);
        snprintf(id, sizeof id, "floats-%d", i);
        json_t *b = line_prediction(&l, id);
        for (size_t k = 0; k < ROWS; k++)
            are_equal(a, k, b, k);
        assert_false(before && json_equal(row_of(a, 0), row_of(before, 0)));
        json_decref(before);
        before = a;
        json_decref(b);
    }
    json_decref(before);
    line_close(&l);
}

static void rows_that_are_not_finite_are_refused_by_setting(void **state)
{
    static const char *const settings[] = {"inference: {non_finite: reject}\n",
                                           "inference: {non_finite: accept}\n"};
    for (int accept = 0; accept < 2; accept++) {
        struct line l;
        float data[4 * LINE_INPUT];
        line_open(&l, *state, settings[accept]);
        for (int i = 0; i < 4; i++)
            fill(data + i * LINE_INPUT, i);
        data[LINE_INPUT + 7] = 0.0f / 0.0f;
        data[2 * LINE_INPUT] = 1.0f / 0.0f;
        data[2 * LINE_INPUT + 1] = -1.0f / 0.0f;
        add_floats(&l, "some", data, 4, 0);
        add_rows(&l, "good", 0, 4);
        run(&l);
        json_t *some = line_prediction(&l, "some"), *good = line_prediction(&l, "good");
        are_equal(some, 0, good, 0);
        are_equal(some, 3, good, 3);
        if (accept) {
            assert_string_equal(text_of(row_of(some, 1), "status"), "OK");
            assert_string_equal(text_of(row_of(some, 2), "status"), "OK");
        } else {
            is_refused(some, 1, "BAD_INPUT", "non_finite: 1 values");
            is_refused(some, 2, "BAD_INPUT", "non_finite: 2 values");
        }
        json_decref(some), json_decref(good);
        line_close(&l);
    }
}

static void images_are_scored_as_the_bytes_they_decode_to(void **state)
{
    struct line l;
    struct bytes files[4], b = {0};
    unsigned char *rgb = picture_pixels(8, 8), *large = picture_pixels(40, 30), planes[LINE_INPUT];
    (void)state;
    line_open(&l, *state, "");
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < 64; i++)
            planes[64 * c + i] = rgb[3 * i + c];
    picture_png(&files[0], rgb, 8, 8, false);
    picture_png(&files[1], rgb, 8, 8, true);
    picture_jpeg(&files[2], large, 40, 30, 90);
    picture_png(&files[3], large, 40, 30, false);
    add_images(&l, "images", files, 4);
    add_images(&l, "empty", files, 0);
    struct tensor_view t = {
        .dtype = DTYPE_UINT8, .shape = SHAPE(1, 3, 8, 8), .data = {(char *)planes, sizeof planes}};
    struct inference_head head = {
        .id = text_span("tensor"), .model = text_span("tiny"), .top_k = 4, .return_outputs = true};
    inference_encode(&b, &head, &t, NULL);
    line_add(&l, "tensor", span_of(&b), NULL, 0);
    run(&l);
    json_t *images = line_prediction(&l, "images"), *tensor = line_prediction(&l, "tensor"),
           *empty = line_prediction(&l, "empty");
    are_equal(images, 0, tensor, 0);
    are_equal(images, 1, tensor, 0);
    assert_string_equal(text_of(row_of(images, 2), "status"), "OK");
    /* A good JPEG of a picture is close to it: the same label from nearly the same scores. */
    assert_true(
        json_equal(json_object_get(row_of(images, 2), "label"), json_object_get(row_of(images, 3), "label")));
    assert_int_equal(json_array_size(json_object_get(empty, "rows")), 0);
    json_decref(images), json_decref(tensor), json_decref(empty);
    for (int i = 0; i < 4; i++)
        bytes_free(&files[i]);
    bytes_free(&b);
    free(rgb);
    free(large);
    line_close(&l);
}

static void a_bad_image_is_its_rows_affair(void **state)
{
    struct line l;
    struct bytes files[7], good;
    unsigned char *rgb = picture_pixels(8, 8);
    line_open(&l, *state, "");
    picture_png(&good, rgb, 8, 8, false);
    for (int i = 0; i < 7; i++)
        picture_png(&files[i], rgb, 8, 8, false);
    files[1].size /= 2;
    files[2].size = 0;
    memcpy(files[3].data, "GIF89a", 6);
    bytes_free(&files[4]);
    picture_jpeg_cmyk(&files[4], 8, 8);
    bytes_free(&files[5]);
    picture_png_head(&files[5], 16384, 16384);
    add_images(&l, "mixed", files, 7);
    add_images(&l, "good", &good, 1);
    add_images(&l, "bad", files + 1, 3); /* every row of it: a Prediction all the same */
    run(&l);
    json_t *mixed = line_prediction(&l, "mixed"), *one = line_prediction(&l, "good"),
           *bad = line_prediction(&l, "bad");
    are_equal(mixed, 0, one, 0);
    is_refused(mixed, 1, "BAD_INPUT", "bad_image: PNG: ");
    is_refused(mixed, 2, "BAD_INPUT", "bad_image: 0 bytes");
    is_refused(mixed, 3, "BAD_INPUT", "bad_image: ");
    is_refused(mixed, 4, "BAD_INPUT", "bad_image: a JPEG of 4 components");
    is_refused(mixed, 5, "BAD_INPUT", "bad_image: 16384 x 16384");
    are_equal(mixed, 6, one, 0);
    for (size_t i = 0; i < 3; i++)
        is_refused(bad, i, "BAD_INPUT", "bad_image: ");
    json_decref(mixed), json_decref(one), json_decref(bad);
    for (int i = 0; i < 7; i++)
        bytes_free(&files[i]);
    bytes_free(&good);
    free(rgb);
    line_close(&l);
}

static void rows_whose_deadline_has_passed_are_not_scored(void **state)
{
    struct line l;
    float data[2 * LINE_INPUT];
    line_open(&l, *state, "");
    fill(data, 0);
    fill(data + LINE_INPUT, 1);
    add_floats(&l, "late", data, 2, clock_ms() - 1);
    add_floats(&l, "in time", data, 2, clock_ms() + 600000);
    add_floats(&l, "no deadline", data, 2, 0);
    run(&l);
    json_t *late = line_prediction(&l, "late"), *in_time = line_prediction(&l, "in time"),
           *none = line_prediction(&l, "no deadline");
    is_refused(late, 0, "EXPIRED", "the deadline had passed");
    is_refused(late, 1, "EXPIRED", "the deadline had passed");
    are_equal(in_time, 0, none, 0);
    are_equal(in_time, 1, none, 1);
    json_decref(late), json_decref(in_time), json_decref(none);
    line_close(&l);
}

/* ---- dead letters ---- */

#define SHA "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define ONE "{'dtype':'UINT8','shape':[1,3,1,1],'data':'AAAA'}" /* a row of 3 bytes: not what tiny takes */

/* One row is one way to be wrong. `json` is written as it is; without it a good record of one row is changed. */
struct corruption {
    const char *name, *reason, *stage, *json;
    void (*change)(struct bytes *b);
    const char *schema; /* header millrace.schema */
};

static void change_nothing(struct bytes *b)
{
    (void)b;
}

static void change_null(struct bytes *b)
{
    bytes_free(b);
}

static void change_to_nothing(struct bytes *b)
{
    b->size = 0;
}

static void change_cut(struct bytes *b)
{
    b->size /= 2;
}

static void change_last(struct bytes *b)
{
    b->size--;
}

static void change_longer(struct bytes *b)
{
    b->data = realloc(b->data, b->size + 1);
    b->data[b->size++] = 0;
}

static void change_text(struct bytes *b)
{
    b->data[1] = 0xff; /* the id's only letter */
}

static void change_length(struct bytes *b)
{
    b->data[0] = 1; /* the id's length: -1 */
}

static void change_long_length(struct bytes *b)
{
    b->data[0] = 0xfe; /* 2^63 - 1 */
    memset(b->data + 1, 0xff, 8);
    b->data[9] = 1;
}

static void change_number(struct bytes *b)
{
    memset(b->data, 0x80, 10);
    b->data[10] = 0;
}

static void change_noise(struct bytes *b)
{
    for (size_t i = 0; i < b->size; i++)
        b->data[i] = (unsigned char)(i * 151 + 77);
}

/* Behind id "x", model "tiny", one tensor with an empty name: its dtype. */
enum { AT_DTYPE = 2 + 5 + 1 + 1, TAIL = 9 };

static void change_enum(struct bytes *b)
{
    b->data[AT_DTYPE] = 2 * 11;
}

/* The record ends: end of tensors, images, external, row_ids, created_at, deadline_at, top_k, return_outputs, explain, parameters */
static void change_union(struct bytes *b)
{
    b->data[b->size - TAIL] = 4;
}

static void change_boolean(struct bytes *b)
{
    b->data[b->size - 2] = 7;
}

/* clang-format off */
static const struct corruption corruptions[] = {
    {"tombstone", "empty", "decode", NULL, change_null, NULL},
    {"no bytes", "empty", "decode", NULL, change_to_nothing, NULL},
    {"schema from the future", "unknown_schema", "decode", NULL, change_nothing, "2"},
    {"schema that is no number", "unknown_schema", "decode", NULL, change_nothing, "one"},
    {"cut in the middle", "truncated", "decode", NULL, change_cut, NULL},
    {"last byte missing", "truncated", "decode", NULL, change_last, NULL},
    {"length beyond the end", "truncated", "decode", NULL, change_long_length, NULL},
    {"a byte too many", "trailing_bytes", "decode", NULL, change_longer, NULL},
    {"text that is not UTF-8", "bad_avro", "decode", NULL, change_text, NULL},
    {"negative length", "bad_avro", "decode", NULL, change_length, NULL},
    {"number of 80 bits", "bad_avro", "decode", NULL, change_number, NULL},
    {"noise", "bad_avro", "decode", NULL, change_noise, NULL},
    {"enum out of range", "bad_avro", "decode", NULL, change_enum, NULL},
    {"union out of range", "bad_avro", "decode", NULL, change_union, NULL},
    {"boolean 7", "bad_avro", "decode", NULL, change_boolean, NULL},
    {"empty id", "bad_request", "decode", "{'id':'','model':'tiny','tensors':[" ONE "]}", NULL, NULL},
    {"no rows at all", "bad_request", "decode", "{'id':'x','model':'tiny'}", NULL, NULL},
    {"two tensors", "bad_request", "decode", "{'id':'x','model':'tiny','tensors':[" ONE "," ONE "]}", NULL, NULL},
    {"tensor and images", "bad_request", "decode", "{'id':'x','model':'tiny','tensors':[" ONE "],'images':{'images':['']}}", NULL, NULL},
    {"negative top_k", "bad_request", "decode", "{'id':'x','model':'tiny','tensors':[" ONE "],'top_k':-1}", NULL, NULL},
    {"row_ids of other rows", "bad_request", "decode", "{'id':'x','model':'tiny','tensors':[" ONE "],'row_ids':['a','b']}", NULL, NULL},
    {"name of no model", "bad_request", "infer", "{'id':'x','model':'a b','tensors':[" ONE "]}", NULL, NULL},
    {"name of no input", "bad_request", "infer", "{'id':'x','model':'tiny','tensors':[{'name':'wrong','dtype':'UINT8','shape':[1,3,1,1],'data':'AAAA'}]}", NULL, NULL},
    {"shape of another model", "bad_shape", "infer", "{'id':'x','model':'tiny','tensors':[" ONE "]}", NULL, NULL},
    {"shape without rows", "bad_shape", "infer", "{'id':'x','model':'tiny','tensors':[{'dtype':'UINT8','shape':[3],'data':'AAAA'}]}", NULL, NULL},
    {"shape and length differ", "bad_shape", "decode", "{'id':'x','model':'tiny','tensors':[{'dtype':'UINT8','shape':[2,3,8,8],'data':'AAAA'}]}", NULL, NULL},
    {"negative shape", "bad_shape", "decode", "{'id':'x','model':'tiny','tensors':[{'dtype':'UINT8','shape':[-1,3,8,8],'data':''}]}", NULL, NULL},
    {"shape that overflows", "bad_shape", "decode", "{'id':'x','model':'tiny','tensors':[{'dtype':'UINT8','shape':[4294967296,4294967296],'data':''}]}", NULL, NULL},
    {"dtype UNKNOWN", "bad_dtype", "decode", "{'id':'x','model':'tiny','tensors':[{'dtype':'UNKNOWN','shape':[1,3,8,8],'data':''}]}", NULL, NULL},
    {"model that is unknown", "unknown_model", "infer", "{'id':'x','model':'nobody','tensors':[" ONE "]}", NULL, NULL},
    {"version that is unknown", "unknown_model", "infer", "{'id':'x','model':'tiny@7','tensors':[" ONE "]}", NULL, NULL},
    {"alias that is unknown", "unknown_model", "infer", "{'id':'x','model':'tiny@shadow','tensors':[" ONE "]}", NULL, NULL},
    {"external data", "external_data", "infer", "{'id':'x','model':'tiny','external':{'uri':'u','sha256':'" SHA "','tensor':{'dtype':'UINT8','shape':[1,3,8,8],'data':''}}}", NULL, NULL},
};
/* clang-format on */

static void good_record(struct bytes *b)
{
    static const char row[LINE_INPUT];
    struct tensor_view t = {.dtype = DTYPE_UINT8, .shape = SHAPE(1, 3, 8, 8), .data = {row, sizeof row}};
    struct inference_head head = {.id = text_span("x"), .model = text_span("tiny"), .top_k = 1};
    inference_encode(b, &head, &t, NULL);
}

static void corrupt_record(struct bytes *b, const struct corruption *c)
{
    struct fail why;
    char json[2048];
    if (!c->json) {
        good_record(b);
        c->change(b);
        return;
    }
    snprintf(json, sizeof json, "%s", c->json);
    for (char *q = json; *q; q++)
        *q = *q == '\'' ? '"' : *q;
    line_must(record_parse_json(b, record_type_find("InferenceBatch"), json, strlen(json), &why), &why);
}

static void is_header(const struct line_output *o, const char *name, const char *want)
{
    struct span s = line_header(o, name);
    if (!s.data || strcmp(s.data, want) != 0)
        fail_msg("%s: header %s is \"%s\", expected \"%s\"", o->key, name, s.data ? s.data : "(none)", want);
}

static void is_dead_letter(struct line *l, int offset, const struct corruption *c, const struct bytes *sent)
{
    const struct line_output *o = line_find(l, c->name);
    char number[16];
    if (o->topic != TOPIC_DEAD_LETTERS)
        fail_msg("%s went to %s", c->name, topic_short_name(o->topic));
    is_header(o, "dlq.reason", c->reason);
    is_header(o, "dlq.stage", c->stage);
    is_header(o, "dlq.topic", "m.inference");
    is_header(o, "dlq.partition", "2");
    snprintf(number, sizeof number, "%d", offset);
    is_header(o, "dlq.offset", number);
    assert_true(line_header(o, "dlq.detail").size > 0);
    assert_true(!sent->data == !o->value.data && sent->size == o->value.size);
    if (sent->size)
        assert_memory_equal(o->value.data, sent->data, sent->size);
}

/* What went to a topic went there in the order of the partition. */
static void keeps_the_order(struct line *l, enum topic topic)
{
    int at = 0;
    for (int i = 0; i < l->out_count; i++) {
        while (l->out[i].topic == topic && at < l->count && strcmp(l->in[at].key.data, l->out[i].key) != 0)
            at++;
        assert_true(at < l->count);
    }
}

/* All of them in one stream, a good record behind each: every reason, every byte, and the neighbours' answers. */
static void every_corruption_has_its_reason(void **state)
{
    enum { COUNT = sizeof corruptions / sizeof *corruptions };
    struct bytes sent[COUNT] = {0};
    struct header headers[COUNT];
    struct line l;
    char key[32];
    line_open(&l, *state, "");
    add_rows(&l, "alone", 3, 2);
    for (int i = 0; i < COUNT; i++) {
        const struct corruption *c = &corruptions[i];
        corrupt_record(&sent[i], c);
        headers[i] = (struct header){"millrace.schema", text_span(c->schema ? c->schema : "1")};
        line_add(&l, c->name, span_of(&sent[i]), &headers[i], 1);
        snprintf(key, sizeof key, "neighbour %d", i);
        add_rows(&l, key, 3, 2);
    }
    run(&l);
    json_t *alone = line_prediction(&l, "alone");
    for (int i = 0; i < COUNT; i++) {
        is_dead_letter(&l, 1 + 2 * i, &corruptions[i], &sent[i]);
        snprintf(key, sizeof key, "neighbour %d", i);
        json_t *neighbour = line_prediction(&l, key);
        are_equal(neighbour, 0, alone, 0);
        are_equal(neighbour, 1, alone, 1);
        json_decref(neighbour);
        bytes_free(&sent[i]);
    }
    keeps_the_order(&l, TOPIC_PREDICTIONS);
    keeps_the_order(&l, TOPIC_DEAD_LETTERS);
    json_decref(alone);
    line_close(&l);
}

/* Every reason of fail.h that concerns an inference record stands in the table or has a test of its own. */
static void no_reason_is_forgotten(void **state)
{
    static const char *const elsewhere[] = {"too_large", "bad_frame" /* of confluent framing */, "crash",
                                            "non_finite", "bad_image" /* of rows here, of Sample records */};
    (void)state;
    for (enum fail_code c = E_OK + 1; c < E_CODES; c++) {
        bool found = fail_class(c) != FAIL_RECORD;
        for (size_t i = 0; i < sizeof corruptions / sizeof *corruptions; i++)
            found |= strcmp(corruptions[i].reason, fail_name(c)) == 0;
        for (size_t i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++)
            found |= strcmp(elsewhere[i], fail_name(c)) == 0;
        if (!found)
            fail_msg("no corruption leads to %s", fail_name(c));
    }
}

/* Cut anywhere, a record is a dead letter; never an answer, never the worker's end. */
static void a_record_cut_anywhere_is_a_dead_letter(void **state)
{
    struct line l;
    struct bytes b = {0};
    char key[32];
    line_open(&l, *state, "");
    good_record(&b);
    assert_true(b.size < LINE_MOST);
    for (size_t n = 0; n < b.size; n++) {
        snprintf(key, sizeof key, "%zu", n);
        line_add(&l, key, (struct span){(char *)b.data, n}, NULL, 0);
    }
    run(&l);
    for (int i = 0; i < l.out_count; i++) {
        assert_int_equal(l.out[i].topic, TOPIC_DEAD_LETTERS);
        is_header(&l.out[i], "dlq.reason", i ? "truncated" : "empty");
    }
    bytes_free(&b);
    line_close(&l);
}

/* An answer that its topic would refuse is said to be too large before anything is computed; smaller ones go on. */
static void an_answer_too_large_is_a_dead_letter(void **state)
{
    struct line l;
    line_open(&l, *state, "");
    l.prediction_limit = 8192;
    add_rows(&l, "few", 0, 10);
    add_rows(&l, "many", 0, 60);
    run(&l);
    is_header(line_find(&l, "many"), "dlq.reason", "too_large");
    is_header(line_find(&l, "many"), "dlq.stage", "infer");
    json_t *few = line_prediction(&l, "few");
    assert_string_equal(text_of(row_of(few, 9), "status"), "OK");
    assert_true(line_find(&l, "few")->value.size <= l.prediction_limit);
    json_decref(few);
    line_close(&l);
}

/* Where unknown models are waited for: the answer comes when the model does. */
static void an_unknown_model_is_waited_for(void **state)
{
    struct line l;
    line_open(&l, *state, "inference: {unknown_model: wait}\n");
    l.unknown_for = 7;
    add_rows(&l, "first", 0, 2);
    add_rows(&l, "second", 2, 1);
    run(&l);
    json_t *first = line_prediction(&l, "first");
    assert_string_equal(text_of(row_of(first, 1), "status"), "OK");
    assert_true(l.finds > 7);
    json_decref(first);
    line_close(&l);
}

/* ... and no longer than the partition is this worker's: what was begun is dropped, and what comes next is answered. */
static void waiting_ends_when_the_partition_goes(void **state)
{
    struct line l;
    struct fail why = {0};
    struct bytes b = {0};
    line_open(&l, *state, "inference: {unknown_model: wait}\n");
    l.changed_after = 2;
    add_rows(&l, "before", 0, 1);
    static const char nobody[] = "{\"id\":\"x\",\"model\":\"nobody\",\"images\":{\"images\":[]}}";
    line_must(record_parse_json(&b, record_type_find("InferenceBatch"), nobody, strlen(nobody), &why), &why);
    line_add(&l, "never", span_of(&b), NULL, 0);
    add_rows(&l, "after", 0, 1);
    line_must(line_run(&l, &why), &why);
    assert_int_equal(l.out_count, 1); /* the next owner answers the others */
    assert_string_equal(l.out[0].key, "after");
    bytes_free(&b);
    line_close(&l);
}

/* ---- crashes ---- */

enum { RECORDS = 64, SUSPECT = 37 };

static void add_request(struct line *l, const char *key, const char *model)
{
    static const char row[LINE_INPUT];
    struct bytes b = {0};
    struct tensor_view t = {.dtype = DTYPE_UINT8, .shape = SHAPE(1, 3, 8, 8), .data = {row, sizeof row}};
    struct inference_head head = {.id = text_span(key), .model = text_span(model), .top_k = 1};
    inference_encode(&b, &head, &t, NULL);
    line_add(l, key, span_of(&b), NULL, 0);
    bytes_free(&b);
}

static bool is_culprit(const int *culprits, int i)
{
    for (; *culprits >= 0; culprits++)
        if (*culprits == i)
            return true;
    return false;
}

/* The life of one process: from what is committed to the end of the topic, or to its death. Never returns. */
static void live(const char *folder, struct line_topic *topic, const int *culprits)
{
    struct line l;
    struct fail why = {0};
    char key[16];
    line_open(&l, folder, "");
    l.topic = topic;
    for (int i = 0; i < RECORDS; i++) {
        snprintf(key, sizeof key, "%d", i);
        add_request(&l, key, is_culprit(culprits, i) ? "boom" : "tiny");
    }
    l.next = l.sealed_to = topic->committed;
    int rc = inflight_open(&l.inflight, folder_path(folder, "inflight"), &why);
    inflight_arm(l.inflight);
    if (!rc)
        rc = line_run(&l, &why);
    inflight_close(&l.inflight);
    line_close(&l);
    _exit(rc ? 1 : 0);
}

/* Processes one after the other, as a supervisor starts them; returns how many crashed. */
static int supervise(const char *folder, struct line_topic *topic, const int *culprits, int most)
{
    for (int crashes = 0;; crashes++) {
        int status;
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            live(folder, topic, culprits);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (WIFEXITED(status)) {
            assert_int_equal(WEXITSTATUS(status), 0);
            return crashes;
        }
        assert_int_equal(WTERMSIG(status), SIGSEGV);
        assert_in_range(crashes, 0, most);
    }
}

/* Halving: log2(64) crashes leave one suspect, two more condemn it. Its neighbours are answered, all once. */
static void a_record_that_crashes_the_process_is_found(void **state)
{
    static const int cases[][8] = {
        {-1}, {0, -1}, {37, -1}, {RECORDS - 1, -1}, {5, 6, 7, -1}, {0, 31, 32, -1}, {1, 2, 40, 62, 63, -1}};
    struct line_topic *topic =
        mmap(NULL, sizeof *topic, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(topic != MAP_FAILED);
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        int culprits = 0;
        memset(topic, 0, sizeof *topic);
        for (; cases[c][culprits] >= 0; culprits++)
            ;
        int crashes = supervise(*state, topic, cases[c], 8 * culprits);
        assert_true(crashes >= 2 * culprits);
        assert_int_equal(topic->committed, RECORDS);
        for (int i = 0; i < RECORDS; i++) {
            assert_int_equal(topic->dead[i], is_culprit(cases[c], i));
            assert_int_equal(topic->answered[i], !is_culprit(cases[c], i));
        }
    }
    munmap(topic, sizeof *topic);
}

/* One suspect among many records: it is alone in its batch, the others go by in batches of their own size. */
static void neighbours_of_a_suspect_are_not_held_up(void **state)
{
    static const int expected[] = {SUSPECT, SUSPECT + 1, RECORDS};
    struct line l;
    struct fail why = {0};
    char key[16];
    int status;
    unlink(folder_path(*state, "inflight"));
    line_open(&l, *state, "");
    for (int i = 0; i < RECORDS; i++) {
        snprintf(key, sizeof key, "%d", i);
        add_request(&l, key, "tiny");
    }
    line_must(inflight_open(&l.inflight, folder_path(*state, "inflight"), &why), &why);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        inflight_arm(l.inflight);
        inflight_add(l.inflight, &l.in[SUSPECT]);
        raise(SIGSEGV);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WTERMSIG(status), SIGSEGV);
    inflight_close(&l.inflight);
    line_must(inflight_open(&l.inflight, folder_path(*state, "inflight"), &why), &why);
    line_must(line_run(&l, &why), &why);
    assert_int_equal(l.seal_count, 3);
    assert_memory_equal(l.seals, expected, sizeof expected);
    assert_int_equal(l.out_count, RECORDS);
    inflight_close(&l.inflight);
    line_close(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_several_records_share_a_batch),
        cmocka_unit_test(bytes_and_floats_come_in_turn),
        cmocka_unit_test(rows_that_are_not_finite_are_refused_by_setting),
        cmocka_unit_test(images_are_scored_as_the_bytes_they_decode_to),
        cmocka_unit_test(a_bad_image_is_its_rows_affair),
        cmocka_unit_test(rows_whose_deadline_has_passed_are_not_scored),
        cmocka_unit_test(every_corruption_has_its_reason),
        cmocka_unit_test(no_reason_is_forgotten),
        cmocka_unit_test(a_record_cut_anywhere_is_a_dead_letter),
        cmocka_unit_test(an_answer_too_large_is_a_dead_letter),
        cmocka_unit_test(an_unknown_model_is_waited_for),
        cmocka_unit_test(waiting_ends_when_the_partition_goes),
        cmocka_unit_test(a_record_that_crashes_the_process_is_found),
        cmocka_unit_test(neighbours_of_a_suspect_are_not_held_up),
    };
    log_open(LOG_TEXT, LOG_ERROR);
    return cmocka_run_group_tests(tests, folder_setup, folder_teardown);
}
