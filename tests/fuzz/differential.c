/* See differential.h. Avro C knows the fields by the schema's names; ours are named here once more, so that a decoder that takes
 * one field for another is seen. */
#include "tests/fuzz/differential.h"

#include <avro.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Avro C's reading ---- */

static void same(bool yes, const char *name)
{
    if (yes)
        return;
    fprintf(stderr, "differential: %s is not what Avro C reads\n", name);
    abort();
}

/* One class a record type, made at first use and kept: parsing a schema takes longer than a record. */
static avro_value_iface_t *class_of(const char *type)
{
    static struct {
        const char *type;
        avro_value_iface_t *class;
    } known[8];
    int i = 0;
    while (known[i].type && strcmp(known[i].type, type) != 0)
        i++;
    if (!known[i].type) {
        const char *text = record_schema(record_type_find(type), 1);
        avro_schema_t schema;
        same(avro_schema_from_json_length(text, strlen(text), &schema) == 0, type);
        known[i].class = avro_generic_class_from_schema(schema);
        known[i].type = type;
    }
    return known[i].class;
}

static avro_value_t record_read(const char *type, struct span value)
{
    avro_value_t v = {0};
    avro_reader_t reader = avro_reader_memory(value.data, (int64_t)value.size);
    same(avro_generic_value_new(class_of(type), &v) == 0 && avro_value_read(reader, &v) == 0, type);
    avro_reader_free(reader);
    return v;
}

/* A field; of a union the branch that is there. */
static avro_value_t field(const avro_value_t *v, const char *name)
{
    avro_value_t f = {0}, branch = {0};
    same(avro_value_get_by_name(v, name, &f, NULL) == 0, name);
    if (avro_value_get_type(&f) != AVRO_UNION)
        return f;
    same(avro_value_get_current_branch(&f, &branch) == 0, name);
    return branch;
}

static bool is_null(const avro_value_t *v)
{
    return avro_value_get_type(v) == AVRO_NULL;
}

static int64_t number(const avro_value_t *v)
{
    int64_t l = 0;
    int32_t i = 0;
    int n = 0;
    switch (avro_value_get_type(v)) {
    case AVRO_INT64:
        avro_value_get_long(v, &l);
        return l;
    case AVRO_INT32:
        avro_value_get_int(v, &i);
        return i;
    case AVRO_BOOLEAN:
        avro_value_get_boolean(v, &n);
        return n;
    case AVRO_ENUM:
        avro_value_get_enum(v, &n);
        return n;
    default:
        return 0; /* null */
    }
}

static struct span bytes_of(const avro_value_t *v)
{
    const void *data = "";
    const char *text = "";
    size_t size = 0;
    if (avro_value_get_type(v) == AVRO_BYTES) {
        avro_value_get_bytes(v, &data, &size);
        return (struct span){data, size};
    }
    if (!is_null(v)) {
        avro_value_get_string(v, &text, &size);
        size--; /* the 0 behind it */
    }
    return (struct span){text, size};
}

static size_t count_of(const avro_value_t *v)
{
    size_t n = 0;
    if (!is_null(v))
        avro_value_get_size(v, &n);
    return n;
}

static avro_value_t item(const avro_value_t *v, size_t i)
{
    avro_value_t piece = {0};
    same(avro_value_get_by_index(v, i, &piece, NULL) == 0, "an item");
    return piece;
}

/* ---- comparing ---- */

static bool spans_equal(struct span a, struct span b)
{
    return a.size == b.size && (!a.size || memcmp(a.data, b.data, a.size) == 0);
}

static bool reals_equal(double a, double b)
{
    return isnan(a) ? isnan(b) : memcmp(&a, &b, sizeof a) == 0;
}

static void same_span(const avro_value_t *v, const char *name, struct span ours)
{
    avro_value_t f = field(v, name);
    same(spans_equal(bytes_of(&f), ours), name);
}

static void same_text(const avro_value_t *v, const char *name, const char *ours)
{
    same_span(v, name, text_span(ours));
}

static void same_number(const avro_value_t *v, const char *name, int64_t ours)
{
    avro_value_t f = field(v, name);
    same(number(&f) == ours, name);
}

