/* `models` and `models show`: the registry's table in words or JSON. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "worker/codec/model_spec.h"
#include "worker/commands/models_view.h"
#include "worker/service/text.h"

static void json_text(const char *name, const char *text)
{
    printf("\"%s\":", name);
    text_print_json(text, strlen(text), stdout);
}

static bool is_alias(const struct model_version_event *e)
{
    return e->event == EVENT_PROMOTED || e->event == EVENT_ROLLED_BACK;
}

/* "champion, shadow": the aliases that mean this version. */
static const char *aliases_of(const struct registry *r, const struct model_version_event *v, char *out,
                              size_t size)
{
    const struct model_version_event *e;
    *out = 0;
    for (int i = 0; (e = registry_at(r, i, NULL)); i++)
        if (is_alias(e) && e->traffic > 0 && e->version == v->version && strcmp(e->model, v->model) == 0)
            snprintf(out + strlen(out), size - strlen(out), "%s%s", *out ? ", " : "", e->alias);
    return out;
}

static const char *time_text(int64_t ms, char out[32])
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm local;
    if (ms <= 0 || !localtime_r(&seconds, &local) || !strftime(out, 32, "%Y-%m-%d %H:%M", &local))
        strcpy(out, "-");
    return out;
}

/* -1: who made the event did not say. */
static const char *size_text(const struct model_version_event *e, char out[32])
{
    return e->size_bytes < 0 ? "-" : text_bytes((double)e->size_bytes, out, 32);
}

static void json_metrics(const struct model_version_event *e)
{
    fputs(",\"metrics\":{", stdout);
    for (int i = 0; i < e->metric_count; i++) {
        fputs(i ? "," : "", stdout);
        text_print_json(e->metrics[i].key, strlen(e->metrics[i].key), stdout);
        printf(isfinite(e->metrics[i].value) ? ":%.9g" : ":null", e->metrics[i].value);
    }
    putchar('}');
}

static void event_json(const char *key, const struct model_version_event *e)
{
    putchar('{');
    json_text("key", key);
    printf(",\"event\":\"%s\",", version_event_name(e->event));
    json_text("model", e->model);
    printf(",\"version\":%lld,\"alias\":", (long long)e->version);
    if (*e->alias)
        text_print_json(e->alias, strlen(e->alias), stdout);
    else
        fputs("null", stdout);
    printf(",\"traffic\":%.9g,\"previous_version\":", e->traffic);
    printf(e->previous_version ? "%lld," : "null,", (long long)e->previous_version);
    json_text("artifact_uri", e->artifact_uri);
    putchar(',');
    json_text("format", e->format);
    putchar(',');
    json_text("sha256", e->sha256);
    printf(",\"size_bytes\":%lld,", (long long)e->size_bytes);
    json_text("job_id", e->job_id);
    putchar(',');
    json_text("dataset_sha256", e->dataset_sha256);
    json_metrics(e);
    putchar(',');
    json_text("created_by", e->created_by);
    printf(",\"at\":%lld}", (long long)e->at);
}

static double accuracy_of(const struct model_version_event *e)
{
    for (int i = 0; i < e->metric_count; i++)
        if (strcmp(e->metrics[i].key, "val_accuracy") == 0)
            return e->metrics[i].value;
    return NAN;
}

static void version_line(const struct registry *r, const struct model_version_event *e)
{
    char size[32], at[32], accuracy[32] = "-", aliases[200], name[140];
    snprintf(name, sizeof name, "%s@%lld", e->model, (long long)e->version);
    if (!isnan(accuracy_of(e)))
        snprintf(accuracy, sizeof accuracy, "%.4f", accuracy_of(e));
    printf("%-28s %-9s %8s %9s  %-16s  %.12s  %s\n", name, version_event_name(e->event), accuracy,
           size_text(e, size), time_text(e->at, at), e->sha256, aliases_of(r, e, aliases, sizeof aliases));
}

int models_list(const struct context *cx, struct fail *why)
{
    struct registry *r = NULL;
    const struct model_version_event *e;
    const char *key;
    int shown = 0, rc = registry_load(&r, &cx->settings, cx->timeout_ms, why);
    if (rc)
        return rc;
    for (int i = 0; (e = registry_at(r, i, &key)); i++) {
        if (!cx->json && is_alias(e))
            continue;
        if (cx->json)
            fputs(shown ? ",\n " : "[", stdout);
        else if (!shown)
            printf("%-28s %-9s %8s %9s  %-16s  %-12s  %s\n", "VERSION", "STATE", "VAL_ACC", "SIZE", "SINCE",
                   "SHA256", "ALIASES");
        if (cx->json)
            event_json(key, e);
        else
            version_line(r, e);
        shown++;
    }
    if (cx->json)
        puts(shown ? "]" : "[]");
    else if (!shown)
        fprintf(stderr,
                "there is no model yet: millrace train JOB.yaml or millrace models import FILE makes one\n");
    registry_free(&r);
    return 0;
}

