/* Rows of records as images with captions. Drawing itself is worker/service/terminal.c.
 * Next to read: tail.c. */
#include "worker/commands/pictures.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "worker/service/terminal.h"
#include "worker/service/text.h"
#include "worker/stream/reader.h"

enum { COLUMNS = 24 };

typedef void caption(const void *of, int64_t row, char *out, size_t size);

/* (C, H, W) or (H, W) of a row; false: no image. */
static bool image_shape(const struct tensor_view *t, struct image *im)
{
    const int64_t *d = t->shape.dim + 1;
    int rank = t->shape.rank - 1;
    if (rank != 2 && rank != 3)
        return false;
    int64_t c = rank == 3 ? d[0] : 1, h = d[rank - 2], w = d[rank - 1];
    if (c < 1 || h < 1 || w < 1 || c > 4096 || h > 4096 || w > 4096)
        return false;
    im->channels = (int)c;
    im->height = (int)h;
    im->width = (int)w;
    return true;
}

/* Bytes are 0..255; other types may be normalised in any way, so a row's own range is stretched to 0..1. */
static void row_to_unit(float *v, int64_t n, bool bytes)
{
    float low = 0, high = 255;
    if (!bytes) {
        low = high = v[0];
        for (int64_t i = 1; i < n; i++) {
            low = v[i] < low ? v[i] : low;
            high = v[i] > high ? v[i] : high;
        }
    }
    float scale = high > low ? 1 / (high - low) : 0;
    for (int64_t i = 0; i < n; i++)
        v[i] = (v[i] - low) * scale;
}

static int draw(const struct context *cx, const struct tensor_view *t, int most, caption *say, const void *of,
                struct fail *why)
{
    struct image like = {0}, images[IMAGES_ABREAST] = {0};
    int64_t rows = t->shape.rank ? t->shape.dim[0] : 0;
    if (rows < 1 || !image_shape(t, &like)) {
        char shape[100];
        printf("(no images: shape %s)\n", shape_text(t->shape, shape, sizeof shape));
        return 0;
    }
    int64_t n = (int64_t)like.channels * like.height * like.width;
    size_t row_size = (size_t)n * dtype_size(t->dtype);
    int abreast = image_abreast(STDOUT_FILENO, COLUMNS);
    float *pixels = malloc(sizeof *pixels * (size_t)n * (size_t)abreast);
    if (!pixels)
        return fail(why, E_MEMORY, "images of %d x %d", like.height, like.width);
    rows = rows < most ? rows : most;
    for (int64_t row = 0; row < rows; row += abreast) {
        int count = (int)(rows - row < abreast ? rows - row : abreast);
        for (int i = 0; i < count; i++) {
            float *v = pixels + n * i;
            dtype_to_float(t->dtype, t->data.data + row_size * (size_t)(row + i), n, v);
            row_to_unit(v, n, t->dtype == DTYPE_UINT8);
            images[i] = like;
            images[i].pixels = v;
            say(of, row + i, images[i].caption, sizeof images[i].caption);
        }
        image_print(images, count, COLUMNS, image_style(cx->color), stdout);
    }
    free(pixels);
    return 0;
}

static void caption_row(const void *of, int64_t row, char *out, size_t size)
{
    (void)of;
    snprintf(out, size, "row %lld", (long long)row);
}

static void caption_label(const void *of, int64_t row, char *out, size_t size)
{
    struct list labels = ((const struct sample *)of)->labels;
    int32_t label = -1;
    if (!labels.count) {
        caption_row(of, row, out, size);
        return;
    }
    for (int64_t i = 0; i <= row && list_next_int(&labels, &label); i++)
        ;
    snprintf(out, size, "label %d", (int)label);
}

static void caption_prediction(const void *of, int64_t row, char *out, size_t size)
{
    json_t *r = json_array_get(of, (size_t)row);
    const char *status = json_string_value(json_object_get(r, "status"));
    if (status && strcmp(status, "OK") == 0)
        snprintf(out, size, "-> %lld  (%.3f)", (long long)json_integer_value(json_object_get(r, "label")),
                 json_number_value(json_object_get(r, "score")));
    else
        snprintf(out, size, "-> %s", status ? status : "?");
}

