/* Seeded mutations of valid records. Our validator must not crash (run this under asan), must agree with the
 * decoders, and whatever it accepts Avro C must decode too, to a record that survives JSON and back. */
#include "tests/lib/vectors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h> /* behind our headers: it has a macro called fail */

#include "engine/rng.h"

enum { MUTATIONS = 50000, SEED = 20240607 };

/* Values that Avro's rules turn on: varint ends, small counts, the sign bit of zig-zag. */
static const unsigned char special[] = {0, 1, 2, 3, 4, 0x7e, 0x7f, 0x80, 0x81, 0xfe, 0xff};

/* One change in place or in length; the buffer has room for twice the size. */
static size_t mutate_once(struct rng *r, unsigned char *data, size_t size)
{
    uint32_t at = rng_below(r, (uint32_t)size), n = 1 + rng_below(r, 8);
    switch (rng_below(r, 6)) {
    case 0: /* one bit */
        data[at] ^= (unsigned char)(1u << rng_below(r, 8));
        return size;
    case 1:
        data[at] = special[rng_below(r, sizeof special)];
        return size;
    case 2: /* a piece twice */
        n = n < size - at ? n : (uint32_t)(size - at);
        memmove(data + at + n, data + at, size - at);
        return size + n;
    case 3: /* a piece gone */
        n = n < size - at ? n : (uint32_t)(size - at);
        memmove(data + at, data + at + n, size - at - n);
        return size - n;
    case 4: /* cut */
        return at;
    default:
        data[at] = (unsigned char)rng_next(r);
        return size;
    }
}

static struct span mutate(struct rng *r, struct span from)
{
    unsigned char *data = malloc(from.size + 64);
    size_t size = from.size;
    memcpy(data, from.data, size);
    for (uint32_t i = 1 + rng_below(r, 4); i > 0 && size > 0; i--)
        size = mutate_once(r, data, size);
    char *exact = malloc(size ? size : 1);
    memcpy(exact, data, size);
    free(data);
    return (struct span){exact, size};
}

/* Printed, parsed and printed again it is the same text: Avro C and our writer mean the same record. */
static void expect_round_trip(const struct record_type *t, struct span value, const char *name, int i)
{
    struct bytes once = {0}, twice = {0}, binary = {0};
    struct fail why = {0};
    if (record_print_json(&once, t, 1, value, &why))
        fail_msg("%s, mutation %d: we accept it, but %s", name, i, why.text);
    if (record_parse_json(&binary, t, (char *)once.data, once.size, &why) ||
        record_print_json(&twice, t, 1, (struct span){(char *)binary.data, binary.size}, &why))
        fail_msg("%s, mutation %d: %.*s does not come back: %s", name, i, (int)once.size, once.data,
                 why.text);
    if (once.size != twice.size || memcmp(once.data, twice.data, once.size) != 0)
        fail_msg("%s, mutation %d: %.*s comes back as %.*s", name, i, (int)once.size, once.data,
                 (int)twice.size, twice.data);
    bytes_free(&once);
    bytes_free(&twice);
    bytes_free(&binary);
}

static void test_mutations(void **state)
{
    struct vector all[VECTORS_MOST];
    struct rng r = rng_seed(SEED);
    int count = vectors_load(all), accepted = 0, verdicts[E_CODES] = {0};
    (void)state;
    for (int i = 0; i < MUTATIONS; i++) {
        const struct vector *v = &all[i % count];
        struct span m = mutate(&r, v->value);
        struct fail why = {.code = E_OK};
        int rc = v->type->validate(m, &why);
        assert_int_equal(rc, -(int)why.code);
        verdicts[why.code]++;
        if (rc == 0 || rc == -E_BAD_REQUEST || rc == -E_BAD_SHAPE || rc == -E_BAD_DTYPE) {
            accepted++;
            expect_round_trip(v->type, m, v->name, i);
        }
        free((char *)(uintptr_t)m.data);
    }
    printf("seed %d: %d mutations, %d well formed", SEED, MUTATIONS, accepted);
    for (int c = 0; c < E_CODES; c++)
        if (verdicts[c])
            printf(", %s %d", fail_name((enum fail_code)c), verdicts[c]);
    printf("\n");
    assert_true(accepted > MUTATIONS / 20); /* else nothing was compared */
    assert_true(verdicts[E_TRUNCATED] && verdicts[E_BAD_AVRO] && verdicts[E_TRAILING_BYTES]);
    vectors_free(all, count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_mutations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
