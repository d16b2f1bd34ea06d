/* Job files: YAML to struct training_job, and offset ranges as words to ranges as numbers. What may stand in
 * a job is job.c's affair. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/rng.h"
#include "worker/stream/reader.h"
#include "worker/train/job.h"

struct file_values {
    char *model, *network, *metric;
    int64_t base_version, checkpoint_every, max_runtime_s, patience;
    double validation_rate, test_rate, min_delta, min_improvement;
    int loss;
    bool automatic, minimize;
};

#define AT(field) offsetof(struct file_values, field)
const struct setting job_file_keys[] = {
    {"model", SETTING_STRING, AT(model), NULL, 1, 100, NULL, "the model that gets a version", false},
    {"network", SETTING_STRING, AT(network), "", 0, 0, NULL, "a shipped network, a file, or YAML text",
     false},
    {"base_version", SETTING_INT, AT(base_version), "0", 0, 9e15, NULL, "start from these weights", false},
    {"validation_rate", SETTING_REAL, AT(validation_rate), "0.1", 0, 1, NULL, "share of rows held out",
     false},
    {"test_rate", SETTING_REAL, AT(test_rate), "0", 0, 1, NULL, "share of rows for the last test", false},
    {"loss", SETTING_CHOICE, AT(loss), "cross_entropy", 0, 0, "cross_entropy|mse|log_loss", "what is lowered",
     false},
    {"checkpoint_every", SETTING_INT, AT(checkpoint_every), "0", 0, 2e9, NULL, "steps; 0: an epoch", false},
    {"promote.metric", SETTING_STRING, AT(metric), "val_accuracy", 1, 100, NULL, "what decides", false},
    {"promote.minimize", SETTING_BOOL, AT(minimize), "false", 0, 0, NULL, "lower is better", false},
    {"promote.min_improvement", SETTING_REAL, AT(min_improvement), "0", 0, 1e9, NULL, "over the champion",
     false},
    {"promote.automatic", SETTING_BOOL, AT(automatic), "false", 0, 0, NULL, "promote when better", false},
    {"stopping.max_runtime_s", SETTING_INT, AT(max_runtime_s), "0", 0, 9e15, NULL, "0: no limit", false},
    {"stopping.patience", SETTING_INT, AT(patience), "0", 0, 2e9, NULL, "epochs without a better val_loss",
     false},
    {"stopping.min_delta", SETTING_REAL, AT(min_delta), "0", 0, 1e9, NULL, "what counts as better", false},
    {0},
};

struct job_file {
    const struct yaml_doc *doc;
    const char *path;
    struct region *mem;
    struct training_job *job;
    struct file_values values;
};

static int memory(struct fail *why)
{
    return fail(why, E_MEMORY, "job file: no memory");
}

static const char *place(const struct job_file *f, const struct yaml_node *n, char out[300])
{
    snprintf(out, 300, "%.200s:%d:%d", f->path, yaml_line(n), yaml_column(n));
    return out;
}

static int offset_parse(const struct job_file *f, const struct yaml_node *n, const char *key,
                        int64_t fallback, int64_t *out, struct fail *why)
{
    const struct yaml_node *v = yaml_get(n, key);
    const char *text = v ? yaml_scalar(v) : NULL;
    char *end;
    *out = fallback;
    if (!v)
        return 0;
    if (text && strcmp(text, "earliest") == 0)
        *out = READER_BEGINNING;
    else if (text && strcmp(text, "latest") == 0)
        *out = READER_END;
    else if (!text || *text < '0' || *text > '9' || (*out = strtoll(text, &end, 10)) < 0 || *end)
        return yaml_fail(f->doc, v, why, "%s: earliest, latest or an offset is expected, not \"%.40s\"", key,
                         text ? text : "a list");
    return 0;
}

static int range_keys_check(const struct job_file *f, const struct yaml_node *n, struct fail *why)
{
    static const char *const known[] = {"topic", "partition", "start_offset", "end_offset"};
    if (yaml_kind(n) != YAML_MAPPING)
        return yaml_fail(f->doc, n, why, "a range {topic, partition, start_offset, end_offset} is expected");
    for (int i = 0; i < yaml_count(n); i++) {
        int k = 0;
        while (k < 4 && strcmp(known[k], yaml_key(n, i)) != 0)
            k++;
        if (k == 4)
            return yaml_fail(f->doc, yaml_item(n, i), why,
                             "%.60s: a range has topic, partition, start_offset and end_offset",
                             yaml_key(n, i));
    }
    return 0;
}

static int range_read(const struct job_file *f, const struct yaml_node *n, struct offset_range *r,
                      struct fail *why)
{
    int64_t partition;
    int rc = range_keys_check(f, n, why);
    if (rc)
        return rc;
    const struct yaml_node *topic = yaml_get(n, "topic");
    if (!topic || !yaml_scalar(topic) || !*yaml_scalar(topic))
        return yaml_fail(f->doc, n, why, "topic: a topic's name is expected");
    r->topic = region_copy(f->mem, yaml_scalar(topic), strlen(yaml_scalar(topic)));
    if (!r->topic)
        return memory(why);
    if ((rc = offset_parse(f, n, "start_offset", READER_BEGINNING, &r->start_offset, why)) ||
        (rc = offset_parse(f, n, "end_offset", READER_END, &r->end_offset, why)) ||
        (rc = offset_parse(f, n, "partition", JOB_ALL_PARTITIONS, &partition, why)))
        return rc;
    if (r->end_offset == READER_BEGINNING)
        return yaml_fail(f->doc, n, why, "end_offset: latest or an offset is expected");
    if (partition < JOB_ALL_PARTITIONS || partition > INT32_MAX)
        return yaml_fail(f->doc, n, why, "partition: a number is expected");
    r->partition = (int32_t)partition;
    return 0;
}

static int ranges_read(struct job_file *f, const struct yaml_node *n, struct fail *why)
{
    if (yaml_kind(n) != YAML_LIST)
        return yaml_fail(f->doc, n, why, "a list of ranges is expected: [{topic: millrace.samples}]");
    int count = yaml_count(n), rc = 0;
    f->job->dataset = region_zalloc(f->mem, sizeof *f->job->dataset * (size_t)(count + 1));
    if (!f->job->dataset)
        return memory(why);
    for (int i = 0; !rc && i < count; i++)
        rc = range_read(f, yaml_item(n, i), &f->job->dataset[i], why);
    f->job->dataset_count = count;
    return rc;
}

static int labels_read(struct job_file *f, const struct yaml_node *n, struct fail *why)
{
    if (yaml_kind(n) != YAML_LIST)
        return yaml_fail(f->doc, n, why, "labels: a list of names is expected");
    f->job->labels = region_zalloc(f->mem, sizeof *f->job->labels * (size_t)(yaml_count(n) + 1));
    if (!f->job->labels)
        return memory(why);
    for (int i = 0; i < yaml_count(n); i++) {
        const char *text = yaml_scalar(yaml_item(n, i));
        if (!text)
            return yaml_fail(f->doc, yaml_item(n, i), why, "labels: a name is expected");
        if (!(f->job->labels[i] = region_copy(f->mem, text, strlen(text))))
            return memory(why);
    }
    f->job->label_count = yaml_count(n);
    return 0;
}

/* A scalar, or a list of them as "a, b". NULL: neither. */
static const char *value_text(struct job_file *f, const struct yaml_node *n)
{
    if (yaml_scalar(n))
        return region_copy(f->mem, yaml_scalar(n), strlen(yaml_scalar(n)));
    const char *text = yaml_kind(n) == YAML_LIST ? "" : NULL;
    for (int i = 0; text && i < yaml_count(n); i++) {
        const char *item = yaml_scalar(yaml_item(n, i));
        text = item ? region_format(f->mem, "%s%s%s", text, *text ? ", " : "", item) : NULL;
    }
    return text;
}

