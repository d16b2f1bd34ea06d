/* `models` and `models show`: the registry's table in words or JSON. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "worker/codec/model_spec.h"
#include "worker/commands/models_view.h"
#include "worker/service/text.h"
#include "worker/stream/clock.h"

static void json_text(const char *name, const char *text)
{
    printf("\"%s\":", name);
    text_print_json(text, strlen(text), stdout);
}

static bool is_alias(const struct model_version_event *e)
{
    return e->event == EVENT_PROMOTED || e->event == EVENT_ROLLED_BACK;
}

static bool means(const struct model_version_event *e, const struct model_version_event *v)
{
    return is_alias(e) && e->traffic > 0 && e->version == v->version && strcmp(e->model, v->model) == 0;
}

/* "champion, challenger (10 %)": the aliases that mean this version, and their share of the keys. */
static const char *aliases_of(const struct registry *r, const struct model_version_event *v, char *out,
                              size_t size)
{
    const struct model_version_event *e;
    *out = 0;
    for (int i = 0; (e = registry_at(r, i, NULL)) && strlen(out) < size - 1; i++) {
        char share[32] = "";
        if (!means(e, v))
            continue;
        if (e->traffic < 1)
            snprintf(share, sizeof share, " (%.3g %%)", 100 * e->traffic);
        snprintf(out + strlen(out), size - strlen(out), "%s%s%s", *out ? ", " : "", e->alias, share);
    }
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

static void json_pairs(const char *name, const struct text_pair *pairs, int count)
{
    printf(",\"%s\":{", name);
    for (int i = 0; i < count; i++) {
        fputs(i ? "," : "", stdout);
        json_text(pairs[i].key, pairs[i].value);
    }
    putchar('}');
}

static void json_floats(const char *name, const float *values, int count)
{
    printf(",\"%s\":[", name);
    for (int i = 0; i < count; i++)
        printf(i ? ",%.9g" : "%.9g", (double)values[i]);
    putchar(']');
}

static void json_input(const struct model_version_event *e)
{
    fputs(",\"input\":", stdout);
    if (!e->has_input) {
        fputs("null", stdout);
        return;
    }
    fputs("{\"shape\":[", stdout);
    for (int i = 0; i < e->input_rank; i++)
        printf(i ? ",%lld" : "%lld", (long long)e->input_shape[i]);
    putchar(']');
    json_floats("mean", e->mean, e->mean_count);
    json_floats("std", e->std, e->std_count);
    putchar('}');
}

/* What a version was made of. */
static void json_lineage(const struct model_version_event *e)
{
    printf(e->base_version ? ",\"base_version\":%lld,\"dataset\":[" : ",\"base_version\":null,\"dataset\":[",
           (long long)e->base_version);
    for (int i = 0; i < e->dataset_count; i++) {
        fputs(i ? ",{" : "{", stdout);
        json_text("topic", e->dataset[i].topic);
        printf(",\"partition\":%d,\"start_offset\":%lld,\"end_offset\":%lld}", e->dataset[i].partition,
               (long long)e->dataset[i].start_offset, (long long)e->dataset[i].end_offset);
    }
    fputs("],", stdout);
    json_text("dataset_sha256", e->dataset_sha256);
    json_pairs("hyperparameters", e->hyperparameters, e->hyperparameter_count);
}

static void json_labels(const struct model_version_event *e)
{
    fputs(",\"labels\":[", stdout);
    for (int i = 0; i < e->label_count; i++) {
        fputs(i ? "," : "", stdout);
        text_print_json(e->labels[i], strlen(e->labels[i]), stdout);
    }
    putchar(']');
}

static void json_aliases(const struct registry *r, const struct model_version_event *v)
{
    const struct model_version_event *e;
    fputs("\"aliases\":[", stdout);
    for (int i = 0, n = 0; (e = registry_at(r, i, NULL)); i++) {
        if (!means(e, v))
            continue;
        fputs(n++ ? "," : "", stdout);
        text_print_json(e->alias, strlen(e->alias), stdout);
    }
    fputs("],", stdout);
}

/* The whole record, and for a version the aliases that mean it. */
static void event_json(const struct registry *r, const struct workers *w, const char *key,
                       const struct model_version_event *e)
{
    putchar('{');
    json_text("key", key);
    printf(",\"event\":\"%s\",", version_event_name(e->event));
    json_text("event_id", e->event_id);
    putchar(',');
    json_text("model", e->model);
    printf(",\"version\":%lld,\"alias\":", (long long)e->version);
    if (*e->alias)
        text_print_json(e->alias, strlen(e->alias), stdout);
    else
        fputs("null", stdout);
    printf(",\"traffic\":%.9g,\"previous_version\":", e->traffic);
    printf(e->previous_version ? "%lld," : "null,", (long long)e->previous_version);
    if (!is_alias(e))
        json_aliases(r, e);
    if (w && !is_alias(e))
        workers_json(w, e);
    json_text("artifact_uri", e->artifact_uri);
    putchar(',');
    json_text("format", e->format);
    putchar(',');
    json_text("sha256", e->sha256);
    printf(",\"size_bytes\":%lld,", (long long)e->size_bytes);
    json_text("job_id", e->job_id);
    json_input(e);
    json_labels(e);
    json_lineage(e);
    json_metrics(e);
    json_pairs("tags", e->tags, e->tag_count);
    putchar(',');
    json_text("reason", e->reason);
    putchar(',');
    json_text("created_by", e->created_by);
    printf(",\"at\":%lld}", (long long)e->at);
}

static const char *metric_text(const struct model_version_event *e, const char *name, char out[32])
{
    strcpy(out, "-");
    for (int i = 0; i < e->metric_count; i++)
        if (strcmp(e->metrics[i].key, name) == 0 && isfinite(e->metrics[i].value))
            snprintf(out, 32, "%.4f", e->metrics[i].value);
    return out;
}

const char *models_age(int64_t at_ms, char out[32])
{
    long long s = (long long)((clock_ms() - at_ms) / 1000);
    if (at_ms <= 0 || s < 0)
        strcpy(out, "-");
    else if (s < 120)
        snprintf(out, 32, "%lld s", s);
    else if (s < 7200)
        snprintf(out, 32, "%lld min", s / 60);
    else if (s < 172800)
        snprintf(out, 32, "%lld h", s / 3600);
    else
        snprintf(out, 32, "%lld d", s / 86400);
    return out;
}

static void version_line(const struct registry *r, const struct model_version_event *e)
{
    char size[32], age[32], accuracy[32], loss[32], aliases[200], name[140];
    snprintf(name, sizeof name, "%s@%lld", e->model, (long long)e->version);
    printf("%-28s %-9s %8s %9s %9s  %-8s  %.12s  %s\n", name, version_event_name(e->event),
           metric_text(e, "val_accuracy", accuracy), metric_text(e, "val_loss", loss), size_text(e, size),
           models_age(e->at, age), e->sha256, aliases_of(r, e, aliases, sizeof aliases));
}

int models_list(const struct context *cx, struct fail *why)
{
    struct registry *r = NULL;
    const struct model_version_event *e;
    const char *key;
    const struct models_options *o = cx->options;
    struct workers *w = NULL;
    int shown = 0, rc = registry_load(&r, &cx->settings, cx->timeout_ms, why);
    if (!rc && o->workers)
        rc = workers_read(&w, cx, why);
    if (rc)
        goto out;
    for (int i = 0; (e = registry_at(r, i, &key)); i++) {
        if (!cx->json && is_alias(e))
            continue;
        if (cx->json)
            fputs(shown ? ",\n " : "[", stdout);
        else if (!shown)
            printf("%-28s %-9s %8s %9s %9s  %-8s  %-12s  %s\n", "VERSION", "STATE", "VAL_ACC", "VAL_LOSS",
                   "SIZE", "AGE", "SHA256", "ALIASES");
        if (cx->json)
            event_json(r, w, key, e);
        else
            version_line(r, e);
        shown++;
    }
    if (cx->json)
        puts(shown ? "]" : "[]");
    else if (!shown)
        fprintf(stderr,
                "there is no model yet: millrace train JOB.yaml or millrace models import FILE makes one\n");
    if (w && !cx->json)
        workers_print(w);
out:
    workers_free(&w);
    registry_free(&r);
    return rc;
}

/* "digits@2, digits@1": what it began with, and that with. A version began with an older one, so the chain ends. */
static void parents_text(const struct registry *r, const struct model_version_event *e)
{
    const char *before = "parents    ";
    int64_t below = e->version;
    for (const struct model_version_event *v = e; v && v->base_version > 0 && v->base_version < below;
         v = registry_version(r, e->model, below), before = ", ") {
        below = v->base_version;
        printf("%s%s@%lld", before, e->model, (long long)below);
    }
    if (below < e->version)
        putchar('\n');
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
    parents_text(r, e);
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
    if (*e->reason)
        printf("reason     %s\n", e->reason);
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
            event_json(r, NULL, key, e);
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
            event_json(r, NULL, key, v);
            putchar('\n');
        } else {
            version_text(r, v);
        }
    }
    registry_free(&r);
    return rc;
}
