/* A claim check turned into rows: may it be read, is it what the request says. How files and buckets are read:
 * models/store.h; what becomes of the rows: rows.c. */
#include "worker/infer/external.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int text_take(struct span from, const char *what, size_t room, char *to, struct fail *why)
{
    if (from.size >= room || memchr(from.data, 0, from.size))
        return fail(why, E_EXTERNAL_DATA, "external.%s: %zu bytes, expected at most %zu and none of them 0",
                    what, from.size, room - 1);
    memcpy(to, from.data, from.size);
    to[from.size] = 0;
    return 0;
}

static int uri_check(const char *uri, const struct setting_strings *prefixes, struct fail *why)
{
    for (int i = 0; i < prefixes->count; i++)
        if (store_uri_below(uri, prefixes->v[i]))
            return 0;
    return fail(why, E_EXTERNAL_DATA,
                "external.uri: %.150s lies below no folder of inference.external_prefixes%s", uri,
                prefixes->count ? "" : ", which is empty");
}

/* dtype and shape were judged when the request was decoded: no overflow. */
static int size_check(const struct inference *q, int64_t max_mb, size_t *size, struct fail *why)
{
    char shape[128];
    *size = (size_t)shape_size(q->tensor.shape) * dtype_size(q->tensor.dtype);
    if (*size > (size_t)max_mb << 20)
        return fail(why, E_TOO_LARGE,
                    "external.tensor: %s of %s is %zu bytes, inference.external_max_mb is %lld",
                    shape_text(q->tensor.shape, shape, sizeof shape), dtype_name(q->tensor.dtype), *size,
                    (long long)max_mb);
    return 0;
}

int external_fetch(struct inference *request, const struct settings *s, const struct store_stop *stop,
                   void **bytes, struct fail *why)
{
    char uri[STORE_URI], sha256[SHA256_HEX];
    size_t wanted, got = 0;
    int rc = text_take(request->external_uri, "uri", sizeof uri, uri, why);
    if (!rc)
        rc = text_take(request->external_sha256, "sha256", sizeof sha256, sha256, why);
    if (!rc)
        rc = uri_check(uri, &s->inference_external_prefixes, why);
    if (!rc)
        rc = size_check(request, s->inference_external_max_mb, &wanted, why);
    if (rc)
        return rc;
    rc = store_read(uri, sha256, wanted, stop, bytes, &got, why);
    if (rc && rc != -E_MEMORY && rc != -E_INTERRUPTED) {
        why->code = E_EXTERNAL_DATA;
        return fail_prefix(why, "external");
    }
    if (rc)
        return rc;
    if (got != wanted) {
        free(*bytes);
        *bytes = NULL;
        return fail(why, E_EXTERNAL_DATA, "external: %.150s has %zu bytes, its dtype and shape want %zu", uri,
                    got, wanted);
    }
    request->kind = PAYLOAD_TENSOR;
    request->tensor.data = (struct span){*bytes, got};
    return 0;
}
