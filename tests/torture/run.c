/* Workers, producer and measurements of a run; see run.h. */
#include "tests/torture/run.h"

#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { RECOVERED_MS = 90000, GENEROUS = 3, WORDS = RUN_PREFIX + 6 };

void run_pause(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
    nanosleep(&t, NULL);
}

int run_between(struct run *r, int low, int high)
{
    return low + (int)rng_below(&r->rng, (uint64_t)(high - low + 1));
}

/* ---- workers ---- */

const char *run_program(const char *name)
{
    static char path[600];
    int folder = (int)(strlen(test_millrace()) - strlen("millrace"));
    snprintf(path, sizeof path, "%.*s%s", folder, test_millrace(), name);
    return path;
}

static const char *config_of(struct run *r, int i, bool dynamic)
{
    static const char *const slots[RUN_WORKERS] = {"a", "b", "c"};
    struct stage via = r->stage;
    if (r->bootstrap)
        snprintf(via.bootstrap, sizeof via.bootstrap, "%s", r->bootstrap);
    const char *path =
        stage_config(&via, &(struct stage_settings){.slot = slots[i],
                                                    .roles = r->roles ? r->roles : "[infer]",
                                                    .worker = dynamic ? "  membership: dynamic\n" : "",
                                                    .kafka = "  session.timeout.ms: 6000\n"
                                                             "  transaction.timeout.ms: 6000\n",
                                                    .listen = i == 0 ? r->listen : NULL,
                                                    .rest = r->rest});
    r->stage.configs = via.configs;
    return path;
}

void run_worker(struct run *r, int i, bool dynamic)
{
    const char *words[WORDS];
    char log[24];
    int n = 0;
    if (!r->configs[i][dynamic])
        r->configs[i][dynamic] = config_of(r, i, dynamic);
    while (n < RUN_PREFIX && r->prefix[n])
        words[n] = r->prefix[n], n++;
    words[n++] = r->program ? r->program : test_millrace();
    words[n++] = "worker";
    words[n++] = "-c";
    words[n++] = r->configs[i][dynamic];
    words[n] = NULL;
    snprintf(log, sizeof log, "%s-%c.log", r->fault->name, 'a' + i);
    process_start(&r->workers[i], log, words);
}

static bool is_fair(const struct run *r, int code)
{
    return code == 0 || code == 75 || code == 128 + SIGKILL ||
           (r->crashes && (code == 128 + SIGILL || code == 128 + SIGABRT));
}

void run_revive(struct run *r)
{
    for (int i = 0; i < r->fault->workers; i++)
        if (!process_alive(&r->workers[i])) {
            if (!is_fair(r, r->workers[i].code))
                process_print_log(&r->workers[i]);
            assert_true(is_fair(r, r->workers[i].code));
            run_worker(r, i, false);
        }
}

/* ---- the producer ---- */

void run_produce(struct run *r)
{
    char count[24], rate[24], poison[16], crash[16];
    long seconds = (long)r->fault->strike_ms * r->amount.strikes / 1000 * GENEROUS + 1;
    r->poison_file = test_path(r->fault->name);
    r->hurry_file = test_path("hurry");
    remove(r->hurry_file);
    snprintf(count, sizeof count, "%ld", r->amount.records);
    snprintf(rate, sizeof rate, "%ld", r->fault->strike_ms ? r->amount.records / seconds + 1 : 0);
    snprintf(poison, sizeof poison, "%d", r->fault->poison_every);
    snprintf(crash, sizeof crash, "%d", r->crash_every);
    process_start(&r->producer, "producer.log",
                  (const char *[]){"tests/broker/check",
                                   "produce",
                                   "--bootstrap",
                                   r->stage.bootstrap,
                                   "--prefix",
                                   r->stage.prefix,
                                   "--model",
                                   "digits",
                                   "--rows",
                                   "1",
                                   "--count",
                                   count,
                                   "--rate",
                                   rate,
                                   "--poison-every",
                                   poison,
                                   "--crash-every",
                                   crash,
                                   "--poison-file",
                                   r->poison_file,
                                   "--hurry-file",
                                   r->hurry_file,
                                   NULL});
}

void run_hurry(struct run *r)
{
    test_write(r->hurry_file, "");
}

/* ---- measurements ---- */

/* A worker that ends meanwhile (75: a call made no progress) is started again, as its supervisor would. */
static bool settled(void *run)
{
    struct run *r = run;
    run_revive(r);
    return watch_is_settled(r->watch) || watch_answers(r->watch) >= r->amount.records; /* no more can come */
}

void run_recover(struct run *r)
{
    bool waits = run_between(r, 0, 3) != 0;
    watch_mark(r->watch);
    if (waits)
        wait_until(settled, r, RECOVERED_MS);
}

static int descriptors_of(pid_t pid)
{
    char path[64];
    int count = -2; /* . and .. */
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *d = opendir(path);
    while (d && readdir(d))
        count++;
    if (d)
        closedir(d);
    return d ? count : 0;
}

static long rss_mb_of(pid_t pid)
{
    char path[64], line[128];
    long kb = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        sscanf(line, "VmRSS: %ld", &kb);
    if (f)
        fclose(f);
    return kb / 1024;
}

struct level run_look(struct run *r)
{
    struct level most = {0};
    for (int i = 0; i < RUN_WORKERS; i++) {
        if (!process_alive(&r->workers[i]))
            continue;
        long mb = rss_mb_of(r->workers[i].pid);
        int descriptors = descriptors_of(r->workers[i].pid);
        most.rss_mb = mb > most.rss_mb ? mb : most.rss_mb;
        most.descriptors = descriptors > most.descriptors ? descriptors : most.descriptors;
    }
    r->peak_mb = most.rss_mb > r->peak_mb ? most.rss_mb : r->peak_mb;
    return most;
}
