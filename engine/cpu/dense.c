/* Dense layers through OpenBLAS: a row at a time, but for the weight gradient, which is a sum over rows in
 * slices of outputs whose size never depends on the threads. */
#include <cblas.h>
#include <string.h>

#include "engine/cpu/cpu.h"

enum { SLICE_UNITS = 64 };

size_t cpu_dense_scratch(const struct geometry *g)
{
    return (size_t)g->dense.out * sizeof(float);
}

CPU_KERNEL(cpu_dense)
{
    int in = (int)c->g->dense.in, out = (int)c->g->dense.out;
    const float *b = c->in[2], *residual = c->in[3], *old = scratch;
    for (int64_t i = begin; i < end; i++) {
        float *y = (float *)c->out[0] + i * out;
        if (c->add)
            memcpy(scratch, y, (size_t)out * sizeof *y);
        cblas_sgemv(CblasRowMajor, CblasNoTrans, out, in, 1, c->in[1], in, (const float *)c->in[0] + i * in,
                    1, 0, y, 1);
        for (int o = 0; b && o < out; o++)
            y[o] += b[o];
        for (int o = 0; residual && o < out; o++)
            y[o] += residual[i * out + o];
        cpu_apply(&c->g->map, y, out);
        for (int o = 0; c->add && o < out; o++)
            y[o] += old[o];
    }
}

CPU_KERNEL(cpu_dense_dx)
{
    int in = (int)c->g->dense.in, out = (int)c->g->dense.out;
    (void)scratch;
    for (int64_t i = begin; i < end; i++)
        cblas_sgemv(CblasRowMajor, CblasTrans, out, in, 1, c->in[1], in, (const float *)c->in[0] + i * out, 1,
                    c->add ? 1 : 0, (float *)c->out[0] + i * in, 1);
}

int64_t cpu_dense_slices(const struct call *c)
{
    return (c->g->dense.out + SLICE_UNITS - 1) / SLICE_UNITS;
}

CPU_KERNEL(cpu_dense_dw)
{
    int in = (int)c->g->dense.in, out = (int)c->g->dense.out;
    const float *dy = c->in[0];
    float *dw = c->out[0], *db = c->out[1];
    (void)scratch;
    for (int64_t slice = begin; slice < end; slice++) {
        int from = (int)slice * SLICE_UNITS, count = out - from < SLICE_UNITS ? out - from : SLICE_UNITS;
        if (dw)
            cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, count, in, c->rows, 1, dy + from, out,
                        c->in[1], in, 1, dw + (size_t)from * (size_t)in, in);
        for (int64_t i = 0; db && i < c->rows; i++)
            for (int o = from; o < from + count; o++)
                db[o] += dy[i * out + o];
    }
}