/* null is NAN. */
static void same_real(const avro_value_t *v, const char *name, double ours)
{
    avro_value_t f = field(v, name);
    double theirs = NAN;
    if (!is_null(&f))
        avro_value_get_double(&f, &theirs);
    same(reals_equal(theirs, ours), name);
}

static void same_strings(const avro_value_t *v, const char *name, struct list ours)
{
    avro_value_t f = field(v, name);
    size_t n = count_of(&f);
    struct span s;
    same((int64_t)n == ours.count, name);
    for (size_t i = 0; i < n; i++) {
        avro_value_t piece = item(&f, i);
        bool is_bytes = avro_value_get_type(&piece) == AVRO_BYTES;
        same(is_bytes ? list_next_bytes(&ours, &s) : list_next_string(&ours, &s), name);
        same(spans_equal(bytes_of(&piece), s), name);
    }
}

static void same_tensor(const avro_value_t *v, const struct tensor_view *ours, bool with_data)
{
    same_span(v, "name", ours->name);
    same_number(v, "dtype", (int64_t)ours->dtype);
    avro_value_t shape = field(v, "shape");
    same(count_of(&shape) == (size_t)ours->shape.rank, "shape");
    for (int i = 0; i < ours->shape.rank; i++) {
        avro_value_t d = item(&shape, (size_t)i);
        same(number(&d) == ours->shape.dim[i], "shape");
    }
    if (with_data)
        same_span(v, "data", ours->data);
}

static void same_images(const avro_value_t *v, struct list ours)
{
    avro_value_t images = field(v, "images");
    if (is_null(&images))
        same(ours.count == 0, "images");
    else
        same_strings(&images, "images", ours);
}

static void same_labels(const avro_value_t *v, const char *const *ours, int count)
{
    avro_value_t f = field(v, "labels");
    same(count_of(&f) == (size_t)count, "labels");
    for (int i = 0; i < count; i++) {
        avro_value_t piece = item(&f, (size_t)i);
        same(spans_equal(bytes_of(&piece), text_span(ours[i])), "labels");
    }
}

static void same_ranges(const avro_value_t *v, const struct offset_range *ours, int count)
{
    avro_value_t f = field(v, "dataset");
    same(count_of(&f) == (size_t)count, "dataset");
    for (int i = 0; i < count; i++) {
        avro_value_t piece = item(&f, (size_t)i);
        same_text(&piece, "topic", ours[i].topic);
        same_number(&piece, "partition", ours[i].partition);
        same_number(&piece, "start_offset", ours[i].start_offset);
        same_number(&piece, "end_offset", ours[i].end_offset);
    }
}

/* Avro C keeps the last of a key that comes twice, ours keeps all. */
static void same_pairs(const avro_value_t *v, const char *name, const struct text_pair *ours, int count)
{
    avro_value_t map = field(v, name), value = {0};
    same(count_of(&map) <= (size_t)count, name);
    for (int i = 0; i < count; i++) {
        int last = i;
        for (int k = i + 1; k < count; k++)
            last = strcmp(ours[k].key, ours[i].key) == 0 ? k : last;
        same(avro_value_get_by_name(&map, ours[i].key, &value, NULL) == 0, name);
        same(spans_equal(bytes_of(&value), text_span(ours[last].value)), name);
    }
}

static void same_metrics(const avro_value_t *v, const struct number_pair *ours, int count)
{
    avro_value_t map = field(v, "metrics"), value = {0};
    double theirs;
    same(count_of(&map) <= (size_t)count, "metrics");
    for (int i = 0; i < count; i++) {
        int last = i;
        for (int k = i + 1; k < count; k++)
            last = strcmp(ours[k].key, ours[i].key) == 0 ? k : last;
        same(avro_value_get_by_name(&map, ours[i].key, &value, NULL) == 0, "metrics");
        avro_value_get_double(&value, &theirs);
        same(reals_equal(theirs, ours[last].value), "metrics");
    }
}

static void same_floats(const avro_value_t *v, const char *name, const float *ours, int count)
{
    avro_value_t f = field(v, name);
    same(count_of(&f) == (size_t)count, name);
    for (int i = 0; i < count; i++) {
        avro_value_t piece = item(&f, (size_t)i);
        float theirs = 0;
        avro_value_get_float(&piece, &theirs);
        same(reals_equal((double)theirs, (double)ours[i]), name);
    }
}

