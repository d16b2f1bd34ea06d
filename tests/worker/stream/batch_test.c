/* What derived records and dead letters carry, byte for byte (contract.md, "Topics"). */
#include "worker/stream/batch.h"

#include <openssl/sha.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#undef fail
#include <cmocka.h>

#include "engine/rng.h"

enum { LIMIT = 17 << 20 };

static const struct header originals[] = {
    {"trace", {"a\0b", 3}},     {"none", {NULL, 0}},        {"millrace.schema", {"1", 1}},
    {"dlq.attempts", {"4", 1}}, {"dlq.reason", {"old", 3}},
};

static struct record record_make(void)
{
    return (struct record){.topic = "m.inference",
                           .partition = 3,
                           .offset = 77,
                           .timestamp_ms = 1234567890123,
                           .key = {"k\0y", 3},
                           .value = {"\x00\x01", 2},
                           .headers = originals,
                           .header_count = 5};
}

static struct span find(const struct output *o, const char *name)
{
    struct record r = {.headers = o->headers, .header_count = o->header_count};
    return record_header(&r, name);
}

static void is_text(struct span s, const char *text)
{
    assert_non_null(s.data);
    assert_int_equal(s.size, strlen(text));
    assert_memory_equal(s.data, text, s.size);
}

static int count(const struct output *o, const char *name)
{
    int n = 0;
    for (int i = 0; i < o->header_count; i++)
        n += strcmp(o->headers[i].name, name) == 0;
    return n;
}

static void a_dead_letter_keeps_the_record_and_says_why(void **state)
{
    struct batch b = {0};
    struct record r = record_make();
    struct fail reason = {E_BAD_SHAPE, "tensors[0].shape: a long story"}, why;
    (void)state;
    assert_int_equal(batch_dead_letter(&b, &r, "decode", &reason, "slot-a", LIMIT, &why), 0);
    assert_int_equal(b.output_count, 1);
    struct output *o = &b.outputs[0];
    assert_int_equal(o->topic, TOPIC_DEAD_LETTERS);
    assert_int_equal(o->partition, 3);
    assert_int_equal(o->key.size, 3);
    assert_memory_equal(o->key.data, "k\0y", 3);
    assert_int_equal(o->value.size, 2);
    assert_memory_equal(o->value.data, "\x00\x01", 2);
    assert_memory_equal(find(o, "trace").data, "a\0b", 3);
    assert_int_equal(count(o, "none"), 1);
    assert_null(find(o, "none").data);
    assert_int_equal(count(o, "millrace.schema"), 1); /* the original's, no second one */
    assert_int_equal(count(o, "src.topic"), 0);
    is_text(find(o, "dlq.topic"), "m.inference");
    is_text(find(o, "dlq.partition"), "3");
    is_text(find(o, "dlq.offset"), "77");
    is_text(find(o, "dlq.timestamp"), "1234567890123");
    is_text(find(o, "dlq.stage"), "decode");
    is_text(find(o, "dlq.reason"), "bad_shape");
    assert_int_equal(count(o, "dlq.reason"), 1); /* the one that came is replaced */
    is_text(find(o, "dlq.detail"), reason.text);
    is_text(find(o, "dlq.attempts"), "5"); /* counts on */
    is_text(find(o, "dlq.worker"), "slot-a");
    assert_int_equal(count(o, "dlq.truncated"), 0);
    region_free(&b.mem);
}

static void a_tombstone_stays_null_and_attempts_begin_at_one(void **state)
{
    struct batch b = {0};
    struct record r = {.topic = "t", .partition = 0, .offset = 0};
    struct fail reason = {E_EMPTY, "no value"}, why;
    (void)state;
    assert_int_equal(batch_dead_letter(&b, &r, "decode", &reason, "w", LIMIT, &why), 0);
    assert_null(b.outputs[0].value.data);
    assert_null(b.outputs[0].key.data);
    is_text(find(&b.outputs[0], "dlq.attempts"), "1");
    region_free(&b.mem);
}

