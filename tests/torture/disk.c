/* The disk as a fault (T9): a worker that trains while it serves, whose store, checkpoints and state are on a small disk of
 * their own. It fills up (a tmpfs where the machine lets us mount one, else by the shim), answers EIO, and takes its time to
 * sync (faultydisk.c). Jobs follow each other all the while; each must be COMPLETED, with every metric once and a model. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <unistd.h>

#include "tests/torture/faultydisk.h"
#include "tests/torture/strikes.h"

#include <cmocka.h>

enum { COMMAND_MS = 120000, ENDED_MS = 180000, CHECK_S = 30 };

struct disk {
    bool is_mounted;
    _Atomic int *fault; /* enum faulty_disk, shared with the workers */
    char shim[700], word[300], root[300];
    char ranges[300], job[300];
    int jobs;
    int first; /* the first strike's row in kinds; -1: none yet */
};

/* ---- before the worker ---- */

/* In a mount namespace of our own: it is gone with the last of us, whatever ends us. */
static bool mount_small(const char *folder)
{
    return unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("torture", folder, "tmpfs", MS_NOSUID | MS_NODEV, "size=96m,mode=0700") == 0;
}

static void shim_open(struct disk *d)
{
    const char *path = test_path("faultydisk");
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && ftruncate(fd, sizeof *d->fault) == 0);
    d->fault = mmap(NULL, sizeof *d->fault, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(d->fault != MAP_FAILED);
    close(fd);
    snprintf(d->shim, sizeof d->shim, "LD_PRELOAD=%s", run_program("tests/torture/faultydisk.so"));
    snprintf(d->word, sizeof d->word, "FAULTYDISK_WORD=%s", path);
}

void disk_open(struct run *r)
{
    struct disk *d = calloc(1, sizeof *d);
    assert_non_null(d);
    r->tools = d;
    d->first = -1;
    d->is_mounted = mount_small(r->stage.dir);
    if (d->is_mounted) /* its files were written beneath */
        snprintf(r->stage.config, sizeof r->stage.config, "%s",
                 stage_config(&r->stage, &(struct stage_settings){0}));
    else
        snprintf(r->note, sizeof r->note, "; skipped: tmpfs (%s), the shim says ENOSPC instead",
                 strerror(errno));
    shim_open(d);
    snprintf(d->root, sizeof d->root, "FAULTYDISK_ROOT=%s", r->stage.dir);
    const char *const words[] = {"env", d->shim, d->word, d->root};
    memcpy(r->prefix, words, sizeof words);
    r->roles = "[infer, train]";
    r->rest = "engine: {backend: cpu, threads: 1}\n";
}

/* ---- jobs ---- */

static void samples_send(struct run *r, struct disk *d)
{
    struct result made = {0};
    const char *data = test_path("digits.npz");
    snprintf(d->ranges, sizeof d->ranges, "%s", test_path("ranges.json"));
    snprintf(d->job, sizeof d->job, "%s", test_path("job.yaml"));
    test_write(d->job,
               "model: grown\nnetwork: lenet\nvalidation_rate: 0.1\ncheckpoint_every: 5\n"
               "hyperparameters: {learning_rate: 0.02, momentum: 0.9, batch_size: 32, epochs: 4, seed: 1}\n");
    result_runl(&made, COMMAND_MS, test_millrace(), "make-data", "digits", "--output", data, "--rows", "1000",
                "--seed", "1", "--shape", "3x32x32", NULL);
    result_expect(&made, 0);
    stage_run(&r->stage, &made, COMMAND_MS, "send", data, "--samples", "--rows-per-record", "20", NULL);
    result_expect(&made, 0);
    test_write(d->ranges, made.out);
    result_free(&made);
}

static int jobs_done(struct run *r)
{
    return process_count_text(&r->workers[0], "\"version made\"") +
           process_count_text(&r->workers[0], "\"job ended\"");
}

/* Another job where the last one has come to its end. */
static void job_submit(struct run *r, struct disk *d)
{
    struct result sent = {0};
    if (jobs_done(r) < d->jobs)
        return;
    if (!d->jobs)
        samples_send(r, d);
    stage_run(&r->stage, &sent, COMMAND_MS, "train", d->job, "--dataset", d->ranges, "--detach", NULL);
    result_expect(&sent, 0);
    result_free(&sent);
    d->jobs++;
}

static bool has_ended(void *run)
{
    struct run *r = run;
    struct disk *d = r->tools;
    run_revive(r);
    return jobs_done(r) >= d->jobs;
}

void disk_close(struct run *r)
{
    struct disk *d = r->tools;
    struct result checked = {0};
    char versions[16], note[160];
    assert_true(wait_until(has_ended, r, ENDED_MS));
    stage_checker(&r->stage, &checked, CHECK_S, "metrics", "--state", "COMPLETED", NULL);
    result_expect(&checked, 0);
    snprintf(versions, sizeof versions, "%d", d->jobs);
    stage_checker(&r->stage, &checked, CHECK_S, "models", "--model", "grown", "--versions", versions, NULL);
    result_expect(&checked, 0);
    result_free(&checked);
    int failed = process_count_text(&r->workers[0], "the store failed, the job goes on");
    snprintf(note, sizeof note, "; %d jobs, %d files refused%.90s", d->jobs, failed, r->note);
    memcpy(r->note, note, sizeof note);
    assert_true(failed > 0); /* else no fault met anything */
}

/* ---- faults ---- */

static void shim_for(struct run *r, enum faulty_disk fault)
{
    struct disk *d = r->tools;
    *d->fault = fault;
    run_pause(run_between(r, 500, 3000));
    *d->fault = FAULTY_NOT;
}

/* Everything that is free is taken; what is there stays. */
static void full(struct run *r)
{
    struct disk *d = r->tools;
    static const char zeroes[65536];
    char path[300];
    if (!d->is_mounted) {
        shim_for(r, FAULTY_FULL);
        return;
    }
    snprintf(path, sizeof path, "%s/ballast", r->stage.dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    for (size_t size = sizeof zeroes; size > 0;)
        if (write(fd, zeroes, size) <= 0)
            size /= 2;
    assert_int_equal(errno, ENOSPC);
    run_pause(run_between(r, 500, 3000));
    close(fd);
    unlink(path);
}

static void write_error(struct run *r)
{
    shim_for(r, FAULTY_WRITE);
}

static void sync_error(struct run *r)
{
    shim_for(r, FAULTY_SYNC);
}

static void slow_sync(struct run *r)
{
    shim_for(r, FAULTY_SLOW);
}

/* Each kind in turn, from one that the seed chooses; now and then the worker dies when it is over. */
void strike_disk(struct run *r)
{
    static void (*const kinds[])(struct run *) = {full, write_error, sync_error, slow_sync};
    enum { KINDS = sizeof kinds / sizeof *kinds };
    struct disk *d = r->tools;
    if (d->first < 0)
        d->first = run_between(r, 0, KINDS - 1);
    job_submit(r, d);
    run_pause(run_between(r, 200, 1000));
    kinds[(d->first + r->strikes) % KINDS](r);
    if (run_between(r, 0, 3) == 0) {
        process_kill(&r->workers[0]);
        run_worker(r, 0, false);
    }
    run_recover(r);
}