/* ---- record types ---- */

void differential_inference(struct span value, const struct inference *q)
{
    avro_value_t v = record_read("InferenceBatch", value);
    avro_value_t tensors = field(&v, "tensors"), external = field(&v, "external");
    same_span(&v, "id", q->id);
    same_span(&v, "model", q->model);
    same(q->kind == PAYLOAD_TENSOR ? count_of(&tensors) == 1 : count_of(&tensors) == 0, "tensors");
    if (q->kind == PAYLOAD_TENSOR) {
        avro_value_t t = item(&tensors, 0);
        same_tensor(&t, &q->tensor, true);
        same(q->rows == q->tensor.shape.dim[0], "rows");
    }
    same_images(&v, q->images);
    same(is_null(&external) == (q->kind != PAYLOAD_EXTERNAL), "external");
    if (!is_null(&external)) {
        same_span(&external, "uri", q->external_uri);
        same_span(&external, "sha256", q->external_sha256);
    }
    same_strings(&v, "row_ids", q->row_ids);
    same_number(&v, "created_at", q->created_at);
    avro_value_t deadline = field(&v, "deadline_at"); /* one before 1970 has passed, and 0 is none: it is 1 */
    same(q->deadline_at == (is_null(&deadline)      ? 0
                            : number(&deadline) < 1 ? 1
                                                    : number(&deadline)),
         "deadline_at");
    same_number(&v, "top_k", q->top_k);
    same_number(&v, "return_outputs", q->return_outputs);
    same_number(&v, "explain", q->explain);
    avro_value_decref(&v);
}

void differential_sample(struct span value, const struct sample *s)
{
    avro_value_t v = record_read("Sample", value);
    avro_value_t tensors = field(&v, "tensors"), labels = field(&v, "labels"), targets = field(&v, "targets");
    struct list ours = s->labels;
    int32_t label = 0;
    same(s->kind == PAYLOAD_TENSOR ? count_of(&tensors) == 1 : count_of(&tensors) == 0, "tensors");
    if (s->kind == PAYLOAD_TENSOR) {
        avro_value_t t = item(&tensors, 0);
        same_tensor(&t, &s->tensor, true);
    }
    same_images(&v, s->images);
    same(count_of(&labels) == (size_t)ours.count, "labels");
    for (size_t i = 0; list_next_int(&ours, &label); i++) {
        avro_value_t theirs = item(&labels, i);
        same(number(&theirs) == label, "labels");
    }
    same(is_null(&targets) == !s->has_targets, "targets");
    if (s->has_targets)
        same_tensor(&targets, &s->targets, true);
    same_strings(&v, "row_ids", s->row_ids);
    avro_value_decref(&v);
}

void differential_training_job(struct span value, const struct training_job *j)
{
    avro_value_t v = record_read("TrainingJob", value);
    avro_value_t stopping = field(&v, "stopping"), promote = field(&v, "promote");
    same_text(&v, "job_id", j->job_id);
    same_number(&v, "action", (int64_t)j->action);
    same_text(&v, "model", j->model);
    same_number(&v, "base_version", j->base_version);
    same_text(&v, "network", j->network);
    same_ranges(&v, j->dataset, j->dataset_count);
    same_real(&v, "validation_rate", j->validation_rate);
    same_real(&v, "test_rate", j->test_rate);
    same_text(&v, "artifact_uri", j->artifact_uri);
    same_text(&v, "sha256", j->sha256);
    same_labels(&v, j->labels, j->label_count);
    same_number(&v, "loss", (int64_t)j->loss);
    same_pairs(&v, "hyperparameters", j->hyperparameters, j->hyperparameter_count);
    same_number(&stopping, "max_runtime_s", j->max_runtime_s);
    same_number(&stopping, "patience", j->patience);
    same_real(&stopping, "min_delta", j->min_delta);
    same_number(&v, "checkpoint_every", j->checkpoint_every);
    same_text(&promote, "metric", j->promote_metric);
    same_number(&promote, "minimize", j->promote_minimize);
    same_real(&promote, "min_improvement", j->promote_min_improvement);
    same_number(&promote, "automatic", j->promote_automatic);
    same_text(&v, "requested_by", j->requested_by);
    same_number(&v, "created_at", j->created_at);
    avro_value_decref(&v);
}

