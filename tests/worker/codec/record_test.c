/* The record types as structs: what the vectors decode to, and that our encoders write the vectors' bytes.
 * That Avro C reads them is shown in vectors_test.c, on the same bytes. */
#include "tests/lib/vectors.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h> /* behind our headers: it has a macro called fail */

#define SHA "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct vector all[VECTORS_MOST];
static int count;

static int load(void **state)
{
    (void)state;
    count = vectors_load(all);
    return 0;
}

static int unload(void **state)
{
    (void)state;
    vectors_free(all, count);
    return 0;
}

static struct span value_of(const char *name)
{
    return vector_find(all, count, name)->value;
}

static struct span text(const char *s)
{
    return (struct span){s, strlen(s)};
}

static void expect_text(struct span got, const char *expected)
{
    assert_int_equal(got.size, strlen(expected));
    assert_memory_equal(got.data, expected, got.size);
}

/* The buffer holds exactly the vector's bytes; frees it. */
static void expect_vector(struct bytes *got, const char *name)
{
    struct span want = value_of(name);
    assert_false(got->failed);
    assert_int_equal(got->size, want.size);
    assert_memory_equal(got->data, want.data, want.size);
    bytes_free(got);
}

static void expect_strings(struct list l, int n, const char *const *expected)
{
    struct span s;
    assert_int_equal(l.count, n);
    for (int i = 0; i < n; i++) {
        assert_true(list_next_string(&l, &s));
        expect_text(s, expected[i]);
    }
    assert_false(list_next_string(&l, &s));
    assert_false(list_next_string(&l, &s));
}

static void check_inference(const char *name)
{
    struct inference q;
    struct span value = value_of(name);
    assert_int_equal(inference_decode(&q, value, NULL), 0);
    expect_text(q.id, "req-1");
    expect_text(q.model, "digits@challenger");
    assert_int_equal(q.kind, PAYLOAD_TENSOR);
    expect_text(q.tensor.name, "input");
    assert_int_equal(q.tensor.dtype, DTYPE_UINT8);
    assert_true(shape_equal(q.tensor.shape, SHAPE(3, 2, 2, 2)));
    assert_int_equal(q.tensor.data.size, 24);
    for (int i = 0; i < 24; i++)
        assert_int_equal(q.tensor.data.data[i], i);
    assert_true(q.tensor.data.data > value.data &&
                q.tensor.data.data < value.data + value.size); /* borrowed */
    assert_int_equal(q.rows, 3);
    expect_strings(q.row_ids, 3, (const char *const[]){"a", "b\xc3\xa9", ""});
    assert_int_equal(q.created_at, 1700000000123);
    assert_int_equal(q.deadline_at, 1700000001123);
    assert_int_equal(q.top_k, 3);
    assert_true(q.return_outputs && q.explain);
}

static void test_inference_tensor(void **state)
{
    struct inference q;
    (void)state;
    check_inference("InferenceBatch.full");
    check_inference("InferenceBatch.blocks");
    check_inference("InferenceBatch.plain");
    assert_int_equal(inference_decode(&q, value_of("InferenceBatch.defaults"), NULL), 0);
    assert_int_equal(q.rows, 1);
    assert_int_equal(q.row_ids.count, 0);
    assert_int_equal(q.deadline_at, 0);
    assert_int_equal(q.top_k, 1);
    assert_false(q.return_outputs || q.explain);
}

static void check_images(const char *name)
{
    static const struct span files[] = {{"\xff\xd8\xff", 3}, {"", 0}, {"\x89PNG", 4}};
    struct inference q;
    struct span s;
    assert_int_equal(inference_decode(&q, value_of(name), NULL), 0);
    assert_int_equal(q.kind, PAYLOAD_IMAGES);
    assert_int_equal(q.rows, 3);
    for (int i = 0; i < 3; i++) {
        assert_true(list_next_bytes(&q.images, &s));
        assert_int_equal(s.size, files[i].size);
        assert_memory_equal(s.data, files[i].data, s.size);
    }
    assert_false(list_next_bytes(&q.images, &s));
    expect_strings(q.row_ids, 3, (const char *const[]){"a", "b", "c"});
}

