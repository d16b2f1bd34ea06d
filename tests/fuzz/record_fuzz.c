/* libFuzzer target over every record type: `make fuzz-record`. The first byte chooses the type and the way
 * in, the rest is the record (or its JSON). Whatever is accepted is decoded, compared with what Avro C reads in it (differential.c),
 * and written again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/differential.h"
#include "worker/codec/model_spec.h"
#include "worker/codec/record.h"

/* Holds in every build: a failed promise must stop the fuzzer. */
static void must(bool promise)
{
    if (!promise)
        abort();
}

/* Touches every byte, so that the sanitizer checks it. */
static void walk_strings(struct list l)
{
    struct span s;
    int64_t n = 0;
    for (; list_next_string(&l, &s); n++) {
        size_t sum = 0;
        for (size_t i = 0; i < s.size; i++)
            sum += (unsigned char)s.data[i];
        must(sum <= 255 * s.size);
    }
    must(n == l.count);
}

static void walk_ints(struct list l)
{
    int32_t v;
    int64_t n = 0;
    while (list_next_int(&l, &v))
        n++;
    must(n == l.count);
}

static void use_inference(struct span value)
{
    struct inference q;
    struct model_spec spec;
    if (inference_decode(&q, value, NULL))
        return;
    walk_strings(q.row_ids);
    walk_strings(q.images);
    must(q.rows >= 0 && q.top_k >= 0 && q.id.size > 0);
    differential_inference(value, &q);
    model_spec_parse(&spec, q.model, NULL);
}

static void use_sample(struct span value)
{
    struct sample s;
    if (sample_decode(&s, value, NULL))
        return;
    differential_sample(value, &s);
    walk_ints(s.labels);
    walk_strings(s.row_ids);
    walk_strings(s.images);
}

/* Decoded, encoded and decoded again: our form of it is accepted, and stays as it is. */
#define USE(type)                                                                                \
    static void use_##type(struct span value)                                                    \
    {                                                                                            \
        struct region mem = {0};                                                                 \
        struct type one, two;                                                                    \
        struct bytes first = {0}, second = {0};                                                  \
        if (type##_decode(&one, value, &mem, NULL) == 0) {                                       \
            differential_##type(value, &one);                                                    \
            type##_encode(&first, &one);                                                         \
            struct span ours = {(char *)first.data, first.size};                                 \
            must(type##_decode(&two, ours, &mem, NULL) == 0);                                    \
            type##_encode(&second, &two);                                                        \
            must(first.size == second.size && memcmp(first.data, second.data, first.size) == 0); \
        }                                                                                        \
        bytes_free(&first);                                                                      \
        bytes_free(&second);                                                                     \
        region_free(&mem);                                                                       \
    }
USE(training_job)
USE(loss_metric)
USE(job_checkpoint)
USE(model_version_event)

static void use_nothing(struct span value)
{
    (void)value;
}

/* A decimal number: zeros in front of it change nothing. */
static bool says_one(struct span text)
{
    size_t i = 0;
    while (i + 1 < text.size && text.data[i] == '0')
        i++;
    return text.size - i == 1 && text.data[i] == '1';
}

/* The frame around a value: nothing is cut off or moved, and only a version that was published passes. */
static struct span unframed(const struct record_type *t, struct span header, struct span value)
{
    struct span payload = {NULL, 0};
    struct fail why = {.code = E_OK};
    int rc = record_unframe(value, header, t, &payload, &why);
    must(rc == -(int)why.code && (rc == 0 || fail_class(why.code) == FAIL_RECORD));
    if (rc)
        return (struct span){NULL, 0};
    must(payload.data == value.data && payload.size == value.size);
    must(!header.data || says_one(header));
    return payload;
}

static void try_record(const struct record_type *t, int i, struct span value)
{
    static void (*const use[])(struct span) = {use_inference,     use_sample,      use_nothing,
                                               use_training_job,  use_loss_metric, use_model_version_event,
                                               use_job_checkpoint};
    struct bytes text = {0}, again = {0};
    struct fail why = {.code = E_OK};
    int rc = t->validate(value, &why);
    must(rc == -(int)why.code && (rc == 0 || fail_class(why.code) == FAIL_RECORD));
    use[i](value);
    int printed = record_print_json(&text, t, 1, value, &why);
    must(rc ? true : printed == 0);
    if (printed == 0)
        must(record_parse_json(&again, t, (char *)text.data, text.size, &why) == 0);
    bytes_free(&text);
    bytes_free(&again);
}

static void try_json(const struct record_type *t, struct span value)
{
    struct bytes to = {0}, text = {0};
    struct fail why;
    if (record_parse_json(&to, t, value.data, value.size, &why) == 0)
        must(record_print_json(&text, t, 1, (struct span){(char *)to.data, to.size}, &why) == 0);
    bytes_free(&to);
    bytes_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    int i = data[0] & 7;
    const struct record_type *t = record_type_at(i);
    struct span value = {(const char *)data + 1, size - 1};
    if (t && data[0] & 8) {
        try_json(t, value);
    } else if (t && data[0] & 16) { /* a header, as long as the next byte says, then the value */
        size_t n = value.size ? (unsigned char)value.data[0] % 8 : 0;
        if (value.size < n + 1)
            return 0;
        struct span header = {value.data + 1, n};
        value = unframed(t, header, (struct span){value.data + 1 + n, value.size - 1 - n});
        if (value.data)
            try_record(t, i, value);
    } else if (t) {
        unframed(t, (struct span){NULL, 0}, value);
        try_record(t, i, value); /* the empty one too, which no frame lets through */
    }
    return 0;
}