static void detail_is_cut_at_a_character(void **state)
{
    struct batch b = {0};
    struct record r = record_make();
    struct fail reason = {E_BAD_AVRO, ""}, why;
    (void)state;
    memset(reason.text, 'x', 255);
    strcpy(reason.text + 255, "\xc3\xa4\xc3\xa4"); /* a two-byte character across byte 256 */
    assert_int_equal(batch_dead_letter(&b, &r, "decode", &reason, "w", LIMIT, &why), 0);
    assert_int_equal(find(&b.outputs[0], "dlq.detail").size, 255);
    strcpy(reason.text, "name \"\xc3\xa4\xe2\x82\", no"); /* a quoted name that was cut within a character */
    assert_int_equal(batch_dead_letter(&b, &r, "decode", &reason, "w", LIMIT, &why), 0);
    is_text(find(&b.outputs[1], "dlq.detail"), "name \"\xc3\xa4??\", no");
    region_free(&b.mem);
}

static void what_the_topic_cannot_take_is_cut_with_its_hash(void **state)
{
    struct batch b = {0};
    struct record r = record_make();
    struct fail reason = {E_TOO_LARGE, "too large"}, why;
    unsigned char digest[SHA256_DIGEST_LENGTH];
    char hex[65], *big = malloc(200000);
    struct rng rng = rng_seed(7);
    (void)state;
    for (int i = 0; i < 200000; i++)
        big[i] = (char)rng_next(&rng);
    r.value = (struct span){big, 200000};
    SHA256((unsigned char *)big, 200000, digest);
    for (int i = 0; i < 32; i++)
        sprintf(hex + 2 * i, "%02x", digest[i]);
    assert_int_equal(batch_dead_letter(&b, &r, "infer", &reason, "w", 100000, &why), 0);
    struct output *o = &b.outputs[0];
    assert_int_equal(o->value.size, 65536);
    assert_memory_equal(o->value.data, big, 65536);
    is_text(find(o, "dlq.truncated"), "1");
    is_text(find(o, "dlq.sha256"), hex);
    is_text(find(o, "dlq.offset"), "77");
    free(big);
    region_free(&b.mem);
}

static void a_derived_record_names_its_source(void **state)
{
    struct batch b = {0};
    struct record r = record_make();
    struct fail why;
    (void)state;
    for (int i = 0; i < 200; i++) /* more than the list's first size */
        assert_int_equal(
            batch_derived(&b, TOPIC_PREDICTIONS, &r, (struct span){"k", 1}, (struct span){"v", 1}, &why), 0);
    assert_int_equal(b.output_count, 200);
    for (int i = 0; i < 200; i++) {
        struct output *o = &b.outputs[i];
        assert_int_equal(o->header_count, 4);
        is_text(find(o, "src.topic"), "m.inference");
        is_text(find(o, "src.partition"), "3");
        is_text(find(o, "src.offset"), "77");
        is_text(find(o, "millrace.schema"), "1");
    }
    batch_reset(&b);
    assert_int_equal(b.output_count, 0);
    assert_int_equal(
        batch_derived(&b, TOPIC_METRICS, NULL, (struct span){"k", 1}, (struct span){"v", 1}, &why), 0);
    assert_int_equal(b.outputs[0].header_count, 1);
    assert_int_equal(b.outputs[0].partition, -1);
    region_free(&b.mem);
}

/* What a batch counts reaches its counters when it is committed, once, and never when it is dropped. */
static void counters_move_with_the_commit(void **state)
{
    struct session_metrics metrics = {.role = "infer"};
    struct batch b = {.metrics = &metrics};
    struct record r = record_make();
    struct fail reason = {E_TRUNCATED, "short"}, why;
    counter many[100] = {0}, *none = NULL;
    (void)state;
    for (int turn = 0; turn < 2; turn++) {
        for (int i = 0; i < 300; i++)
            assert_int_equal(batch_count(&b, &many[i % 100], (uint64_t)(i % 100), &why), 0);
        assert_int_equal(batch_count(&b, none, 1, &why), 0);
        assert_int_equal(batch_dead_letter(&b, &r, "decode", &reason, "w", LIMIT, &why), 0);
        if (turn == 1)
            batch_count_up(&b);
        batch_reset(&b);
    }
    batch_count_up(&b); /* empty by now */
    for (uint64_t i = 0; i < 100; i++)
        assert_int_equal(many[i], 3 * i);
    assert_int_equal(metrics.dead_letters[E_TRUNCATED], 1);
    region_free(&b.mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dead_letter_keeps_the_record_and_says_why),
        cmocka_unit_test(a_tombstone_stays_null_and_attempts_begin_at_one),
        cmocka_unit_test(detail_is_cut_at_a_character),
        cmocka_unit_test(what_the_topic_cannot_take_is_cut_with_its_hash),
        cmocka_unit_test(a_derived_record_names_its_source),
        cmocka_unit_test(counters_move_with_the_commit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
