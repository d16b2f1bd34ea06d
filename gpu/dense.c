/* Dense layers as products of matrices. cuBLAS counts by columns: our [rows][columns] is its columns x rows, so
 * y[N][out] = x[N][in] w[out][in]^T is asked for as y^T = w x^T. What a layer adds and applies is a kernel of its own. */
#include "gpu/kernels.h"
#include "gpu/products.h"

/* c[n][m] = op(b) op(a) [+ c], the letters cuBLAS's: m, n, k, leading dimensions of a, b, c. */
struct product {
    cublasOperation_t a_is, b_is;
    int m, n, k, lda, ldb, ldc;
};

static void multiply(struct device *d, const struct product *p, const void *a, const void *b, void *c,
                     bool add, const char *doing)
{
    const float one = 1, zero = 0;
    if (p->m && p->n && !d->first.code)
        device_check_blas(d,
                          d->lib.blas.cublasSgemm_v2(d->blas, p->a_is, p->b_is, p->m, p->n, p->k, &one, a,
                                                     p->lda, b, p->ldb, add ? &one : &zero, c, p->ldc),
                          doing);
}

void product_dense(struct device *d, const struct call *c)
{
    int in = (int)c->g->dense.in, out = (int)c->g->dense.out;
    const struct product p = {CUBLAS_OP_T, CUBLAS_OP_N, out, c->rows, in, in, in, out};
    bool plain = c->g->map.fn == MAP_IDENTITY;
    if (c->add && !plain) { /* y + f(...) is not f(y + ...) */
        kernel_launch(OP_DENSE, c, d->stream);
        return;
    }
    multiply(d, &p, c->in[1], c->in[0], c->out[0], c->add, "a dense layer");
    if (!plain || c->in[2] || c->in[3])
        kernel_launch(KERNEL_FINISH_DENSE, c, d->stream);
}

/* dx[N][in] = dy[N][out] w[out][in] */
void product_dense_dx(struct device *d, const struct call *c)
{
    int in = (int)c->g->dense.in, out = (int)c->g->dense.out;
    const struct product p = {CUBLAS_OP_N, CUBLAS_OP_N, in, c->rows, out, in, out, in};
    multiply(d, &p, c->in[1], c->in[0], c->out[0], c->add, "a dense layer's way back to its input");
}

/* dw[out][in] += dy[N][out]^T x[N][in] */
void product_dense_dw(struct device *d, const struct call *c)
{
    int in = (int)c->g->dense.in, out = (int)c->g->dense.out;
    const struct product p = {CUBLAS_OP_N, CUBLAS_OP_T, in, out, c->rows, in, out, in};
    if (c->out[0])
        multiply(d, &p, c->in[1], c->in[0], c->out[0], true, "a dense layer's way back to its weights");
    kernel_launch(KERNEL_DENSE_BIAS, c, d->stream);
}