static void test_inference_other_sources(void **state)
{
    struct inference q;
    (void)state;
    check_images("InferenceBatch.images");
    check_images("InferenceBatch.images_blocks");
    assert_int_equal(inference_decode(&q, value_of("InferenceBatch.external"), NULL), 0);
    assert_int_equal(q.kind, PAYLOAD_EXTERNAL);
    expect_text(q.external_uri, "s3://bucket/rows");
    expect_text(q.external_sha256, SHA);
    assert_int_equal(q.tensor.dtype, DTYPE_BF16);
    assert_true(shape_equal(q.tensor.shape, SHAPE(100000, 3, 224, 224)));
    assert_int_equal(q.rows, 100000);
    assert_int_equal(q.tensor.data.size, 0);
}

static void test_inference_encode(void **state)
{
    char pixels[24];
    struct bytes to = {0};
    struct tensor_view t = {.name = text("input"), .dtype = DTYPE_UINT8, .shape = SHAPE(3, 2, 2, 2)};
    const struct span ids[] = {text("a"), text("b\xc3\xa9"), text("")};
    const struct span abc[] = {text("a"), text("b"), text("c")};
    const struct span files[] = {{"\xff\xd8\xff", 3}, {NULL, 0}, {"\x89PNG", 4}};
    (void)state;
    for (int i = 0; i < 24; i++)
        pixels[i] = (char)i;
    t.data = (struct span){pixels, sizeof pixels};
    inference_encode(&to,
                     &(struct inference_head){text("req-1"), text("digits@challenger"), 1700000000123,
                                              1700000001123, 3, true, true},
                     &t, ids);
    expect_vector(&to, "InferenceBatch.plain");
    inference_encode(&to, &(struct inference_head){.id = text("r"), .model = text("m"), .top_k = 1},
                     &(struct tensor_view){.dtype = DTYPE_FP32, .shape = SHAPE(1), .data = {"\0\0\0\0", 4}},
                     NULL);
    expect_vector(&to, "InferenceBatch.defaults");
    inference_encode_images(&to, &(struct inference_head){.id = text("i"), .model = text("m"), .top_k = 1},
                            files, 3, abc);
    expect_vector(&to, "InferenceBatch.images");
}

/* A deadline of 1970 is one, and has passed: 0 in the struct means that there is none. */
static void test_inference_deadline_of_zero(void **state)
{
    static const char json[] = "{\"id\":\"r\",\"model\":\"m\",\"deadline_at\":0,\"images\":{\"images\":[]}}";
    struct bytes to = {0};
    struct inference q;
    (void)state;
    assert_int_equal(record_parse_json(&to, record_type_find("InferenceBatch"), json, strlen(json), NULL), 0);
    assert_int_equal(inference_decode(&q, (struct span){(char *)to.data, to.size}, NULL), 0);
    assert_int_equal(q.deadline_at, 1);
    assert_int_equal(q.rows, 0);
    bytes_free(&to);
}

static void test_sample(void **state)
{
    static const int32_t labels[] = {7, -1, 2147483647};
    struct sample s;
    struct bytes to = {0};
    int32_t label;
    (void)state;
    assert_int_equal(sample_decode(&s, value_of("Sample.labels"), NULL), 0);
    assert_int_equal(s.kind, PAYLOAD_TENSOR);
    assert_int_equal(s.rows, 3);
    assert_int_equal(s.labels.count, 3);
    struct list l = s.labels;
    for (int i = 0; i < 3; i++) {
        assert_true(list_next_int(&l, &label));
        assert_int_equal(label, labels[i]);
    }
    assert_false(list_next_int(&l, &label));
    assert_false(s.has_targets);
    sample_encode(&to, &s.tensor, labels, NULL);
    expect_vector(&to, "Sample.labels");
    assert_int_equal(sample_decode(&s, value_of("Sample.images"), NULL), 0);
    assert_int_equal(s.kind, PAYLOAD_IMAGES);
    assert_int_equal(s.images.count, 3);
    assert_int_equal(s.labels.count, 3);
    assert_int_equal(sample_decode(&s, value_of("Sample.defaults"), NULL), 0);
    assert_int_equal(s.rows, 0);
    sample_encode(&to, &s.tensor, NULL, NULL);
    expect_vector(&to, "Sample.defaults");
}

