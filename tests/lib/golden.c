/* Goldens read, made values, comparison (golden.h). */
#include "tests/lib/golden.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/net_inside.h"

enum { FILE_MOST = 4 << 20 };

void golden_check(int rc, const struct fail *why, const char *name)
{
    if (rc)
        fail_msg("%s: %s", name, why->text);
}

void golden_open(struct golden *g, const char *path)
{
    struct fail why;
    FILE *f = fopen(path, "rb");
    *g = (struct golden){0};
    if (!f)
        fail_msg("%s: not there; tests run from the repository's root", path);
    g->bytes = malloc(FILE_MOST);
    assert_non_null(g->bytes);
    size_t size = fread(g->bytes, 1, FILE_MOST, f);
    fclose(f);
    golden_check(safetensors_parse(&g->file, path, g->bytes, size, &why), &why, path);
}

void golden_close(struct golden *g)
{
    safetensors_free(&g->file);
    free(g->bytes);
}

void golden_values(uint32_t tensor, int64_t n, float scale, float *out)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t h = (uint32_t)i * 2654435761u + tensor * 40503u + 12345u;
        h = (h ^ (h >> 15)) * 2246822519u;
        h ^= h >> 13;
        out[i] = (float)((double)(h >> 8) / 16777216.0 - 0.5) * scale;
    }
}

void golden_weights(struct net *net)
{
    struct fail why;
    for (int i = 0; i < net_param_count(net); i++) {
        struct shape s = net_param_shape(net, i);
        double fan_in = s.rank > 1 ? (double)(shape_size(s) / s.dim[0]) : 64;
        if (net->params[i].store == STORE_STATE)
            continue;
        float *values = malloc((size_t)shape_size(s) * sizeof *values);
        assert_non_null(values);
        golden_values((uint32_t)i, shape_size(s), (float)exp2(floor(log2(2 / sqrt(fan_in)))), values);
        golden_check(net_param_set(net, i, values, &why), &why, net_param_name(net, i));
        free(values);
    }
}

bool golden_has(const struct golden *g, const char *name)
{
    return safetensors_index(g->file, name) >= 0;
}

void golden_compare(const struct golden *g, const char *name, const float *a, int64_t n, double tolerance)
{
    int t = safetensors_index(g->file, name);
    double most = 0, d = 0;
    if (t < 0)
        fail_msg("%s is not among the answers", name);
    if (shape_size(safetensors_shape(g->file, t)) != n)
        fail_msg("%s: %lld numbers, the answer has %lld", name, (long long)n,
                 (long long)shape_size(safetensors_shape(g->file, t)));
    for (int64_t i = 0; i < n; i++) {
        float b;
        memcpy(&b, (const char *)safetensors_data(g->file, t) + (size_t)i * sizeof b, sizeof b);
        most = fmax(most, fabs((double)b));
        double e = fabs((double)a[i] - (double)b);
        if (isnan(e))
            fail_msg("%s: %lld is %g, expected %g", name, (long long)i, (double)a[i], (double)b);
        d = fmax(d, e);
    }
    if (!(d <= tolerance * most))
        fail_msg("%s: differs by %.3g of %.3g", name, d, most);
}

const char *golden_backend(const char *usual)
{
    const char *other = getenv("TEST_BACKEND");
    return other && !strcmp(usual, "cpu") ? other : usual;
}
