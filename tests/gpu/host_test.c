/* The host side of backend cuda over the stand-in: whole networks against ref in whatever order streams run, order of
 * calls, graphs, every error once, memory and workspace that run out, and what opening refuses. */
#include "engine/loss.h"
#include "engine/net.h"
#include "engine/optim.h"
#include "engine/rng.h"
#include "worker/service/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <math.h>

#include "gpu/types.h"
#include "tests/gpu/rig.h"

/* LeNet's parts, small, with branches, groups, batch norm, and a padding that cuDNN does not have. */
static const char network[] = "input: [3, 12, 10]\nlayers:\n"
                              "  - conv: {filters: 6, kernel: 3, padding: 1, activation: relu}\n"
                              "  - maxpool: {size: 2}\n"
                              "  - {conv: {filters: 8, kernel: 3, groups: 2}, name: wide}\n"
                              "  - batchnorm: {activation: relu}\n"
                              "  - dropout: {rate: 0.4}\n"
                              "  - conv: {filters: 8, kernel: 1}\n"
                              "  - {add: , from: [wide, conv3]}\n"
                              "  - avgpool: {size: 2}\n"
                              "  - dense: {units: 14, activation: sigmoid}\n"
                              "  - dense: {units: 10}\n";

enum { ROWS = 9, OUTPUTS = 10, STEPS = 3 };

struct rig {
    struct graph *graph;
    struct backend *be;
    struct net *net;
    struct optimizer *opt;
};

static void check(int rc, const struct fail *why)
{
    if (rc)
        fail_msg("%s", why->text);
}

static void open_net(struct rig *rig, enum net_mode mode)
{
    struct fail why;
    struct net_options o = {.mode = mode, .max_rows = ROWS, .seed = 11};
    struct optim_settings s = {.momentum = 0.9, .clip_norm = 1};
    check(network_parse(&rig->graph, "rig.yaml", network, sizeof network - 1, &why), &why);
    check(net_open(&rig->net, rig->be, rig->graph, &o, &why), &why);
    if (mode == NET_TRAIN)
        check(optim_open(&rig->opt, rig->net, "sgd", &s, &why), &why);
}

static void open_rig(struct rig *rig, const char *backend, enum net_mode mode)
{
    struct fail why;
    *rig = (struct rig){0};
    check(backend_open(&rig->be, backend, 1, &why), &why);
    open_net(rig, mode);
}

static void close_rig(struct rig *rig)
{
    optim_close(&rig->opt);
    net_close(&rig->net);
    backend_close(&rig->be);
    graph_free(&rig->graph);
}

static void put_rows(struct net *net, int step)
{
    struct rng r = rng_seed(1000 + (uint64_t)step);
    for (int64_t i = 0; i < ROWS * net_input_size(net); i++)
        net_input(net)[i] = (float)rng_normal(&r);
}

static void near(const char *what, const float *a, const float *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)a[i] - (double)b[i]) <= 2e-5 * (1 + fabs((double)b[i]))))
            fail_msg("%s: %lld: %.9g, ref %.9g", what, (long long)i, (double)a[i], (double)b[i]);
}

/* ---- networks ---- */

/* STEPS forwards of other rows each, the outputs one behind another. */
static void infer(struct rig *rig, float *outputs)
{
    struct fail why;
    for (int i = 0; i < STEPS; i++) {
        put_rows(rig->net, i);
        check(net_forward(rig->net, ROWS, &why), &why);
        memcpy(outputs + i * ROWS * OUTPUTS, net_output(rig->net), ROWS * OUTPUTS * sizeof *outputs);
    }
}

