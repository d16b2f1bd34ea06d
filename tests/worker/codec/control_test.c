/* The control records as structs: every member of the full vectors by its value, so that two members that
 * were swapped in a table are seen, and the same bytes when they are written again. */
#include "tests/lib/vectors.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h> /* behind our headers: it has a macro called fail */

#define SHA "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define AHS "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"

static struct vector all[VECTORS_MOST];
static int count;
static struct region mem;

static int load(void **state)
{
    (void)state;
    count = vectors_load(all);
    return 0;
}

static int unload(void **state)
{
    (void)state;
    vectors_free(all, count);
    region_free(&mem);
    return 0;
}

static struct span value_of(const char *name)
{
    return vector_find(all, count, name)->value;
}

static void expect_vector(struct bytes *got, const char *name)
{
    struct span want = value_of(name);
    assert_false(got->failed);
    assert_int_equal(got->size, want.size);
    assert_memory_equal(got->data, want.data, want.size);
    bytes_free(got);
}

#define SAME(a, b) assert_true((a) == (b)) /* doubles, exactly; NaN fails */

static void check_ranges(const struct offset_range *r, int n)
{
    assert_int_equal(n, 5);
    for (int p = 0; p < n; p++) {
        assert_string_equal(r[p].topic, "millrace.samples");
        assert_int_equal(r[p].partition, p);
        assert_int_equal(r[p].start_offset, 10 * p);
        assert_int_equal(r[p].end_offset, 1LL << (33 + p));
    }
}

static void check_labels(const char **labels, int n)
{
    assert_int_equal(n, 5);
    assert_string_equal(labels[0], "zero");
    assert_string_equal(labels[2], "");
    assert_string_equal(labels[3], "drei\n\"3\"");
    assert_string_equal(labels[4], "\xe4\xba\x94");
}

static void check_pairs(const struct text_pair *p, int n)
{
    assert_int_equal(n, 4);
    assert_string_equal(p[0].key, "optimizer");
    assert_string_equal(p[0].value, "sgd");
    assert_string_equal(p[2].key, "empty");
    assert_string_equal(p[2].value, "");
    assert_string_equal(p[3].value, "\xc3\xbc\xf0\x9f\x98\x80");
}

static void check_numbers(const struct number_pair *p, int n)
{
    assert_int_equal(n, 5);
    assert_string_equal(p[1].key, "recall.9");
    SAME(p[1].value, -1.5e-300);
    assert_true(isnan(p[3].value));
    SAME(p[4].value, 3.0);
}

static void check_job(const char *name)
{
    struct training_job j;
    struct bytes to = {0};
    assert_int_equal(training_job_decode(&j, value_of(name), &mem, NULL), 0);
    assert_string_equal(j.job_id, "job-1");
    assert_int_equal(j.action, ACTION_IMPORT);
    assert_string_equal(j.model, "digits");
    assert_int_equal(j.base_version, 4);
    assert_string_equal(j.network, "lenet");
    check_ranges(j.dataset, j.dataset_count);
    SAME(j.validation_rate, 0.2);
    SAME(j.test_rate, 0.05);
    assert_string_equal(j.artifact_uri, "file:///store/x.onnx");
    assert_string_equal(j.sha256, SHA);
    check_labels(j.labels, j.label_count);
    assert_int_equal(j.loss, LOSS_LOG_LOSS);
    check_pairs(j.hyperparameters, j.hyperparameter_count);
    assert_int_equal(j.max_runtime_s, 3600);
    assert_int_equal(j.patience, 5);
    SAME(j.min_delta, 0.001);
    assert_int_equal(j.checkpoint_every, 100);
    assert_string_equal(j.promote_metric, "val_loss");
    assert_true(j.promote_minimize && j.promote_automatic);
    SAME(j.promote_min_improvement, 0.01);
    assert_string_equal(j.requested_by, "ci");
    assert_int_equal(j.created_at, 1700000000000);
    training_job_encode(&to, &j);
    expect_vector(&to, "TrainingJob.full");
}

