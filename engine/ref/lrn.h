/* Local response normalisation (Krizhevsky et al. 2012, ONNX LRN); rows are [channels][inner].
 *   s[c] = bias + alpha / size * sum of x[j]^2 over the `size` channels j around c that there are,   y = x s^-beta
 * Included by kernels.h. */
#include "engine/ref/windows.h"

EVERYWHERE double lrn_square(const struct lrn *l, const real *x, int64_t c)
{
    double sum = 0;
    for (int64_t j = c - (l->size - 1) / 2; j <= c + l->size / 2; j++)
        sum += j < 0 || j >= l->channels ? 0 : (double)x[j * l->inner] * (double)x[j * l->inner];
    return l->bias + l->alpha / (double)l->size * sum;
}

/* Element i of row n. */
EVERYWHERE void lrn_at(const struct call *c, int64_t n, int64_t i)
{
    const struct lrn *l = &c->g->lrn;
    const real *x = (const real *)c->in[0] + n * c->row + i % l->inner;
    double s = lrn_square(l, x, i / l->inner);
    put((real *)c->out[0] + n * c->row + i, (double)x[i / l->inner * l->inner] * pow(s, -l->beta), c->add);
}

/* dx[i] = dy[i] s[i]^-beta - 2 alpha beta / size x[i] * sum of dy[j] x[j] s[j]^(-beta - 1) over the j that see i */
EVERYWHERE void lrn_back_at(const struct call *c, int64_t n, int64_t i)
{
    const struct lrn *l = &c->g->lrn;
    int64_t at = n * c->row + i % l->inner, k = i / l->inner;
    const real *dy = (const real *)c->in[0] + at, *x = (const real *)c->in[1] + at;
    double sum = 0;
    for (int64_t j = k - l->size / 2; j <= k + (l->size - 1) / 2; j++)
        if (j >= 0 && j < l->channels)
            sum +=
                (double)dy[j * l->inner] * (double)x[j * l->inner] * pow(lrn_square(l, x, j), -l->beta - 1);
    double dx = (double)dy[k * l->inner] * pow(lrn_square(l, x, k), -l->beta) -
                2 * l->alpha * l->beta / (double)l->size * (double)x[k * l->inner] * sum;
    put((real *)c->out[0] + n * c->row + i, dx, c->add);
}