/* "millrace.inference", 3, 17 from the headers; false when one is missing or no number. */
static bool source_place(const struct record *r, char topic[TOPIC_NAME], struct reader_range *range)
{
    struct span t = record_header(r, "src.topic"), p = record_header(r, "src.partition"),
                o = record_header(r, "src.offset");
    char partition[16], offset[24];
    int64_t n;
    if (!t.data || !p.data || !o.data || t.size >= TOPIC_NAME || p.size >= sizeof partition ||
        o.size >= sizeof offset)
        return false;
    snprintf(topic, TOPIC_NAME, "%.*s", (int)t.size, t.data);
    snprintf(partition, sizeof partition, "%.*s", (int)p.size, p.data);
    snprintf(offset, sizeof offset, "%.*s", (int)o.size, o.data);
    if (!text_to_int(partition, &n) || n < 0 || n > INT32_MAX)
        return false;
    range->partition = (int32_t)n;
    if (!text_to_int(offset, &n) || n < 0 || n == INT64_MAX)
        return false;
    range->start = n;
    range->end = n + 1;
    return true;
}

static int draw_request(const struct context *cx, struct reader *reader, json_t *rows, int most,
                        struct fail *why)
{
    struct record request;
    struct inference in;
    int event, rc;
    for (int waited = 0; (event = reader_next(reader, &request, 100, why)) == SOURCE_NONE; waited += 100)
        if (command_stop || waited >= cx->timeout_ms)
            return fail(why, command_stop ? E_INTERRUPTED : E_UNREACHABLE, "the request did not come");
    if (event < 0)
        return event;
    if (event != SOURCE_RECORD)
        return puts("(the request is no longer in its topic)"), 0;
    struct span payload;
    rc = command_payload(cx, &request, "InferenceBatch", &payload, why);
    if (rc && fail_class(why->code) != FAIL_RECORD)
        return rc;
    if (rc || inference_decode(&in, payload, why) || in.kind != PAYLOAD_TENSOR)
        return puts("(the request holds no tensor)"), 0;
    return draw(cx, &in.tensor, most, caption_prediction, rows, why);
}

static int draw_prediction(const struct context *cx, const struct record *r, struct span payload, int most,
                           struct fail *why)
{
    char topic[TOPIC_NAME];
    struct reader_range range;
    struct reader *reader = NULL;
    struct bytes text = {0};
    json_t *prediction = NULL;
    int rc = 0;
    if (!source_place(r, topic, &range)) {
        puts("(no src.* headers: the request cannot be looked up)");
        return 0;
    }
    if (record_print_json(&text, record_type_find("Prediction"), 1, payload, why) || text.failed ||
        !(prediction = json_loadb((const char *)text.data, text.size, 0, NULL)))
        goto out; /* tail has said so already */
    rc = reader_open(&reader, &cx->settings, topic, &range, 1, 0, cx->timeout_ms, why);
    if (!rc)
        rc = draw_request(cx, reader, json_object_get(prediction, "rows"), most, why);
    if (rc == -E_FAILED) { /* deleted by retention */
        printf("(%s)\n", why->text);
        rc = 0;
    }
out:
    reader_close(&reader);
    json_decref(prediction);
    bytes_free(&text);
    return rc;
}

int pictures_print(const struct context *cx, const char *record_type, const struct record *r,
                   struct span payload, int most, struct fail *why)
{
    struct inference in;
    struct sample sample;
    if (strcmp(record_type, "Prediction") == 0)
        return draw_prediction(cx, r, payload, most, why);
    if (strcmp(record_type, "InferenceBatch") == 0 && inference_decode(&in, payload, why) == 0 &&
        in.kind == PAYLOAD_TENSOR)
        return draw(cx, &in.tensor, most, caption_row, NULL, why);
    if (strcmp(record_type, "Sample") == 0 && sample_decode(&sample, payload, why) == 0 &&
        sample.kind == PAYLOAD_TENSOR)
        return draw(cx, &sample.tensor, most, caption_label, &sample, why);
    return 0;
}