static void test_training_job(void **state)
{
    struct training_job j;
    struct bytes to = {0};
    (void)state;
    check_job("TrainingJob.full");
    check_job("TrainingJob.blocks");
    memset(&j, 0xa5, sizeof j);
    assert_int_equal(training_job_decode(&j, value_of("TrainingJob.defaults"), &mem, NULL), 0);
    assert_int_equal(j.action, ACTION_TRAIN);
    assert_int_equal(j.loss, LOSS_CROSS_ENTROPY);
    assert_int_equal(j.base_version, 0);
    assert_int_equal(j.dataset_count + j.label_count + j.hyperparameter_count, 0);
    assert_string_equal(j.promote_metric, "val_accuracy");
    assert_false(j.promote_minimize || j.promote_automatic);
    assert_string_equal(j.requested_by, "");
    SAME(j.validation_rate, 0.1);
    training_job_encode(&to, &j);
    expect_vector(&to, "TrainingJob.defaults");
}

static void check_metric(const char *name)
{
    struct loss_metric m;
    struct bytes to = {0};
    assert_int_equal(loss_metric_decode(&m, value_of(name), &mem, NULL), 0);
    assert_string_equal(m.job_id, "job-1");
    assert_string_equal(m.model, "digits");
    assert_int_equal(m.sequence, 42);
    assert_int_equal(m.state, JOB_TRAINING);
    assert_int_equal(m.epoch, 3);
    assert_int_equal(m.step, 900);
    assert_int_equal(m.total_steps, 3000);
    SAME(m.loss, 0.125);
    SAME(m.accuracy, 0.9);
    SAME(m.val_loss, 0.25);
    SAME(m.val_accuracy, 0.8);
    SAME(m.learning_rate, 0.02);
    SAME(m.samples_per_second, 51234.5);
    check_numbers(m.metrics, m.metric_count);
    assert_string_equal(m.failure_reason, "why");
    assert_string_equal(m.worker, "slot-a");
    assert_int_equal(m.at, 1700000000001);
    loss_metric_encode(&to, &m);
    expect_vector(&to, "LossMetric.full");
}

static void test_loss_metric(void **state)
{
    struct loss_metric m;
    struct bytes to = {0};
    (void)state;
    check_metric("LossMetric.full");
    check_metric("LossMetric.blocks");
    assert_int_equal(loss_metric_decode(&m, value_of("LossMetric.defaults"), &mem, NULL), 0);
    assert_true(isnan(m.loss) && isnan(m.accuracy) && isnan(m.val_loss) && isnan(m.val_accuracy));
    assert_true(isnan(m.learning_rate) && isnan(m.samples_per_second));
    assert_string_equal(m.failure_reason, "");
    loss_metric_encode(&to, &m);
    expect_vector(&to, "LossMetric.defaults");
}

static void check_checkpoint(const char *name)
{
    struct job_checkpoint c;
    struct bytes to = {0};
    assert_int_equal(job_checkpoint_decode(&c, value_of(name), &mem, NULL), 0);
    assert_string_equal(c.job_id, "job-1");
    assert_string_equal(c.model, "digits");
    assert_int_equal(c.state, JOB_STOPPED);
    assert_int_equal(c.epoch, 3);
    assert_int_equal(c.step, 900);
    assert_int_equal(c.total_steps, 3000);
    assert_int_equal(c.sequence, 42);
    assert_string_equal(c.artifact_uri, "file:///ckpt");
    assert_string_equal(c.sha256, SHA);
    assert_int_equal(c.version, 9);
    assert_string_equal(c.failure_reason, "why");
    assert_string_equal(c.worker, "slot-a");
    assert_int_equal(c.at, 1700000000003);
    job_checkpoint_encode(&to, &c);
    expect_vector(&to, "JobCheckpoint.full");
}

static void test_job_checkpoint(void **state)
{
    struct job_checkpoint c;
    struct bytes to = {0};
    (void)state;
    check_checkpoint("JobCheckpoint.full");
    check_checkpoint("JobCheckpoint.blocks");
    assert_int_equal(job_checkpoint_decode(&c, value_of("JobCheckpoint.defaults"), &mem, NULL), 0);
    assert_int_equal(c.state, JOB_STARTING);
    assert_string_equal(c.artifact_uri, "");
    assert_string_equal(c.failure_reason, "");
    job_checkpoint_encode(&to, &c);
    expect_vector(&to, "JobCheckpoint.defaults");
}