static int hyperparameters_read(struct job_file *f, const struct yaml_node *n, struct fail *why)
{
    struct training_job *job = f->job;
    struct job_settings parsed;
    char where[300];
    int rc = 0;
    if (yaml_kind(n) != YAML_MAPPING)
        return yaml_fail(f->doc, n, why, "hyperparameters: {name: value} is expected");
    job->hyperparameters = region_zalloc(f->mem, sizeof *job->hyperparameters * (size_t)(yaml_count(n) + 1));
    if (!job->hyperparameters)
        return memory(why);
    for (int i = 0; !rc && i < yaml_count(n); i++) {
        struct text_pair *p = &job->hyperparameters[i];
        p->key = region_copy(f->mem, yaml_key(n, i), strlen(yaml_key(n, i)));
        p->value = value_text(f, yaml_item(n, i));
        if (!p->key || !p->value)
            return yaml_fail(f->doc, yaml_item(n, i), why, "%.60s: a value is expected", yaml_key(n, i));
        rc = job_setting_check(p, place(f, yaml_item(n, i), where), why);
    }
    job->hyperparameter_count = yaml_count(n);
    return rc ? rc
              : job_settings_parse(&parsed, job->hyperparameters, job->hyperparameter_count,
                                   place(f, n, where), why);
}

static int node_read(struct job_file *f, const char *key, const struct yaml_node *n, struct fail *why);

static int nested_read(struct job_file *f, const char *key, const struct yaml_node *n, struct fail *why)
{
    int rc = 0;
    for (int i = 0; !rc && i < yaml_count(n); i++) {
        char nested[200];
        snprintf(nested, sizeof nested, "%.90s.%.90s", key, yaml_key(n, i));
        rc = node_read(f, nested, yaml_item(n, i), why);
    }
    return rc;
}