/* STEPS steps of two micro-batches; the losses and then all parameters. Returns how many numbers. */
static int64_t train(struct rig *rig, float *results)
{
    int32_t labels[ROWS];
    int64_t n = 0;
    struct fail why;
    for (int step = 0; step < STEPS; step++) {
        struct loss_sum sum = {0};
        put_rows(rig->net, step);
        for (int i = 0; i < ROWS; i++)
            labels[i] = (i * 7 + step) % OUTPUTS;
        const struct target t = {.labels = labels};
        for (int part = 0; part < 2; part++)
            check(net_accumulate(rig->net, loss_find("cross_entropy"), ROWS - part, &t, step, part * ROWS,
                                 &sum, &why),
                  &why);
        check(net_step(rig->net, rig->opt, 0.1, sum.weight, &why), &why);
        results[n++] = (float)(sum.loss / sum.weight);
    }
    for (int i = 0; i < net_param_count(rig->net); i++) {
        check(net_param_get(rig->net, i, results + n, &why), &why);
        n += shape_size(net_param_shape(rig->net, i));
    }
    return n;
}

enum { RESULTS = 16384 };

static void networks_agree(void **state)
{
    static float outputs[2][STEPS * ROWS * OUTPUTS], results[2][RESULTS];
    int64_t n = 0;
    (void)state;
    for (int oldest = 0; oldest < 2; oldest++)
        for (int ref = 0; ref < 2; ref++) {
            struct rig rig = {0};
            if (!ref && !rig_open(&rig.be))
                skip();
            if (!rig_has_device())
                standin_oldest_first(oldest);
            if (!ref)
                open_net(&rig, NET_INFER);
            else
                open_rig(&rig, "ref", NET_INFER);
            infer(&rig, outputs[ref]);
            close_rig(&rig);
            if (!ref && rig_open(&rig.be))
                open_net(&rig, NET_TRAIN);
            else
                open_rig(&rig, "ref", NET_TRAIN);
            if (!rig_has_device())
                standin_oldest_first(oldest);
            n = train(&rig, results[ref]);
            close_rig(&rig);
            if (ref) {
                near("outputs", outputs[0], outputs[1], STEPS * ROWS * OUTPUTS);
                near("losses and parameters", results[0], results[1], n);
            }
        }
    rig_check_closed();
}

/* The same seed, the same bits. */
static void bits_repeat(void **state)
{
    static float results[2][RESULTS];
    int64_t n = 0;
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct rig rig = {0};
        if (!rig_open(&rig.be))
            skip();
        open_net(&rig, NET_TRAIN);
        n = train(&rig, results[i]);
        close_rig(&rig);
    }
    assert_true(n > STEPS);
    assert_memory_equal(results[0], results[1], (size_t)n * sizeof **results);
}

/* ---- order ---- */

/* The first of these calls, behind `from`. */
static const char *call_behind(const char *from, const char *call)
{
    const char *at = strstr(from, call);
    if (!at)
        fail_msg("no \"%s\" in:\n%s", call, from);
    return at;
}

/* Streams are numbered as device.c makes them: 1 computes, 2 uploads, 3 downloads. */
static void a_forward_waits_once(void **state)
{
    struct rig rig;
    struct fail why;
    (void)state;
    rig_use_standin();
    open_rig(&rig, "cuda", NET_INFER);
    standin_reset();
    check(net_forward(rig.net, ROWS, &why), &why);
    char *calls = standin_calls();
    const char *at = call_behind(calls, "cudaMemcpyAsync 2");
    at = call_behind(at, "cudaEventRecord 2");
    at = call_behind(at, "cudaStreamWaitEvent 1");
    at = call_behind(at, "cudnnConvolutionBiasActivationForward 1");
    at = call_behind(at, "cublasSgemm_v2 1");
    at = call_behind(at, "cudaEventRecord 1");
    at = call_behind(at, "cudaStreamWaitEvent 3");
    at = call_behind(at, "cudaMemcpyAsync 3");
    call_behind(at, "cudaStreamSynchronize 3");
    assert_int_equal(standin_count("cudaStreamSynchronize"), 3);
    assert_int_equal(standin_count("cudaMalloc"), 0);
    for (int i = 0; i < ROWS * OUTPUTS; i++) /* nothing was computed */
        assert_true(net_output(rig.net)[i] == 0);
    free(calls);
    close_rig(&rig);
    rig_check_closed();
}

