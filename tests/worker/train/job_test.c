/* Job files, hyperparameters and checks: what is taken, and how each wrong thing is said. */
#include "worker/stream/reader.h"
#include "worker/train/job.h"
#include "worker/train/partition.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *file_of(const char *text)
{
    static char path[] = "/tmp/millrace-job-XXXXXX";
    strcpy(path, "/tmp/millrace-job-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    return path;
}

static int read_text(const char *text, struct training_job *job, struct region *mem, struct fail *why)
{
    const char *path = file_of(text);
    int rc = job_file_read(job, path, mem, why);
    unlink(path);
    return rc;
}

static void whole_file(void **state)
{
    (void)state;
    struct region mem = {0};
    struct training_job job;
    struct job_settings h;
    struct fail why;
    int rc = read_text(
        "model: digits\nnetwork: lenet\n"
        "dataset:\n  - {topic: samples}\n"
        "  - {topic: t, partition: 3, start_offset: 17, end_offset: 90}\n"
        "validation_rate: 0.25\ntest_rate: 0.05\nloss: mse\ncheckpoint_every: 40\n"
        "labels: [zero, \"one, two\"]\n"
        "hyperparameters: {learning_rate: 0.02, epochs: 12, mean: [0.5, 0.25, 0], std: \"1, 2, 3\"}\n"
        "promote: {metric: val_loss, minimize: true, automatic: true, min_improvement: 0.01}\n"
        "stopping: {patience: 3, min_delta: 0.001, max_runtime_s: 60}\n",
        &job, &mem, &why);
    assert_int_equal(rc, 0);
    assert_string_equal(job.model, "digits");
    assert_int_equal(job.action, ACTION_TRAIN);
    assert_int_equal(job.dataset_count, 2);
    assert_int_equal(job.dataset[0].partition, JOB_ALL_PARTITIONS);
    assert_int_equal(job.dataset[0].start_offset, READER_BEGINNING);
    assert_int_equal(job.dataset[0].end_offset, READER_END);
    assert_int_equal(job.dataset[1].partition, 3);
    assert_int_equal(job.dataset[1].end_offset, 90);
    assert_int_equal(job.loss, LOSS_MSE);
    assert_int_equal(job.checkpoint_every, 40);
    assert_int_equal(job.label_count, 2);
    assert_string_equal(job.labels[1], "one, two");
    assert_true(job.promote_minimize && job.promote_automatic);
    assert_int_equal(job.patience, 3);
    assert_int_equal(job.max_runtime_s, 60);
    assert_int_equal(job_settings_parse(&h, job.hyperparameters, job.hyperparameter_count, "here", &why), 0);
    assert_true(h.learning_rate == 0.02 && h.epochs == 12 && h.batch_size == 64);
    assert_int_equal(h.mean_count, 3);
    assert_true(h.mean[1] == 0.25f && h.std[2] == 3.0f);
    region_free(&mem);
}

static void wrong_files(void **state)
{
    (void)state;
    static const struct {
        const char *text, *said;
    } cases[] = {
        {"network: lenet\n", "model"},
        {"model: m\nnetwrk: lenet\n", "network"},
        {"model: m\nvalidation_rate: 2\n", ":2:18"},
        {"model: m\nloss: huber\n", ":2:7"},
        {"model: m\ndataset: {topic: x}\n", ":2:10"},
        {"model: m\ndataset: [{topic: x, start: 1}]\n", "start_offset"},
        {"model: m\ndataset: [{topic: x, start_offset: soon}]\n", ":2:36"},
        {"model: m\ndataset: [{partition: 1}]\n", "topic"},
        {"model: m\ndataset: [{topic: x, end_offset: earliest}]\n", "end_offset"},
        {"model: m\nhyperparameters: {learning_rat: 1}\n", "learning_rate"},
        {"model: m\nhyperparameters:\n  epochs: many\n", ":3:11"},
        {"model: m\nhyperparameters: {mean: 0.5}\n", "std"},
        {"model: m\nhyperparameters: {mean: 0.5, std: 0}\n", "above 0"},
        {"model: m\nhyperparameters: {mean: \"0.5; 1\", std: 1}\n", "comma"},
        {"model: m\nhyperparameters:\n  optimizer: adam\n  momentum: 0.9\n", "optimizer adam has no such"},
        {"model: m\nhyperparameters:\n  optimizer: lion\n", ":3:14"},
        {"model: m\nhyperparameters: {nesterov: true}\n", "momentum above 0"},
        {"model: m\nhyperparameters: {beta1: 0.5}\n", "beta1: optimizer sgd"},
        {"model: m\nhyperparameters: {optimizer: adam, beta2: 1}\n", "below 1"},
        {"model: m\nhyperparameters: {lr_gamma: 0.5}\n", "lr_schedule step, not with constant"},
        {"model: m\nhyperparameters: {lr_schedule: step}\n", "needs lr_step_epochs"},
        {"model: m\nhyperparameters: {lr_schedule: cosine, lr_min: 1}\n", "0..learning_rate 0.01"},
        {"model: m\nhyperparameters: {lr_schedule: one_cycle, lr_warmup_epochs: 1}\n", "by itself"},
        {"model: m\nhyperparameters: {lr_warmup_epochs: 10}\n", "less than epochs, 10"},
        {"model: m\nhyperparameters: {lr_warmup_start: 0.5}\n", "lr_warmup_epochs above 0"},
        {"model: m\nhyperparameters: {class_weights: [1, x]}\n", "class_weights"},
        {"model: m\nhyperparameters: {ignore_label: none}\n", "whole number"},
        {"model: m\nhyperparameters: {ignore_label: 3000000000}\n", "whole number"},
        {"model: m\nhyperparameters:\n  label_smoothing: 2\n", ":3:20"},
        {"model: m\npromote: {metrik: x}\n", "metric"},
        {"model: m\nnetwork: no/such/file.yaml\n", "no/such/file.yaml"},
        {"- model\n", "mapping"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct region mem = {0};
        struct training_job job;
        struct fail why = {0};
        int rc = read_text(cases[i].text, &job, &mem, &why);
        if (rc != -E_CONFIG || !strstr(why.text, cases[i].said))
            fail_msg("case %zu gave %d: %s", i, rc, why.text);
        region_free(&mem);
    }
}

/* Every word is taken to where it belongs. */
static void hyperparameters(void **state)
{
    (void)state;
    static const struct text_pair pairs[] = {
        {"optimizer", "rmsprop"},   {"learning_rate", "0.02"},   {"momentum", "0.9"},
        {"alpha", "0.95"},          {"centered", "true"},        {"gradient_clip", "2"},
        {"weight_decay_l2", "0.1"}, {"lr_schedule", "step"},     {"lr_step_epochs", "1.5"},
        {"lr_gamma", "0.5"},        {"lr_warmup_epochs", "0.5"}, {"lr_warmup_start", "0.25"},
        {"label_smoothing", "0.1"}, {"ignore_label", "-1"},      {"class_weights", "1, 0.5,2"}};
    struct job_settings h;
    struct fail why = {0};
    int count = sizeof pairs / sizeof *pairs;
    if (job_settings_parse(&h, pairs, count, "here", &why))
        fail_msg("%s", why.text);
    assert_string_equal(h.optimizer, "rmsprop");
    assert_true(h.optim.momentum == 0.9 && h.optim.alpha == 0.95 && h.optim.centered && !h.optim.nesterov);
    assert_true(h.optim.clip_norm == 2 && h.optim.weight_decay_l2 == 0.1 && h.optim.epsilon == 1e-8);
    assert_true(h.ignores && h.ignored_label == -1 && h.label_smoothing == 0.1);
    struct schedule s = job_schedule(&h, 10);
    assert_int_equal(s.kind, SCHEDULE_STEP);
    assert_true(s.rate == 0.02 && s.gamma == 0.5 && s.warmup_start == 0.25);
    assert_int_equal(s.warmup_steps, 5);
    assert_int_equal(s.step_size, 15);
    const struct loss_type *loss = loss_find("cross_entropy");
    assert_int_equal(job_loss_check(&h, loss, 0, &why), 0);
    assert_int_equal(job_loss_check(&h, loss, 3, &why), 0);
    assert_int_equal(job_loss_check(&h, loss, 4, &why), -E_JOB);
    assert_non_null(strstr(why.text, "class_weights: 3 numbers, but the network has 4 outputs"));
    assert_int_equal(job_loss_check(&h, loss_find("mse"), 3, &why), -E_JOB);
    assert_non_null(strstr(why.text, "class_weights: loss mse"));
    assert_int_equal(job_settings_parse(&h, pairs, 0, "here", &why), 0);
    assert_string_equal(h.optimizer, "sgd");
    assert_true(!h.ignores && h.schedule.kind == SCHEDULE_CONSTANT);
}

static struct training_job good_job(void)
{
    static struct offset_range range = {"samples", 0, 0, 10};
    return (struct training_job){.job_id = "j",
                                 .action = ACTION_TRAIN,
                                 .model = "m",
                                 .network = "lenet",
                                 .dataset = &range,
                                 .dataset_count = 1,
                                 .validation_rate = 0.1,
                                 .loss = LOSS_CROSS_ENTROPY,
                                 .promote_metric = "val_accuracy",
                                 .artifact_uri = "",
                                 .sha256 = "",
                                 .requested_by = ""};
}

static void expect_bad(struct training_job job, const char *said)
{
    struct job_settings h;
    struct fail why = {0};
    int rc = job_check(&job, true, &h, &why);
    if (rc == 0 || !strstr(why.text, said))
        fail_msg("\"%s\" was expected, %d came: %s", said, rc, why.text);
}

static void checks(void **state)
{
    (void)state;
    struct job_settings h;
    struct fail why;
    struct training_job job = good_job();
    struct offset_range backwards = {"samples", 0, 10, 5};
    struct text_pair unknown = {"learning_rte", "0.1"};
    assert_int_equal(job_check(&job, true, &h, &why), 0);
    assert_string_equal(h.optimizer, "sgd");
    job = good_job();
    job.model = "a/b";
    expect_bad(job, "model");
    job = good_job();
    job.network = "";
    expect_bad(job, "network");
    job = good_job();
    job.base_version = 3;
    expect_bad(job, "base_version");
    job = good_job();
    job.validation_rate = 1;
    expect_bad(job, "validation_rate");
    job = good_job();
    job.validation_rate = 0.0 / 0.0;
    expect_bad(job, "validation_rate");
    job = good_job();
    job.loss = LOSS_UNKNOWN;
    expect_bad(job, "loss");
    job = good_job();
    job.dataset = &backwards;
    expect_bad(job, "dataset[0]");
    job = good_job();
    job.dataset_count = 0;
    expect_bad(job, "dataset");
    job = good_job();
    job.checkpoint_every = -1;
    expect_bad(job, "checkpoint_every");
    job = good_job();
    job.hyperparameters = &unknown;
    job.hyperparameter_count = 1;
    expect_bad(job, "learning_rate");
    struct text_pair weights = {"positive_weights", "1, 2"};
    job.hyperparameters = &weights;
    expect_bad(job, "positive_weights: loss cross_entropy");
    job.loss = LOSS_LOG_LOSS;
    assert_int_equal(job_check(&job, true, &h, &why), 0);
    job = good_job();
    job.promote_automatic = true;
    job.promote_metric = "f1";
    expect_bad(job, "promote.metric");
    job = good_job();
    job.promote_automatic = true;
    job.promote_metric = "val_loss";
    expect_bad(job, "minimize");
    job = good_job();
    job.promote_automatic = true;
    job.validation_rate = 0;
    expect_bad(job, "validation_rate");
    job = good_job();
    job.patience = 2;
    job.validation_rate = 0;
    expect_bad(job, "patience");
}

static void networks(void **state)
{
    (void)state;
    struct graph *g = NULL;
    struct fail why;
    assert_int_equal(job_network(&g, "lenet", &why), 0);
    assert_true(shape_equal(g->input, SHAPE(3, 32, 32)));
    graph_free(&g);
    assert_int_equal(job_network(&g, "lanet", &why), -E_JOB);
    assert_non_null(strstr(why.text, "lenet"));
    assert_null(strstr(why.text, "demo-job"));
    assert_int_equal(job_network(&g, "demo-job", &why), -E_JOB);
}

static void ids_differ(void **state)
{
    (void)state;
    struct region mem = {0};
    const char *a = job_id_make("digits", &mem), *b = job_id_make("digits", &mem);
    assert_int_equal(strncmp(a, "digits-20", 9), 0);
    assert_string_not_equal(a, b);
    region_free(&mem);
}

/* The values of Apache Kafka's own UtilsTest.testMurmur2. */
static void murmur2_as_kafka(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        int32_t hash;
    } cases[] = {
        {"21", -973932308},
        {"foobar", -790332482},
        {"a-little-bit-long-string", -985981536},
        {"a-little-bit-longer-string", -1486304829},
        {"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971},
        {"abc", 479470107},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal((int32_t)murmur2(cases[i].key, strlen(cases[i].key)), cases[i].hash);
    assert_in_range(partition_of("shapes", 3), 2, 2);
    assert_int_equal(partition_of("mnist", 3), 2);
    assert_int_equal(partition_of("lenet", 3), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_file),       cmocka_unit_test(wrong_files), cmocka_unit_test(checks),
        cmocka_unit_test(hyperparameters),  cmocka_unit_test(networks),    cmocka_unit_test(ids_differ),
        cmocka_unit_test(murmur2_as_kafka),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
