/* A job changes hands in the middle, on a real broker: a second trainer joins the group, then the owner is asked to stop.
 * The job makes no checkpoint of its own, so what the next owner goes on from was written at that moment; nothing that
 * was trained is lost, and the weights are those of one go. */
#include "tests/worker/train/place.h"

enum { LONG_EPOCHS = 80, PATIENCE_MS = 240000 };

static const char *config_of(struct place *p, const char *slot)
{
    return stage_config(&p->s, &(struct stage_settings){.slot = slot,
                                                        .roles = "[train]",
                                                        .worker = "  membership: dynamic\n",
                                                        .kafka = "  heartbeat.interval.ms: 300\n",
                                                        .rest = "engine: {backend: cpu, threads: 1}\n"
                                                                "log: {format: text, level: debug}\n"
                                                                "training: {metrics_every_ms: 0}\n"});
}

static bool said(struct process *w, const char *text)
{
    return process_wait_text(w, text, 1, PATIENCE_MS);
}

static void test_job_changes_hands(void **state)
{
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    print_message("skipped: training under this sanitizer takes longer than the test waits\n");
    skip();
#endif
    struct place p;
    struct process b = {0}, c = {0};
    char text[500], job_id[200], made[65], local[65];
    place_open(&p);
    snprintf(text, sizeof text,
             "model: digits\nnetwork: lenet\nvalidation_rate: 0.1\ncheckpoint_every: 2000000000\n"
             "hyperparameters: {learning_rate: 0.02, momentum: 0.9, batch_size: 32, epochs: %d, seed: 1}\n",
             LONG_EPOCHS);
    p.job = test_write(test_path("long.yaml"), text);
    submit_detached(&p, p.job, job_id);
    stage_worker(&p.s, &p.worker, config_of(&p, "a"));
    assert_true(said(&p.worker, "data set read"));
    process_signal(&p.worker, SIGSTOP);         /* so that the job does not end while the other one starts */
    stage_worker(&p.s, &b, config_of(&p, "b")); /* its joining revokes everything for a moment */
    assert_true(said(&b, "trainer is ready"));
    process_signal(&p.worker, SIGCONT);
    assert_true(said(&p.worker, "job left at a checkpoint"));
    /* Whoever has the model's partition now goes on. */
    while (!process_wait_text(&p.worker, "goes on from its checkpoint", 1, 200) &&
           !process_wait_text(&b, "goes on from its checkpoint", 1, 200))
        assert_true(process_alive(&p.worker) && process_alive(&b));
    struct process *owner = process_wait_text(&b, "goes on from its checkpoint", 1, 100) ? &b : &p.worker;
    struct process *other = owner == &b ? &p.worker : &b;
    process_signal(
        other,
        SIGTERM); /* again everything is revoked, and comes back to the owner, who has the rows still */
    assert_int_equal(process_wait(other, 15000), 0);
    assert_true(process_wait_text(owner, "goes on from its checkpoint", 2, PATIENCE_MS));
    assert_true(said(owner, "data set still here"));
    assert_false(process_wait_text(owner, "data set read", 2, 0));
    process_signal(owner, SIGTERM);
    assert_int_equal(process_wait(owner, 15000), 0);
    assert_true(said(owner, "job left at a checkpoint"));
    stage_worker(&p.s, &c, config_of(&p, "c"));
    assert_true(said(&c, "goes on from its checkpoint"));
    assert_true(said(&c, "version made"));
    metrics_check(&p, job_id);
    sha_of_version(&p, "digits@1", made);
    sha_of_local(&p, local);
    assert_string_equal(made, local);
    process_kill(&c);
    place_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_job_changes_hands)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