static void version_text(const struct registry *r, const struct model_version_event *e)
{
    char text[200], at[32];
    printf("version    %s@%lld\nstate      %s since %s\n", e->model, (long long)e->version,
           version_event_name(e->event), time_text(e->at, at));
    if (*aliases_of(r, e, text, sizeof text))
        printf("aliases    %s\n", text);
    printf("artifact   %s\nsha256     %s\nsize       %s\n", e->artifact_uri, e->sha256, size_text(e, text));
    if (e->has_input) {
        struct shape s = {.rank = e->input_rank};
        memcpy(s.dim, e->input_shape, sizeof s.dim);
        printf("input      %s", shape_text(s, text, sizeof text));
        for (int c = 0; c < e->mean_count && c < e->std_count; c++)
            printf("%s mean %g std %g", c ? "," : "", (double)e->mean[c], (double)e->std[c]);
        putchar('\n');
    }
    for (int i = 0; i < e->label_count; i++)
        printf("%s%s%s", i ? ", " : "labels     ", e->labels[i], i + 1 == e->label_count ? "\n" : "");
    if (*e->job_id)
        printf("job        %s\n", e->job_id);
    if (e->base_version)
        printf("base       %s@%lld\n", e->model, (long long)e->base_version);
    for (int i = 0; i < e->dataset_count; i++)
        printf("data       %s [%d] %lld to %lld\n", e->dataset[i].topic, e->dataset[i].partition,
               (long long)e->dataset[i].start_offset, (long long)e->dataset[i].end_offset);
    if (*e->dataset_sha256)
        printf("data sha   %s\n", e->dataset_sha256);
    for (int i = 0; i < e->hyperparameter_count; i++)
        printf("%s%s %s%s", i ? ", " : "settings   ", e->hyperparameters[i].key, e->hyperparameters[i].value,
               i + 1 == e->hyperparameter_count ? "\n" : "");
    for (int i = 0; i < e->metric_count; i++)
        printf("%-14s %.6g\n", e->metrics[i].key, e->metrics[i].value);
    if (*e->created_by)
        printf("by         %s\n", e->created_by);
}

/* Without a version: all versions and aliases of the model. */
static int model_show(const struct context *cx, const struct registry *r, const char *model, struct fail *why)
{
    const struct model_version_event *e;
    const char *key;
    int shown = 0;
    for (int i = 0; (e = registry_at(r, i, &key)); i++) {
        if (strcmp(e->model, model) != 0)
            continue;
        if (cx->json) {
            fputs(shown ? ",\n " : "[", stdout);
            event_json(key, e);
        } else if (is_alias(e)) {
            printf("%-28s %s@%lld, traffic %g, before: %lld\n", key, e->model, (long long)e->version,
                   e->traffic, (long long)e->previous_version);
        } else {
            version_line(r, e);
        }
        shown++;
    }
    if (cx->json && shown)
        puts("]");
    return shown ? 0 : fail(why, E_FAILED, "there is no model %s (millrace models lists them)", model);
}

int models_show(const struct context *cx, struct fail *why)
{
    const char *text = cx->argv[1], *variant;
    const struct model_version_event *v;
    struct registry *r = NULL;
    int rc = model_name_valid(text_span(text)) || strchr(text, '@')
                 ? registry_load(&r, &cx->settings, cx->timeout_ms, why)
                 : fail(why, E_USAGE, "models show: NAME or NAME@VERSION is expected, not \"%.100s\"", text);
    if (rc)
        return rc;
    if (!strchr(text, '@')) {
        rc = model_show(cx, r, text, why);
    } else if (!(rc = registry_resolve(r, text_span(text), &v, &variant, why))) {
        char key[256];
        snprintf(key, sizeof key, "%s@%lld", v->model, (long long)v->version);
        if (cx->json) {
            event_json(key, v);
            putchar('\n');
        } else {
            version_text(r, v);
        }
    }
    registry_free(&r);
    return rc;
}