static void a_forward_becomes_a_graph(void **state)
{
    struct rig rig;
    struct fail why;
    (void)state;
    rig_use_standin();
    open_rig(&rig, "cuda", NET_INFER);
    standin_reset();
    for (int i = 0; i < 5; i++)
        check(net_forward(rig.net, ROWS, &why), &why);
    assert_int_equal(standin_count("cudaStreamBeginCapture"), 1);
    assert_int_equal(standin_count("cudaGraphLaunch"), 4);
    assert_int_equal(standin_count("cublasSgemm_v2"), 4); /* two layers, run once and captured once */
    check(net_forward(rig.net, ROWS - 1, &why), &why);    /* other rows: none yet */
    assert_int_equal(standin_count("cudaGraphLaunch"), 4);
    net_close(&rig.net);
    assert_int_equal(standin_count("cudaGraphExecDestroy"), 1);
    close_rig(&rig);
    rig_check_closed();
}

/* ---- errors ---- */

struct refused {
    const char *function;
    int error;
    enum fail_code code;
    int nth; /* 0: the first */
};

static const struct refused while_running[] = {
    {"cudaMemcpyAsync", 700, E_RESTART, 0},
    {"cudaEventRecord", 700, E_RESTART, 0},
    {"cudaStreamWaitEvent", 700, E_RESTART, 0},
    {"cudaStreamSynchronize", 700, E_RESTART, 0},
    {"cudaGetLastError", 719, E_RESTART, 0},
    {"cudaStreamBeginCapture", 901, E_RESTART, 0},
    {"cudaStreamEndCapture", 901, E_RESTART, 0},
    {"cudaGraphInstantiate", 2, E_RESTART, 0},
    {"cudaGraphLaunch", 700, E_RESTART, 0},
    {"cublasSgemm_v2", 13, E_RESTART, 0},
    {"cublasSgemm_v2", 13, E_RESTART, 4}, /* while a graph is made */
    {"cudnnConvolutionBiasActivationForward", 5000, E_RESTART, 0},
    {"cudnnConvolutionBiasActivationForward", CUDNN_STATUS_NOT_SUPPORTED, E_UNSUPPORTED, 0},
    {"cudnnGetConvolutionForwardWorkspaceSize", CUDNN_STATUS_NOT_SUPPORTED, E_UNSUPPORTED, 0},
};

/* Each once: the first forward that meets it fails, says what was done, and after a device's error all later ones fail. */
static void every_error_is_reported(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof while_running / sizeof *while_running; i++) {
        const struct refused *r = &while_running[i];
        struct rig rig;
        struct fail why;
        int rc = 0;
        rig_use_standin();
        open_rig(&rig, "cuda", NET_INFER);
        standin_refuse(r->function, r->nth ? r->nth : 1, r->error);
        for (int k = 0; k < 3 && !rc; k++)
            rc = net_forward(rig.net, ROWS, &why);
        if (rc != -(int)r->code)
            fail_msg("%s: returned %d (%s), expected -%d", r->function, rc, rc ? why.text : "nothing",
                     r->code);
        assert_non_null(strstr(why.text, "cuda: "));
        if (r->code == E_RESTART) {
            assert_int_equal(fail_exit(why.code), 75);
            assert_int_equal(net_forward(rig.net, ROWS, &why), -E_RESTART);
        } else
            check(net_forward(rig.net, ROWS, &why), &why);
        close_rig(&rig);
        rig_check_closed();
    }
}

static const struct refused while_opening[] = {
    {"cudaGetDeviceCount", cudaErrorNoDevice, E_UNSUPPORTED, 0},
    {"cudaGetDeviceCount", cudaErrorInsufficientDriver, E_UNSUPPORTED, 0},
    {"cudaSetDevice", 46, E_UNSUPPORTED, 0},
    {"cudaDeviceGetPCIBusId", 1, E_UNSUPPORTED, 0},
    {"cudaDeviceGetAttribute", 1, E_UNSUPPORTED, 0},
    {"cudaStreamCreateWithFlags", 1, E_UNSUPPORTED, 0},
    {"cudaEventCreateWithFlags", 1, E_UNSUPPORTED, 0},
    {"cudaMalloc", cudaErrorMemoryAllocation, E_MEMORY, 0},
    {"cublasCreate_v2", 1, E_UNSUPPORTED, 0},
    {"cublasSetStream_v2", 1, E_UNSUPPORTED, 0},
    {"cublasSetWorkspace_v2", 1, E_UNSUPPORTED, 0},
    {"cublasSetMathMode", 1, E_UNSUPPORTED, 0},
    {"cudnnCreate", 1001, E_UNSUPPORTED, 0},
    {"cudnnSetStream", 1001, E_UNSUPPORTED, 0},
    {"cudnnCreateTensorDescriptor", 1001, E_UNSUPPORTED, 0},
    {"cudnnCreateActivationDescriptor", 1001, E_UNSUPPORTED, 0},
};

