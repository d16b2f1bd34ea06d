/* cuBLAS of the stand-in: products by naive loops, matrices counted by columns. */
#include <stdlib.h>

#include "gpu/api.h"
#include "tests/gpu/standin/standin.h"

struct cublasContext {
    cudaStream_t stream;
    bool tf32;
};

cublasStatus_t cublasCreate_v2(cublasHandle_t *handle)
{
    int rc = standin_enter("cublasCreate_v2", NULL);
    if (rc || !(*handle = calloc(1, sizeof **handle)))
        return rc ? rc : 3;
    standin_opened(1);
    return 0;
}

cublasStatus_t cublasDestroy_v2(cublasHandle_t handle)
{
    free(handle);
    standin_opened(-1);
    return standin_enter("cublasDestroy_v2", NULL);
}

cublasStatus_t cublasGetVersion_v2(cublasHandle_t handle, int *version)
{
    (void)handle;
    *version = 130000;
    return standin_enter("cublasGetVersion_v2", NULL);
}

cublasStatus_t cublasSetStream_v2(cublasHandle_t handle, cudaStream_t stream)
{
    handle->stream = stream;
    return standin_enter("cublasSetStream_v2", stream);
}

cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t handle, void *workspace, size_t bytes)
{
    (void)handle;
    (void)bytes;
    return workspace ? standin_enter("cublasSetWorkspace_v2", NULL) : 7;
}

cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t mode)
{
    handle->tf32 = mode != CUBLAS_PEDANTIC_MATH;
    return standin_enter(mode == CUBLAS_PEDANTIC_MATH ? "cublasSetMathMode" : "cublasSetMathMode TF32", NULL);
}

struct product {
    bool a_turned, b_turned, tf32;
    int m, n, k, lda, ldb, ldc;
    float alpha, beta;
    const float *a, *b;
    float *c;
};

static void multiply(const void *work)
{
    const struct product *p = work;
    for (int j = 0; j < p->n; j++)
        for (int i = 0; i < p->m; i++) {
            double sum = 0;
            float *c = p->c + i + (size_t)j * p->ldc;
            for (int l = 0; l < p->k; l++) {
                float a = p->a[p->a_turned ? l + (size_t)i * p->lda : i + (size_t)l * p->lda],
                      b = p->b[p->b_turned ? j + (size_t)l * p->ldb : l + (size_t)j * p->ldb];
                sum += p->tf32 ? standin_tf32(a) * standin_tf32(b) : (double)a * (double)b;
            }
            *c = (float)((double)p->alpha * sum + (p->beta != 0 ? (double)(p->beta * *c) : 0));
        }
}

cublasStatus_t cublasSgemm_v2(cublasHandle_t handle, cublasOperation_t a_is, cublasOperation_t b_is, int m,
                              int n, int k, const float *alpha, const float *a, int lda, const float *b,
                              int ldb, const float *beta, float *c, int ldc)
{
    const struct product p = {a_is, b_is, handle->tf32, m, n, k, lda, ldb, ldc, *alpha, *beta, a, b, c};
    int rc = standin_enter("cublasSgemm_v2", handle->stream);
    if (m < 0 || n < 0 || k < 0 || lda < (a_is ? k : m) || ldb < (b_is ? n : k) || ldc < m)
        return 7;
    if (!rc)
        standin_queue(handle->stream, multiply, &p, sizeof p);
    return rc;
}