static int node_read(struct job_file *f, const char *key, const struct yaml_node *n, struct fail *why)
{
    char where[300];
    if (strcmp(key, "dataset") == 0)
        return ranges_read(f, n, why);
    if (strcmp(key, "labels") == 0)
        return labels_read(f, n, why);
    if (strcmp(key, "hyperparameters") == 0)
        return hyperparameters_read(f, n, why);
    if (yaml_kind(n) == YAML_MAPPING && (strcmp(key, "promote") == 0 || strcmp(key, "stopping") == 0))
        return nested_read(f, key, n, why);
    if (!yaml_scalar(n))
        return yaml_fail(f->doc, n, why, "%.100s: one value is expected here", key);
    return setting_set(job_file_keys, &f->values, key, yaml_scalar(n), place(f, n, where), why);
}

/* A path is replaced by the text behind it: the worker may be on another machine. */
static const char *network_text(struct job_file *f, const char *network, struct fail *why)
{
    size_t n = strlen(network);
    bool path =
        !strchr(network, '\n') && (strchr(network, '/') || (n > 5 && strcmp(network + n - 5, ".yaml") == 0));
    if (!path)
        return region_copy(f->mem, network, n);
    FILE *in = fopen(network, "r");
    char *text = in ? region_alloc(f->mem, 65536 + 2) : NULL;
    if (!text) {
        fail(why, E_CONFIG, "%s: network: cannot open %.200s", f->path, network);
        goto out;
    }
    size_t got = fread(text, 1, 65536 + 1, in);
    if (got > 65536 || ferror(in)) {
        fail(why, E_CONFIG, "%s: network: %.200s is longer than 64 KiB or cannot be read", f->path, network);
        text = NULL;
        goto out;
    }
    memcpy(text + got, "\n", 2);
    text[got + 1] = 0;
out:
    if (in)
        fclose(in);
    return text;
}

static int values_take(struct job_file *f, struct fail *why)
{
    struct training_job *job = f->job;
    const struct file_values *v = &f->values;
    if (!*v->model)
        return fail(why, E_CONFIG, "%s: model: the model's name is missing", f->path);
    job->model = region_copy(f->mem, v->model, strlen(v->model));
    job->promote_metric = region_copy(f->mem, v->metric, strlen(v->metric));
    if (!job->model || !job->promote_metric)
        return memory(why);
    if (!(job->network = network_text(f, v->network, why)))
        return -E_CONFIG;
    job->base_version = v->base_version;
    job->validation_rate = v->validation_rate;
    job->test_rate = v->test_rate;
    job->loss = (enum job_loss)(v->loss + LOSS_CROSS_ENTROPY);
    job->checkpoint_every = (int32_t)v->checkpoint_every;
    job->max_runtime_s = v->max_runtime_s;
    job->patience = (int32_t)v->patience;
    job->min_delta = v->min_delta;
    job->promote_minimize = v->minimize;
    job->promote_automatic = v->automatic;
    job->promote_min_improvement = v->min_improvement;
    return 0;
}

int job_file_read(struct training_job *out, const char *path, struct region *mem, struct fail *why)
{
    struct yaml_doc *doc = NULL;
    *out = (struct training_job){
        .job_id = "", .action = ACTION_TRAIN, .artifact_uri = "", .sha256 = "", .requested_by = ""};
    struct job_file f = {.path = path, .mem = mem, .job = out};
    int rc = setting_defaults(job_file_keys, &f.values, why);
    if (!rc)
        rc = yaml_read(&doc, path, true, why);
    if (rc)
        goto out;
    f.doc = doc;
    const struct yaml_node *root = yaml_root(doc);
    if (!root || yaml_kind(root) != YAML_MAPPING) {
        rc = fail(why, E_CONFIG, "%s: a mapping is expected: model, network, dataset, hyperparameters...",
                  path);
        goto out;
    }
    for (int i = 0; !rc && i < yaml_count(root); i++)
        rc = node_read(&f, yaml_key(root, i), yaml_item(root, i), why);
    if (!rc)
        rc = values_take(&f, why);
out:
    yaml_doc_free(&doc);
    setting_free(job_file_keys, &f.values);
    return rc;
}

int job_ranges_read(struct training_job *job, const char *path, struct region *mem, struct fail *why)
{
    struct yaml_doc *doc = NULL;
    struct job_file f = {.path = path, .mem = mem, .job = job};
    int rc = yaml_read(&doc, path, false, why); /* JSON is YAML */
    if (rc)
        return rc;
    f.doc = doc;
    rc = yaml_root(doc) ? ranges_read(&f, yaml_root(doc), why)
                        : fail(why, E_CONFIG, "%s: a list of ranges is expected", path);
    yaml_doc_free(&doc);
    return rc;
}

const char *job_id_make(const char *model, struct region *mem)
{
    struct timespec t;
    struct tm utc;
    char at[32];
    clock_gettime(CLOCK_REALTIME, &t);
    gmtime_r(&t.tv_sec, &utc);
    strftime(at, sizeof at, "%Y%m%dT%H%M%S", &utc);
    uint64_t noise = rng_hash((uint64_t)t.tv_nsec, (uint64_t)t.tv_sec, (uint64_t)getpid(), 0);
    return region_format(mem, "%s-%s-%06x", model, at, (unsigned)(noise & 0xffffff));
}