/* cuda is refused, with nothing left open; auto is the cpu, and says why. */
static void what_does_not_open_is_said(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof while_opening / sizeof *while_opening; i++) {
        const struct refused *r = &while_opening[i];
        struct backend *be = NULL;
        struct fail why;
        rig_use_standin();
        standin_refuse(r->function, 1, r->error);
        int rc = backend_open(&be, "cuda", 1, &why);
        if (rc != -(int)r->code)
            fail_msg("%s: returned %d, expected -%d", r->function, rc, r->code);
        rig_check_closed();
        rig_use_standin();
        standin_refuse(r->function, 1, r->error);
        check(backend_open(&be, "auto", 1, &why), &why);
        assert_string_equal(backend_name(be), "cpu");
        assert_non_null(strstr(backend_describe(be), "backend cuda: "));
        backend_close(&be);
    }
}

static void says(const char *part)
{
    struct backend *be = NULL;
    struct fail why;
    assert_int_equal(backend_open(&be, "cuda", 1, &why), -E_UNSUPPORTED);
    assert_int_equal(fail_exit(why.code), 3);
    if (!strstr(why.text, part))
        fail_msg("\"%s\" does not say \"%s\"", why.text, part);
}

static void libraries_are_checked(void **state)
{
    struct backend *be = NULL;
    struct fail why;
    (void)state;
    rig_use_standin();
    setenv("MILLRACE_STANDIN_CUDNN", "8907", 1);
    says("version 8907: expected 9");
    unsetenv("MILLRACE_STANDIN_CUDNN");
    setenv("CUDNN_HOME", "/nowhere", 1);
    says("cuDNN 9 is missing");
    setenv("CUBLAS_HOME", "/nowhere", 1);
    says("cuBLAS is missing");
    setenv("MILLRACE_PLUGINS", "/nowhere", 1);
    says("this build has none");
    rig_use_standin();
    check(backend_open(&be, "auto", 1, &why), &why);
    assert_string_equal(backend_name(be), "cuda");
    backend_close(&be);
    rig_check_closed();
}

/* ---- memory ---- */

static void memory_that_runs_out_passes(void **state)
{
    struct net_options large = {.mode = NET_INFER, .max_rows = 4096, .seed = 1};
    struct backend *be = NULL;
    struct rig rig = {0};
    struct net *net = NULL;
    struct fail why;
    (void)state;
    rig_use_standin();
    standin_memory(CUDA_WORKSPACE_MB * (size_t)1048576 + 2000000);
    check(backend_open(&be, "cuda", 1, &why), &why);
    rig.be = be;
    open_net(&rig, NET_INFER);
    assert_int_equal(net_open(&net, be, rig.graph, &large, &why), -E_MEMORY);
    assert_non_null(strstr(why.text, "lower the batch size"));
    assert_null(net);
    check(net_forward(rig.net, ROWS, &why), &why); /* nobody else suffers */
    close_rig(&rig);
    rig_check_closed();
}

