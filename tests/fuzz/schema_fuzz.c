/* libFuzzer target over the schemas of producers: `make fuzz-schema`. The first byte chooses our type; then the producer's schema, a
 * zero byte, and a record of it. Whatever is accepted gives a record of ours that is well formed, the same each time. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/heap.h"
#include "worker/codec/record.h"
#include "worker/codec/resolver.h"

/* A schema becomes JSON, a tree and a plan: bounded by its text and ours. */
enum { FOR_OURS = 16 << 20, FOR_A_BYTE = 4096 };

static bool is_verdict(int rc, const struct fail *why)
{
    return rc == -(int)why->code && fail_class(why->code) == FAIL_RECORD;
}

static void run(const struct resolver *r, const struct record_type *t, struct span value)
{
    struct bytes one = {0}, two = {0};
    struct span first, second;
    struct fail why = {.code = E_OK};
    int rc = resolver_run(r, value, &one, &first, &why);
    must(rc == 0 || is_verdict(rc, &why));
    must(resolver_run(r, value, &two, &second, &why) == rc);
    if (!rc) {
        must(first.size == second.size && memcmp(first.data, second.data, first.size) == 0);
        rc = t->validate(first, &why);
        must(rc == 0 || is_verdict(rc, &why));
        bool ours = first.data != value.data; /* we wrote it: whatever it says, it says it in good Avro */
        must(!ours || (rc != -E_TRUNCATED && rc != -E_TRAILING_BYTES && rc != -E_BAD_AVRO && rc != -E_EMPTY));
    }
    bytes_free(&one);
    bytes_free(&two);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct record_type *t = size ? record_type_at(data[0] & 7) : NULL;
    const char *schema = (const char *)data + 1;
    const char *end = t ? memchr(schema, 0, size - 1) : NULL;
    struct resolver *r = NULL;
    struct fail why = {.code = E_OK};
    if (!end)
        return 0;
    size_t n = (size_t)(end - schema);
    heap_begin();
    int rc = resolver_open(&r, (struct span){schema, n}, record_schema(t, t->version), &why);
    heap_end(n, FOR_A_BYTE, FOR_OURS);
    must(rc == 0 ? r != NULL : r == NULL && is_verdict(rc, &why));
    if (r)
        run(r, t, (struct span){end + 1, size - n - 2});
    resolver_close(&r);
    return 0;
}