void differential_loss_metric(struct span value, const struct loss_metric *m)
{
    avro_value_t v = record_read("LossMetric", value);
    same_text(&v, "job_id", m->job_id);
    same_text(&v, "model", m->model);
    same_number(&v, "sequence", m->sequence);
    same_number(&v, "state", (int64_t)m->state);
    same_number(&v, "epoch", m->epoch);
    same_number(&v, "step", m->step);
    same_number(&v, "total_steps", m->total_steps);
    same_real(&v, "loss", m->loss);
    same_real(&v, "accuracy", m->accuracy);
    same_real(&v, "val_loss", m->val_loss);
    same_real(&v, "val_accuracy", m->val_accuracy);
    same_real(&v, "learning_rate", m->learning_rate);
    same_real(&v, "samples_per_second", m->samples_per_second);
    same_metrics(&v, m->metrics, m->metric_count);
    same_text(&v, "failure_reason", m->failure_reason);
    same_text(&v, "worker", m->worker);
    same_number(&v, "at", m->at);
    avro_value_decref(&v);
}

void differential_job_checkpoint(struct span value, const struct job_checkpoint *c)
{
    avro_value_t v = record_read("JobCheckpoint", value);
    same_text(&v, "job_id", c->job_id);
    same_text(&v, "model", c->model);
    same_number(&v, "state", (int64_t)c->state);
    same_number(&v, "epoch", c->epoch);
    same_number(&v, "step", c->step);
    same_number(&v, "total_steps", c->total_steps);
    same_number(&v, "sequence", c->sequence);
    same_text(&v, "artifact_uri", c->artifact_uri);
    same_text(&v, "sha256", c->sha256);
    same_number(&v, "version", c->version);
    same_text(&v, "failure_reason", c->failure_reason);
    same_text(&v, "worker", c->worker);
    same_number(&v, "at", c->at);
    avro_value_decref(&v);
}

void differential_model_version_event(struct span value, const struct model_version_event *e)
{
    avro_value_t v = record_read("ModelVersionEvent", value);
    avro_value_t input = field(&v, "input");
    same_text(&v, "event_id", e->event_id);
    same_number(&v, "event", (int64_t)e->event);
    same_text(&v, "model", e->model);
    same_number(&v, "version", e->version);
    same_text(&v, "alias", e->alias);
    same_real(&v, "traffic", e->traffic);
    same_number(&v, "previous_version", e->previous_version);
    same_text(&v, "artifact_uri", e->artifact_uri);
    same_text(&v, "format", e->format);
    same_text(&v, "sha256", e->sha256);
    same_number(&v, "size_bytes", e->size_bytes);
    same(is_null(&input) == !e->has_input, "input");
    if (e->has_input) {
        avro_value_t shape = field(&input, "shape");
        same(count_of(&shape) == (size_t)e->input_rank, "input.shape");
        for (int i = 0; i < e->input_rank; i++) {
            avro_value_t d = item(&shape, (size_t)i);
            same(number(&d) == e->input_shape[i], "input.shape");
        }
        same_floats(&input, "mean", e->mean, e->mean_count);
        same_floats(&input, "std", e->std, e->std_count);
    }
    same_labels(&v, e->labels, e->label_count);
    same_text(&v, "job_id", e->job_id);
    same_number(&v, "base_version", e->base_version);
    same_ranges(&v, e->dataset, e->dataset_count);
    same_text(&v, "dataset_sha256", e->dataset_sha256);
    same_pairs(&v, "hyperparameters", e->hyperparameters, e->hyperparameter_count);
    same_metrics(&v, e->metrics, e->metric_count);
    same_text(&v, "reason", e->reason);
    same_text(&v, "created_by", e->created_by);
    same_pairs(&v, "tags", e->tags, e->tag_count);
    same_number(&v, "at", e->at);
    avro_value_decref(&v);
}