static void a_workspace_is_bounded(void **state)
{
    struct backend_options o = {.threads = 1, .cuda_workspace_mb = 1};
    struct net_options large = {.mode = NET_INFER, .max_rows = 4096, .seed = 1};
    struct rig rig = {0};
    struct fail why;
    (void)state;
    rig_use_standin();
    check(backend_open_with(&rig.be, "cuda", &o, &why), &why);
    check(network_parse(&rig.graph, "rig.yaml", network, sizeof network - 1, &why), &why);
    check(net_open(&rig.net, rig.be, rig.graph, &large, &why), &why);
    assert_int_equal(net_forward(rig.net, 4096, &why), -E_UNSUPPORTED);
    assert_non_null(strstr(why.text, "engine.cuda_workspace_mb"));
    check(net_forward(rig.net, 16, &why), &why);
    close_rig(&rig);
    o.cuda_workspace_mb = 0;
    assert_int_equal(backend_open_with(&rig.be, "cuda", &o, &why), -E_CONFIG);
}

static void tf32_is_a_setting(void **state)
{
    (void)state;
    for (int on = 0; on < 2; on++) {
        struct backend_options o = {.threads = 1, .cuda_workspace_mb = 1, .cuda_tf32 = on};
        struct rig rig = {0};
        struct fail why;
        rig_use_standin();
        check(backend_open_with(&rig.be, "cuda", &o, &why), &why);
        open_net(&rig, NET_INFER);
        check(net_forward(rig.net, ROWS, &why), &why);
        assert_int_equal(standin_count("cublasSetMathMode TF32"), on);
        assert_int_equal(standin_count("cublasSetMathMode"), !on);
        assert_int_equal(standin_count("cudnnSetConvolutionMathType TF32") > 0, on);
        assert_int_equal(standin_count("cudnnSetConvolutionMathType") > 0, !on);
        assert_non_null(strstr(backend_describe(rig.be), on ? "TF32" : "float32"));
        close_rig(&rig);
    }
}

/* ---- use ---- */

/* By bus id, from NVML, on the page of metrics. */
static void use_is_shown(void **state)
{
    char path[PATH_MAX], *page = NULL;
    size_t size = 0;
    struct metrics *m = NULL;
    struct backend *be = NULL;
    struct fail why;
    (void)state;
    rig_use_standin();
    rig_folder(path, sizeof path - 32);
    strcat(path, "/libnvidia-ml.so.1");
    void *nvml = dlopen(path, RTLD_NOW); /* found by its name from now on */
    assert_non_null(nvml);
    check(metrics_open(&m, &why), &why);
    check(backend_open(&be, "cuda", 1, &why), &why);
    metrics_engine(m, be);
    FILE *out = open_memstream(&page, &size);
    metrics_print(m, out);
    metrics_engine(m, NULL);
    backend_close(&be);
    assert_int_equal(standin_count("nvmlShutdown"), 1);
    metrics_print(m, out);
    fclose(out);
    const char *line = strstr(page, "\nmillrace_device_busy_ratio 0.37\n");
    assert_non_null(line);
    assert_null(strstr(line + 1, "\nmillrace_device_busy_ratio 0.37\n"));
    assert_non_null(strstr(page, "\nmillrace_device_memory_bytes{kind=\"used\"} 1000000000\n"));
    assert_non_null(strstr(page, "\nmillrace_device_memory_bytes{kind=\"total\"} 80000000000\n"));
    free(page);
    metrics_close(&m);
    dlclose(nvml);
    rig_check_closed();
}

int main(void)
{
    const struct CMUnitTest networks[] = {
        cmocka_unit_test(networks_agree),
        cmocka_unit_test(bits_repeat),
    };
    const struct CMUnitTest host[] = {
        cmocka_unit_test(a_forward_waits_once),
        cmocka_unit_test(a_forward_becomes_a_graph),
        cmocka_unit_test(every_error_is_reported),
        cmocka_unit_test(what_does_not_open_is_said),
        cmocka_unit_test(libraries_are_checked),
        cmocka_unit_test(memory_that_runs_out_passes),
        cmocka_unit_test(use_is_shown),
        cmocka_unit_test(a_workspace_is_bounded),
        cmocka_unit_test(tf32_is_a_setting),
    };
    int failed = cmocka_run_group_tests_name("gpu networks", networks, NULL, NULL);
    return rig_has_device() ? failed
                            : failed + cmocka_run_group_tests_name("gpu host side", host, NULL, NULL);
}