static void test_sample_targets(void **state)
{
    static const char *const names[] = {"Sample.full", "Sample.blocks"};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct sample s;
        double y;
        assert_int_equal(sample_decode(&s, value_of(names[i]), NULL), 0);
        assert_true(s.has_targets);
        assert_int_equal(s.labels.count, 0);
        assert_true(shape_equal(s.targets.shape, SHAPE(3, 2)));
        memcpy(&y, s.targets.data.data + 5 * sizeof y, sizeof y);
        assert_true(y == 5);
        expect_strings(s.row_ids, 3, (const char *const[]){"r0", "r1", "r2"});
    }
}

/* Sample.full has row ids, which our encoder does not write: compare what it does write. */
static void test_sample_encode_targets(void **state)
{
    struct sample s, again;
    struct bytes to = {0};
    (void)state;
    assert_int_equal(sample_decode(&s, value_of("Sample.full"), NULL), 0);
    sample_encode(&to, &s.tensor, NULL, &s.targets);
    assert_int_equal(sample_decode(&again, (struct span){(char *)to.data, to.size}, NULL), 0);
    assert_true(again.has_targets);
    assert_true(shape_equal(again.targets.shape, s.targets.shape));
    assert_memory_equal(again.targets.data.data, s.targets.data.data, s.targets.data.size);
    assert_memory_equal(again.tensor.data.data, s.tensor.data.data, s.tensor.data.size);
    bytes_free(&to);
}

static void test_prediction_empty(void **state)
{
    struct bytes to = {0};
    (void)state;
    prediction_begin(&to, text("r"), text("m"), 1, 0);
    prediction_end(&to, 0, &(struct prediction_tail){.variant = text("champion")});
    expect_vector(&to, "Prediction.defaults");
}

static void test_prediction_full(void **state)
{
    static const float logits[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    const struct class_score top[] = {{3, 0.75f}, {8, 0.125f}, {0, 0.0625f}};
    const struct prediction_row rows[] = {
        {.id = text("a"), .status = ROW_OK, .label = 3, .score = 0.75f, .top_k = top, .top_k_count = 3},
        {.status = ROW_BAD_INPUT, .label = -1, .error = "non-finite"},
        {.id = text(""), .status = ROW_EXPIRED, .label = -1, .error = "deadline passed"},
        {.status = ROW_UNKNOWN, .label = 2147483647, .score = (float)NAN},
    };
    const struct tensor_view outputs = {
        text("logits"), DTYPE_FP32, SHAPE(4, 2), {(char *)logits, sizeof logits}};
    static const char map[8];
    const struct tensor_view saliency = {text(""), DTYPE_UINT8, SHAPE(4, 1, 1, 2), {map, sizeof map}};
    const struct prediction_tail tail = {
        &outputs, &saliency, text(SHA), text("shadow"), text("slot-a"), 6, 1700000000456, 120, 987};
    struct bytes to = {0};
    (void)state;
    prediction_begin(&to, text("req-1"), text("digits"), 7, 4);
    for (int i = 0; i < 4; i++)
        prediction_row(&to, &rows[i]);
    prediction_end(&to, 4, &tail);
    expect_vector(&to, "Prediction.full");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inference_tensor),
        cmocka_unit_test(test_inference_other_sources),
        cmocka_unit_test(test_inference_encode),
        cmocka_unit_test(test_inference_deadline_of_zero),
        cmocka_unit_test(test_sample),
        cmocka_unit_test(test_sample_targets),
        cmocka_unit_test(test_sample_encode_targets),
        cmocka_unit_test(test_prediction_empty),
        cmocka_unit_test(test_prediction_full),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
