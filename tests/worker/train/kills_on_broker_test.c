/* The trainer killed at random moments of a real job on a real broker, many times over: the weights of an uninterrupted run, each metric
 * once, one version. `MILLRACE_KILLS=100` kills more often, `MILLRACE_SEED` draws other moments; both are printed. */
#include "engine/rng.h"
#include "tests/lib/broker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LIMIT_MS = 120000, ROWS = 1500, MOST_LATE_MS = 300 };

/* Batch norm's running statistics, dropout, Adam's moments, augmentation, the best epoch: all that a checkpoint must bring back. */
static const char normed[] = "network: |\n"
                             "  network: normed\n"
                             "  input: [3, 32, 32]\n"
                             "  labels: 10\n"
                             "  layers:\n"
                             "    - conv: {filters: 8, kernel: 3, stride: 2}\n"
                             "    - batchnorm: {activation: relu}\n"
                             "    - conv: {filters: 16, kernel: 3, stride: 2}\n"
                             "    - batchnorm: {activation: relu}\n"
                             "    - dropout: {rate: 0.2}\n"
                             "    - dense: {units: 10}\n";

static const struct kind {
    const char *name, *network, *hyperparameters;
    int kills; /* of ten */
} kinds[] = {
    {"lenet", "network: lenet\n", "learning_rate: 0.02, momentum: 0.9, batch_size: 32, seed: 1", 5},
    {"normed", normed,
     "optimizer: adam, learning_rate: 0.002, batch_size: 32, seed: 3, restore_best: true, "
     "augment_flip: "
     "horizontal, augment_crop_padding: 2",
     5},
};

static int setting(const char *name, int fallback)
{
    const char *text = getenv(name);
    return text && *text ? atoi(text) : fallback;
}

static void nap(uint32_t ms)
{
    struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000};
    nanosleep(&t, NULL);
}

static void prepare(struct stage *s, struct result *r, const char **data, const char **ranges)
{
    char rows[16];
    stage_open(s, broker_shared());
    stage_run(s, r, LIMIT_MS, "topics", "create", "--partitions", "1",
              NULL); /* the order of rows is the file's */
    result_expect(r, 0);
    *data = test_path("digits.npz");
    snprintf(rows, sizeof rows, "%d", ROWS);
    result_runl(r, LIMIT_MS, test_millrace(), "make-data", "digits", "--output", *data, "--rows", rows,
                "--seed", "1", "--shape", "3x32x32", NULL);
    result_expect(r, 0);
    stage_run(s, r, LIMIT_MS, "send", *data, "--samples", "--rows-per-record", "20", NULL);
    result_expect(r, 0);
    *ranges = test_write(test_path("ranges.json"), r->out);
}

/* Long enough for so many lives: one makes up to a dozen checkpoints. */
static const char *job_write(const struct kind *k, int kills)
{
    char text[1200];
    snprintf(text, sizeof text,
             "model: %s\n%svalidation_rate: 0.1\ncheckpoint_every: 3\nhyperparameters: {%s, epochs: %d, "
             "metrics_every: 1}\n"
             "promote: {metric: val_accuracy, automatic: true}\n",
             k->name, k->network, k->hyperparameters, 4 + 2 * kills);
    return test_write(test_path(k->name), text);
}

/* Each life makes some checkpoints of its own (or the job would never end), then is killed anywhere in what follows. */
static void live_and_die(struct stage *s, const char *config, const char *job_id, struct rng *random)
{
    struct process worker = {0};
    char text[300];
    int most = 1 + (int)rng_below(random, 3);
    uint32_t late_ms = rng_below(random, MOST_LATE_MS);
    snprintf(text, sizeof text, "checkpoint job=%s", job_id);
    stage_worker(s, &worker, config);
    int before = process_count_text(&worker, text); /* a log of its own: 0 */
    assert_true(process_wait_text(&worker, text, before + most, LIMIT_MS));
    nap(late_ms);
    process_kill(&worker);
}

static void sha_of_local(struct stage *s, struct result *r, const char *data, const char *job, char out[65])
{
    stage_run(s, r, LIMIT_MS, "train", "--local", "--data", data, "--output", test_path("local.onnx"),
              "--json", "-X", "engine.threads=1", "-X", "engine.backend=cpu", job, NULL);
    result_expect(r, 0);
    const char *at = strstr(r->out, "\"sha256\":\"");
    assert_non_null(at);
    snprintf(out, 65, "%.64s", at + strlen("\"sha256\":\""));
}

static void kills_at_random(void **state)
{
    const struct kind *k = *state;
    struct stage s;
    struct result r = {0};
    struct process worker = {0};
    char job_id[200], local[65];
    int kills = k->kills * setting("MILLRACE_KILLS", 10) / 10, seed = setting("MILLRACE_SEED", 1);
    const char *data, *ranges, *job = job_write(k, kills);
    struct rng random = rng_seed((uint64_t)seed);
    printf("# %s: %d kills, seed %d\n", k->name, kills, seed);
    prepare(&s, &r, &data, &ranges);
    sha_of_local(&s, &r, data, job, local);
    const char *config =
        stage_config(&s, &(struct stage_settings){.roles = "[train]",
                                                  .rest = "engine: {backend: cpu, threads: 1}\n"
                                                          "log: {format: text, level: debug}\n"});
    stage_run(&s, &r, LIMIT_MS, "train", job, "--dataset", ranges, "--detach", NULL);
    result_expect(&r, 0);
    snprintf(job_id, sizeof job_id, "%.*s", (int)strcspn(r.out, "\n"), r.out);
    for (int i = 0; i < kills; i++)
        live_and_die(&s, config, job_id, &random);
    stage_worker(&s, &worker, config);
    assert_true(process_wait_text(&worker, "version made", 1, LIMIT_MS));
    stage_checker(&s, &r, 60, "metrics", "--job", job_id, "--state", "COMPLETED", NULL);
    result_expect(&r, 0);
    stage_checker(&s, &r, 60, "models", "--model", k->name, "--versions", "1", "--champion", "1", NULL);
    result_expect(&r, 0);
    stage_run(&s, &r, LIMIT_MS, "models", "--json", NULL);
    result_expect(&r, 0);
    if (!strstr(r.out, local))
        fail_msg("the version is not the uninterrupted run's, SHA-256 %s: %s", local, r.out);
    process_signal(&worker, SIGTERM);
    assert_int_equal(process_wait(&worker, 15000), 0);
    result_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(kills_at_random, (void *)&kinds[0]),
        cmocka_unit_test_prestate(kills_at_random, (void *)&kinds[1]),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
