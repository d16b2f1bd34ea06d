/* Training jobs on a real broker: what is committed, the same whatever kills the worker, the same file as
 * `train --local` makes; the commands train, jobs and models. */
#include "tests/lib/picture.h"
#include "tests/worker/train/place.h"

#include <sys/stat.h>

static void test_train_and_follow(void **state)
{
    (void)state;
    struct place p;
    char made[65], local[65];
    place_open(&p);
    place_worker(&p);
    stage_run(&p.s, &p.r, LIMIT_MS, "train", p.job, "--dataset", p.ranges, "--json", NULL);
    result_expect(&p.r, 0);
    json_t *v = json_of(&p.r);
    char job_id[200];
    snprintf(job_id, sizeof job_id, "%s", text_at(v, "job_id"));
    assert_string_equal(text_at(v, "state"), "COMPLETED");
    assert_int_equal(number_at(v, "version"), 1);
    assert_true(json_is_true(json_object_get(v, "promoted")));
    assert_true(json_number_value(json_object_get(v, "val_accuracy")) > 0.3); /* chance is 0.1 */
    json_decref(v);
    assert_non_null(strstr(p.r.err, "epoch 6"));
    assert_true(metrics_check(&p, job_id) > EPOCHS);
    sha_of_version(&p, "digits@1", made);
    sha_of_local(&p, local);
    assert_string_equal(made, local);
    stage_run(&p.s, &p.r, LIMIT_MS, "jobs", NULL);
    result_expect(&p.r, 0);
    assert_non_null(strstr(p.r.out, job_id));
    stage_run(&p.s, &p.r, LIMIT_MS, "jobs", "stop", job_id, NULL);
    result_expect(&p.r, 1);
    place_close(&p);
}

static void test_killed_twice(void **state)
{
    (void)state;
    struct place p;
    char job_id[200], made[65], local[65], text[300];
    place_open(&p);
    submit_detached(&p, p.job, job_id);
    snprintf(text, sizeof text, "checkpoint job=%s", job_id);
    for (int life = 0; life < 2; life++) {
        place_worker(&p);
        assert_true(process_wait_text(&p.worker, text, 3, LIMIT_MS));
        process_kill(&p.worker);
    }
    place_worker(&p);
    assert_true(process_wait_text(&p.worker, "goes on from its checkpoint", 1, LIMIT_MS));
    assert_true(process_wait_text(&p.worker, "version made", 1, LIMIT_MS));
    metrics_check(&p, job_id);
    sha_of_version(&p, "digits@1", made);
    sha_of_local(&p, local);
    assert_string_equal(made, local);
    stage_run(&p.s, &p.r, LIMIT_MS, "models", "show", "digits@2", NULL);
    assert_int_not_equal(p.r.code, 0);
    place_close(&p);
}

static void test_import_promote_rollback(void **state)
{
    (void)state;
    struct place p;
    char local[65], made[65];
    place_open(&p);
    sha_of_local(&p, local);
    const char *file = test_path("local.onnx");
    stage_run(&p.s, &p.r, LIMIT_MS, "models", "import", file, "--model", "m", "--timeout", "2", NULL);
    result_expect(&p.r, 4); /* nobody trains */
    assert_non_null(strstr(p.r.err, "train worker"));
    place_worker(&p);
    assert_true(process_wait_text(&p.worker, "version imported", 1, LIMIT_MS));
    stage_run(&p.s, &p.r, LIMIT_MS, "models", "import", file, "--model", "m", "--promote", NULL);
    result_expect(&p.r, 0);
    sha_of_version(&p, "m@champion", made);
    assert_string_equal(made, local);
    stage_run(&p.s, &p.r, LIMIT_MS, "models", "promote", "m@1", "--json", NULL);
    result_expect(&p.r, 0);
    json_t *v = json_of(&p.r);
    assert_int_equal(number_at(v, "previous_version"), 2);
    json_decref(v);
    /* The same once more: a rollback still finds what was there before it. */
    stage_run(&p.s, &p.r, LIMIT_MS, "models", "promote", "m@1", "--json", NULL);
    result_expect(&p.r, 0);
    v = json_of(&p.r);
    assert_int_equal(number_at(v, "previous_version"), 2);
    json_decref(v);
    stage_run(&p.s, &p.r, LIMIT_MS, "models", "rollback", "m", "--json", NULL);
    result_expect(&p.r, 0);
    v = json_of(&p.r);
    assert_string_equal(text_at(v, "event"), "ROLLED_BACK");
    assert_int_equal(number_at(v, "version"), 2);
    json_decref(v);
    stage_run(&p.s, &p.r, LIMIT_MS, "models", "promote", "m@9", NULL);
    result_expect(&p.r, 1);
    stage_run(&p.s, &p.r, LIMIT_MS, "models", "promote", "nobody", NULL);
    result_expect(&p.r, 1);
    place_close(&p);
}