static void check_event(const char *name)
{
    struct model_version_event e;
    struct bytes to = {0};
    assert_int_equal(model_version_event_decode(&e, value_of(name), &mem, NULL), 0);
    assert_string_equal(e.event_id, "e-1");
    assert_int_equal(e.event, EVENT_ROLLED_BACK);
    assert_string_equal(e.model, "digits");
    assert_int_equal(e.version, 9);
    assert_string_equal(e.alias, "champion");
    SAME(e.traffic, 0.5);
    assert_int_equal(e.previous_version, 8);
    assert_string_equal(e.artifact_uri, "file:///store/x.onnx");
    assert_string_equal(e.format, "onnx");
    assert_string_equal(e.sha256, SHA);
    assert_int_equal(e.size_bytes, 250000);
    assert_true(e.has_input);
    assert_int_equal(e.input_rank, 3);
    assert_int_equal(e.input_shape[0], 3);
    assert_int_equal(e.input_shape[2], 32);
    assert_int_equal(e.mean_count, 3);
    assert_int_equal(e.std_count, 3);
    SAME(e.mean[2], 0.125f);
    SAME(e.std[2], 2.0f);
    check_labels(e.labels, e.label_count);
    assert_string_equal(e.job_id, "job-1");
    assert_int_equal(e.base_version, 3);
    check_ranges(e.dataset, e.dataset_count);
    assert_string_equal(e.dataset_sha256, AHS);
    check_pairs(e.hyperparameters, e.hyperparameter_count);
    check_numbers(e.metrics, e.metric_count);
    assert_string_equal(e.reason, "better");
    assert_string_equal(e.created_by, "ops");
    assert_int_equal(e.tag_count, 3);
    assert_string_equal(e.tags[2].key, "c");
    assert_string_equal(e.tags[2].value, "d");
    assert_int_equal(e.at, 1700000000002);
    model_version_event_encode(&to, &e);
    expect_vector(&to, "ModelVersionEvent.full");
}

static void test_model_version_event(void **state)
{
    struct model_version_event e;
    struct bytes to = {0};
    (void)state;
    check_event("ModelVersionEvent.full");
    check_event("ModelVersionEvent.blocks");
    assert_int_equal(model_version_event_decode(&e, value_of("ModelVersionEvent.defaults"), &mem, NULL), 0);
    assert_string_equal(e.alias, "");
    assert_string_equal(e.job_id, "");
    assert_string_equal(e.format, "onnx");
    assert_int_equal(e.size_bytes, -1);
    assert_int_equal(e.previous_version + e.base_version, 0);
    assert_false(e.has_input);
    assert_int_equal(e.input_rank + e.mean_count + e.std_count, 0);
    SAME(e.traffic, 1.0);
    model_version_event_encode(&to, &e);
    expect_vector(&to, "ModelVersionEvent.defaults");
}

/* A zeroed struct has NULL strings; they are written as empty ones. */
static void test_zeroed_struct_is_encoded(void **state)
{
    struct job_checkpoint zero = {0}, back;
    struct fail why;
    struct bytes to = {0};
    (void)state;
    job_checkpoint_encode(&to, &zero);
    assert_int_equal(to.size, 13);
    assert_int_equal(job_checkpoint_decode(&back, (struct span){(char *)to.data, to.size}, &mem, &why),
                     -E_BAD_REQUEST); /* job_id is empty */
    bytes_free(&to);
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(job_state_name(JOB_STOPPED), "STOPPED");
    assert_string_equal(job_state_name((enum job_state)99), "UNKNOWN");
    assert_string_equal(job_action_name(ACTION_IMPORT), "IMPORT");
    assert_string_equal(version_event_name(EVENT_RETIRED), "RETIRED");
    assert_true(job_state_terminal(JOB_FAILED) && job_state_terminal(JOB_COMPLETED));
    assert_true(job_state_terminal(JOB_STOPPED) && !job_state_terminal(JOB_TRAINING));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_training_job),
        cmocka_unit_test(test_loss_metric),
        cmocka_unit_test(test_job_checkpoint),
        cmocka_unit_test(test_model_version_event),
        cmocka_unit_test(test_zeroed_struct_is_encoded),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
