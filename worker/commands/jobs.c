/* `jobs`: what was submitted and what became of it; one job's curve; STOP.
 * Next to read: job_table.c, where the answers come from, then job_report.c. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "worker/commands/curve.h"
#include "worker/commands/job_report.h"
#include "worker/commands/job_table.h"
#include "worker/service/text.h"
#include "worker/train/publish.h"

static void json_text(const char *name, const char *text)
{
    printf("\"%s\":", name);
    text_print_json(text, strlen(text), stdout);
}

static void json_number(const char *name, double v)
{
    if (isfinite(v))
        printf(",\"%s\":%.9g", name, v);
    else
        printf(",\"%s\":null", name);
}

static void row_json(const struct job_row *row)
{
    putchar('{');
    json_text("job_id", row->job_id);
    putchar(',');
    json_text("model", row->model);
    printf(",\"action\":\"%s\",\"state\":\"%s\",\"epoch\":%d,\"step\":%lld,\"total_steps\":%lld,\"version\":%"
           "lld",
           job_action_name(row->action), job_row_state(row), row->epoch, (long long)row->step,
           (long long)row->total_steps, (long long)row->version);
    json_number("loss", row->loss);
    json_number("accuracy", row->accuracy);
    json_number("val_loss", row->val_loss);
    json_number("val_accuracy", row->val_accuracy);
    putchar(',');
    json_text("failure_reason", row->failure_reason);
    putchar(',');
    json_text("requested_by", row->requested_by);
    printf(",\"created_at\":%lld,\"at\":%lld", (long long)row->created_at, (long long)row->at);
}

static const char *time_text(int64_t ms, char out[32])
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm local;
    if (ms <= 0 || !localtime_r(&seconds, &local) || !strftime(out, 32, "%Y-%m-%d %H:%M", &local))
        strcpy(out, "-");
    return out;
}

static const char *share_text(const struct job_row *row, char out[32])
{
    if (row->total_steps > 0)
        snprintf(out, 32, "%d%%", (int)(100 * row->step / row->total_steps));
    else
        strcpy(out, "-");
    return out;
}

static const char *real_text(double v, char out[32])
{
    if (isnan(v))
        strcpy(out, "-");
    else
        snprintf(out, 32, "%.4g", v);
    return out;
}

static int jobs_list(const struct context *cx, struct fail *why)
{
    struct job_table t;
    int rc = job_table_read(&t, cx, NULL, why);
    if (!rc && cx->json)
        putchar('[');
    else if (!rc && t.count)
        printf("%-36s %-14s %-8s %-10s %6s %8s %8s %7s  %s\n", "JOB", "MODEL", "ACTION", "STATE", "DONE",
               "LOSS", "VAL_ACC", "VERSION", "SUBMITTED");
    for (int i = 0; !rc && i < t.count; i++) {
        const struct job_row *row = &t.rows[i];
        char done[32], loss[32], accuracy[32], version[32] = "-", at[32];
        if (row->version)
            snprintf(version, sizeof version, "%lld", (long long)row->version);
        if (cx->json) {
            fputs(i ? ",\n " : "", stdout);
            row_json(row);
            putchar('}');
        } else {
            printf("%-36s %-14s %-8s %-10s %6s %8s %8s %7s  %s\n", row->job_id, row->model,
                   job_action_name(row->action), job_row_state(row), share_text(row, done),
                   real_text(row->loss, loss), real_text(row->val_accuracy, accuracy), version,
                   time_text(row->created_at, at));
        }
    }
    if (!rc && cx->json)
        puts("]");
    else if (!rc && !t.count)
        fprintf(stderr, "no job has been submitted\n");
    job_table_free(&t);
    return rc;
}

static void show_json(const struct job_row *row)
{
    row_json(row);
    fputs(",\"metrics\":[", stdout);
    for (int i = 0; i < row->metric_count; i++) {
        const struct loss_metric *m = &row->metrics[i];
        printf("%s\n {\"sequence\":%lld,\"state\":\"%s\",\"epoch\":%d,\"step\":%lld", i ? "," : "",
               (long long)m->sequence, job_state_name(m->state), m->epoch, (long long)m->step);
        json_number("loss", m->loss);
        json_number("accuracy", m->accuracy);
        json_number("val_loss", m->val_loss);
        json_number("val_accuracy", m->val_accuracy);
        json_number("learning_rate", m->learning_rate);
        json_number("samples_per_second", m->samples_per_second);
        fputs(",\"metrics\":", stdout);
        job_report_json(m, stdout);
        printf(",\"at\":%lld}", (long long)m->at);
    }
    puts("]}");
}

static void show_text(const struct job_row *row)
{
    char at[32], number[32];
    printf("job        %s\nmodel      %s\naction     %s\nstate      %s\nsubmitted  %s%s%s\n", row->job_id,
           row->model, job_action_name(row->action), job_row_state(row), time_text(row->created_at, at),
           *row->requested_by ? " by " : "", row->requested_by);
    if (row->total_steps)
        printf("steps      %lld of %lld\n", (long long)row->step, (long long)row->total_steps);
    if (row->version)
        printf("version    %s@%lld\n", row->model, (long long)row->version);
    if (*row->failure_reason)
        printf("reason     %s\n", row->failure_reason);
    const struct {
        const char *name;
        double value;
    } values[] = {{"loss", row->loss},
                  {"accuracy", row->accuracy},
                  {"val_loss", row->val_loss},
                  {"val_accuracy", row->val_accuracy}};
    for (int i = 0; i < 4; i++)
        if (!isnan(values[i].value))
            printf("%-12s %s\n", values[i].name, real_text(values[i].value, number));
}

static int unknown_job(struct job_table *t, const char *id, struct fail *why)
{
    const char *best = NULL;
    int distance = 8;
    for (int i = 0; i < t->count; i++) {
        int d = setting_distance(id, t->rows[i].job_id);
        if (d < distance) {
            distance = d;
            best = t->rows[i].job_id;
        }
    }
    return fail(why, E_FAILED, "there is no job %.100s%s%s%s", id, best ? "; did you mean " : "",
                best ? best : "", best ? "?" : " (millrace jobs lists them)");
}

static int jobs_show(const struct context *cx, struct fail *why)
{
    struct job_table t;
    struct curve curve;
    int rc = job_table_read(&t, cx, cx->argv[1], why);
    const struct job_row *row = rc ? NULL : job_table_find(&t, cx->argv[1]);
    if (!rc && !row)
        rc = unknown_job(&t, cx->argv[1], why);
    if (row && cx->json)
        show_json(row);
    if (row && !cx->json) {
        show_text(row);
        job_report_data(row, stdout);
        curve_open(&curve);
        for (int i = 0; i < row->metric_count; i++)
            curve_add(&curve, &row->metrics[i]);
        curve_print(&curve, terminal_columns(fileno(stdout)) - 10, 8, stdout);
        curve_free(&curve);
        job_report_results(row, stdout);
    }
    job_table_free(&t);
    return rc;
}

static int stop_submit(const struct context *cx, const struct job_row *row, struct fail *why)
{
    struct training_job stop = {.job_id = row->job_id,
                                .action = ACTION_STOP,
                                .model = row->model,
                                .network = "",
                                .artifact_uri = "",
                                .sha256 = "",
                                .promote_metric = "val_accuracy",
                                .loss = LOSS_CROSS_ENTROPY,
                                .validation_rate = 0.1,
                                .requested_by = "",
                                .created_at = publish_now_ms()};
    struct region mem = {0};
    struct job_checkpoint end;
    int rc = job_submit(cx, &stop, why);
    if (!rc)
        rc = job_wait_end(cx, row->job_id, &mem, &end, why);
    if (!rc && cx->json)
        printf("{\"job_id\":\"%s\",\"state\":\"%s\",\"step\":%lld}\n", row->job_id, job_state_name(end.state),
               (long long)end.step);
    else if (!rc)
        printf("%s %s at step %lld\n", row->job_id, job_state_name(end.state), (long long)end.step);
    region_free(&mem);
    return rc;
}

static int jobs_stop(const struct context *cx, struct fail *why)
{
    struct job_table t;
    int rc = job_table_read(&t, cx, NULL, why);
    const struct job_row *row = rc ? NULL : job_table_find(&t, cx->argv[1]);
    if (!rc && !row)
        rc = unknown_job(&t, cx->argv[1], why);
    else if (!rc && job_state_terminal(row->state))
        rc = fail(why, E_FAILED, "job %s has ended already: %s", row->job_id, job_row_state(row));
    else if (!rc)
        rc = stop_submit(cx, row, why);
    job_table_free(&t);
    return rc;
}

static int run(const struct context *cx, struct fail *why)
{
    const char *word = cx->argc ? cx->argv[0] : "list";
    bool one = strcmp(word, "show") == 0 || strcmp(word, "stop") == 0;
    if (one && cx->argc != 2)
        return fail(why, E_USAGE, "jobs %s: one job's id is expected", word);
    if (strcmp(word, "show") == 0)
        return jobs_show(cx, why);
    if (strcmp(word, "stop") == 0)
        return jobs_stop(cx, why);
    if (strcmp(word, "list") != 0)
        return command_unknown_word("subcommand", word, "list|show|stop", why);
    return cx->argc > 1 ? fail(why, E_USAGE, "jobs list takes no operand") : jobs_list(cx, why);
}

const struct command command_jobs = {
    .name = "jobs",
    .operands = "[show ID|stop ID]",
    .max_operands = 2,
    .summary = "lists training jobs; shows or stops one",
    .text = "A job is stopped at its next step; its checkpoint is kept. Imports are jobs too.",
    .needs_settings = true,
    .run = run,
};