static void test_stop_and_failure(void **state)
{
    (void)state;
    struct place p;
    char job_id[200];
    place_open(&p);
    place_worker(&p);
    submit_detached(&p, job_file("long.yaml", "digits", 5000), job_id);
    assert_true(process_wait_text(&p.worker, "checkpoint job=", 2, LIMIT_MS));
    stage_run(&p.s, &p.r, LIMIT_MS, "jobs", "stop", job_id, "--json", NULL);
    result_expect(&p.r, 0);
    json_t *v = json_of(&p.r);
    assert_string_equal(text_at(v, "state"), "STOPPED");
    assert_true(number_at(v, "step") > 0);
    json_decref(v);
    const char *wild = test_write(test_path("wild.yaml"),
                                  "model: digits\nnetwork: lenet\nbase_version: 0\n"
                                  "hyperparameters: {learning_rate: 1e6, momentum: 1, epochs: 50}\n");
    stage_run(&p.s, &p.r, LIMIT_MS, "train", wild, "--dataset", p.ranges, NULL);
    result_expect(&p.r, 1);
    assert_non_null(strstr(p.r.err, "not finite"));
    place_close(&p);
}

/* A version deleted from the models topic does not hold up the next job, and its number is not given again. */
static void test_deleted_version(void **state)
{
    (void)state;
    struct place p;
    char topic[100], sha256[65];
    place_open(&p);
    place_worker(&p);
    stage_run(&p.s, &p.r, LIMIT_MS, "train", job_file("short.yaml", "digits", 1), "--dataset", p.ranges,
              NULL);
    result_expect(&p.r, 0);
    snprintf(topic, sizeof topic, "%smodels", p.s.prefix);
    const char *const tombstones[] = {"kcat", "-P", "-b", p.s.bootstrap, "-t", topic, "-K:", "-Z", NULL};
    result_run(&p.r, LIMIT_MS, "digits@1:\ndigits@champion:\n", tombstones);
    result_expect(&p.r, 0);
    stage_run(&p.s, &p.r, LIMIT_MS, "train", job_file("next.yaml", "digits", 1), "--dataset", p.ranges, NULL);
    result_expect(&p.r, 0);
    sha_of_version(&p, "digits@2", sha256);
    place_close(&p);
}

/* Ten classes of six images, each of another size. */
static const char *folder_make(void)
{
    const char *root = test_path("images");
    for (int k = 0; k < 10; k++) {
        char path[600];
        snprintf(path, sizeof path, "%s/class-%d", root, k);
        assert_true(k || mkdir(root, 0777) == 0);
        assert_int_equal(mkdir(path, 0777), 0);
        for (int i = 0; i < 6; i++) {
            int width = 20 + 3 * k + i, height = 50 - 2 * k - i;
            unsigned char *rgb = picture_pixels(width, height);
            struct bytes file = {0};
            for (int at = 0; at < width * height * 3; at += 3)
                rgb[at] = (unsigned char)(25 * k + i); /* red tells the class */
            if (i % 2)
                picture_png(&file, rgb, width, height, false);
            else
                picture_jpeg(&file, rgb, width, height, 95);
            snprintf(path, sizeof path, "%s/class-%d/%d.%s", root, k, i, i % 2 ? "png" : "jpg");
            FILE *f = fopen(path, "w");
            assert_non_null(f);
            assert_int_equal(fwrite(file.data, 1, file.size, f), file.size);
            fclose(f);
            bytes_free(&file);
            free(rgb);
        }
    }
    return root;
}

/* Image files of class folders on the topic as they are train what `train --local` trains on the folder. */
static void test_images_of_a_folder(void **state)
{
    (void)state;
    struct place p;
    char made[65], local[65];
    place_open(&p);
    place_worker(&p);
    p.data = folder_make();
    p.job = test_write(
        test_path("images.yaml"),
        "model: images\nnetwork: lenet\nvalidation_rate: 0.2\n"
        "labels: [class-0, class-1, class-2, class-3, class-4, class-5, class-6, class-7, class-8, "
        "class-9]\n"
        "hyperparameters: {learning_rate: 0.02, momentum: 0.9, batch_size: 8, epochs: 3, mean: auto, "
        "std: auto, augment_flip: horizontal}\n");
    stage_run(&p.s, &p.r, LIMIT_MS, "send", p.data, "--samples", "--rows-per-record", "7", NULL);
    result_expect(&p.r, 0);
    p.ranges = test_write(test_path("images.json"), p.r.out);
    stage_run(&p.s, &p.r, LIMIT_MS, "train", p.job, "--dataset", p.ranges, NULL);
    result_expect(&p.r, 0);
    sha_of_version(&p, "images@1", made);
    sha_of_local(&p, local);
    assert_string_equal(made, local);
    stage_run(&p.s, &p.r, LIMIT_MS, "train", p.job, "--preview", test_path("topic.png"), "--dataset",
              p.ranges, NULL);
    result_expect(&p.r, 0);
    stage_run(&p.s, &p.r, LIMIT_MS, "train", p.job, "--preview", test_path("file.png"), "--data", p.data,
              NULL);
    result_expect(&p.r, 0);
    result_runl(&p.r, LIMIT_MS, "cmp", test_path("topic.png"), test_path("file.png"), NULL);
    result_expect(&p.r, 0);
    stage_run(&p.s, &p.r, LIMIT_MS, "send", p.data, "--model", "images", "--encoding", "u8", "--shape",
              "3x32x32", NULL);
    result_expect(&p.r, 0);
    place_close(&p);
}

/* Fine-tuning: a job begins with the weights of a version, also of one that was imported. */
static void test_a_job_begins_with_a_version(void **state)
{
    (void)state;
    struct place p;
    char made[65], local[65];
    place_open(&p);
    place_worker(&p);
    p.job = job_file("first.yaml", "first", 2);
    sha_of_local(&p, local);
    stage_run(&p.s, &p.r, LIMIT_MS, "models", "import", test_path("local.onnx"), "--model", "tuned", NULL);
    result_expect(&p.r, 0);
    p.job =
        test_write(test_path("tune.yaml"), "model: tuned\nbase_version: 1\nvalidation_rate: 0.1\n"
                                           "hyperparameters: {learning_rate: 0.001, epochs: 1, seed: 3}\n");
    stage_run(&p.s, &p.r, LIMIT_MS, "train", p.job, "--dataset", p.ranges, "--json", NULL);
    result_expect(&p.r, 0);
    sha_of_version(&p, "tuned@2", made);
    p.job = test_write(test_path("tune-local.yaml"),
                       "model: tuned\nvalidation_rate: 0.1\n"
                       "hyperparameters: {learning_rate: 0.001, epochs: 1, seed: 3}\n");
    stage_run(&p.s, &p.r, LIMIT_MS, "train", "--local", "--base", test_path("local.onnx"), "--data", p.data,
              "--output", test_path("tuned.onnx"), "--json", "-X", "engine.threads=1", "-X",
              "engine.backend=cpu", p.job, NULL);
    result_expect(&p.r, 0);
    json_t *v = json_of(&p.r);
    assert_string_equal(text_at(v, "sha256"), made);
    json_decref(v);
    assert_string_not_equal(made, local);
    place_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_train_and_follow),
        cmocka_unit_test(test_killed_twice),
        cmocka_unit_test(test_import_promote_rollback),
        cmocka_unit_test(test_stop_and_failure),
        cmocka_unit_test(test_deleted_version),
        cmocka_unit_test(test_images_of_a_folder),
        cmocka_unit_test(test_a_job_begins_with_a_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
