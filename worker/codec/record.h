/* The record types as C structs, decoded from and encoded to Avro binary.
 *
 * Decoding borrows: spans point into the record's bytes (or, where said, into the region given). Everything
 * from outside is checked before use: lengths against what remains, products for overflow, enums, unions,
 * UTF-8, depth, and that the record ends exactly at its end. Errors are RECORD codes (fail.h) whose text says
 * where: "tensors[0].shape: ...". Encoding appends to a struct bytes. Threads: every function here is pure
 * but for its arguments. */
#ifndef WORKER_CODEC_RECORD_H
#define WORKER_CODEC_RECORD_H

#include <string.h>

#include "engine/tensor.h"
#include "worker/service/region.h"

struct span {
    const char *data; /* not 0-terminated; NULL only where "null" is said */
    size_t size;
};

/* Of a 0-terminated text; NULL gives null. */
static inline struct span text_span(const char *text)
{
    return (struct span){text, text ? strlen(text) : 0};
}

/* A growing buffer for encoding. Zeroed is valid and empty. */
struct bytes {
    unsigned char *data;
    size_t size, capacity;
    bool failed; /* out of memory: everything after is ignored; checked once at the end */
};

void bytes_free(struct bytes *b);

/* A list of strings or of ints still in its encoded form; read with list_next_*. */
struct list {
    const unsigned char *at, *end;
    int64_t left_in_block;
    int64_t count; /* items in all */
};

bool list_next_string(struct list *l, struct span *out); /* false: no more */
bool list_next_int(struct list *l, int32_t *out);
bool list_next_bytes(struct list *l, struct span *out);

struct tensor_view {
    struct span name;
    enum dtype dtype;
    struct shape shape;
    struct span data; /* exactly shape_size * dtype_size bytes */
};

enum payload_kind { PAYLOAD_TENSOR, PAYLOAD_IMAGES, PAYLOAD_EXTERNAL };

/* ---- InferenceBatch and Sample: the hot path, no allocation ---- */

struct inference {
    struct span id, model;
    enum payload_kind kind;
    struct tensor_view tensor;                 /* the only one; a second is bad_request in this version */
    struct list images;                        /* of bytes */
    struct span external_uri, external_sha256; /* external: tensor has dtype and shape, data is empty */
    int64_t rows;                              /* shape.dim[0], or the number of images */
    struct list row_ids;                       /* count is 0 or rows */
    int64_t created_at, deadline_at;           /* ms; deadline 0: none */
    int32_t top_k;                             /* >= 0 */
    bool return_outputs, explain;
};

int inference_decode(struct inference *out, struct span value, struct fail *why);

struct sample {
    enum payload_kind kind; /* TENSOR or IMAGES */
    struct tensor_view tensor;
    struct list images;
    int64_t rows;
    struct list labels; /* of int; count is 0 or rows */
    bool has_targets;
    struct tensor_view targets; /* first dimension is rows */
    struct list row_ids;
};

int sample_decode(struct sample *out, struct span value, struct fail *why);

/* ---- encoding them, for `send` ---- */
struct inference_head {
    struct span id, model;
    int64_t created_at, deadline_at;
    int32_t top_k;
    bool return_outputs, explain;
};

/* One tensor; row_ids NULL: none, else tensor->shape.dim[0] of them. */
void inference_encode(struct bytes *to, const struct inference_head *head, const struct tensor_view *tensor,
                      const struct span *row_ids);
void inference_encode_images(struct bytes *to, const struct inference_head *head, const struct span *images,
                             int count, const struct span *row_ids);
/* labels NULL: none, else rows; targets NULL: none. */
void sample_encode(struct bytes *to, const struct tensor_view *tensor, const int32_t *labels,
                   const struct tensor_view *targets);
/* Encoded images, each with its label. */
void sample_encode_images(struct bytes *to, const struct span *images, int count, const int32_t *labels);

/* ---- Prediction: encoded row by row, straight into the output's bytes ---- */

enum row_status { ROW_UNKNOWN, ROW_OK, ROW_BAD_INPUT, ROW_EXPIRED };

struct class_score {
    int32_t label;
    float score;
};

struct prediction_row {
    struct span id; /* data NULL: null */
    enum row_status status;
    int32_t label;
    float score;
    const struct class_score *top_k;
    int top_k_count;
    const char *error; /* NULL: null */
};

struct prediction_tail {
    const struct tensor_view *outputs, *saliency; /* NULL: none */
    struct span weights_sha256, variant, worker;
    int64_t supersedes; /* 0: null */
    int64_t produced_at, queue_us, compute_us;
};

void prediction_begin(struct bytes *to, struct span id, struct span model, int64_t version, int64_t rows);
void prediction_row(struct bytes *to, const struct prediction_row *row);
void prediction_end(struct bytes *to, int64_t rows, const struct prediction_tail *tail);
/* Reads back what a file of tensors wants: the first output tensor and the saliency map (views; no shape: there is none),
 * the number of rows and their statuses, as many as `capacity` holds. */
int prediction_read_tensors(struct span value, struct tensor_view *outputs, struct tensor_view *saliency,
                            uint8_t *statuses, int64_t capacity, int64_t *rows, struct fail *why);

struct prediction_head {
    struct span model, worker;
    int64_t version, supersedes; /* supersedes 0: null */
    int64_t produced_at;
};
/* Which version answered, whose answer it replaced, who wrote it and when. */
int prediction_read_head(struct span value, struct prediction_head *out, struct fail *why);

/* ---- control records: decoded into a region, strings 0-terminated and never NULL ---- */

struct text_pair {
    const char *key, *value;
};

struct number_pair {
    const char *key;
    double value;
};

struct offset_range {
    const char *topic;
    int32_t partition;
    int64_t start_offset, end_offset; /* half open */
};

enum job_action { ACTION_UNKNOWN, ACTION_TRAIN, ACTION_STOP, ACTION_IMPORT };
enum job_loss { LOSS_UNKNOWN, LOSS_CROSS_ENTROPY, LOSS_MSE, LOSS_LOG_LOSS };
enum job_state {
    JOB_UNKNOWN,
    JOB_STARTING,
    JOB_DOWNLOADING,
    JOB_TRAINING,
    JOB_INTERRUPTED,
    JOB_RESTARTING,
    JOB_UPLOADING,
    JOB_COMPLETED,
    JOB_FAILED,
    JOB_STOPPED
};

bool job_state_terminal(enum job_state s); /* COMPLETED, FAILED, STOPPED */
const char *job_state_name(enum job_state s);
const char *job_action_name(enum job_action a);

struct training_job {
    const char *job_id;
    enum job_action action;
    const char *model;
    int64_t base_version; /* 0: null */
    const char *network;  /* a name, or YAML text (it holds a newline) */
    struct offset_range *dataset;
    int dataset_count;
    double validation_rate, test_rate;
    const char *artifact_uri, *sha256;
    const char **labels;
    int label_count;
    enum job_loss loss;
    struct text_pair *hyperparameters;
    int hyperparameter_count;
    int64_t max_runtime_s;
    int32_t patience;
    double min_delta;
    int32_t checkpoint_every;
    const char *promote_metric;
    bool promote_minimize, promote_automatic;
    double promote_min_improvement;
    const char *requested_by;
    int64_t created_at;
};

/* A double that may be null: NAN is written as null and null is read as NAN. */
struct loss_metric {
    const char *job_id, *model;
    int64_t sequence;
    enum job_state state;
    int32_t epoch;
    int64_t step, total_steps;
    double loss, accuracy, val_loss, val_accuracy, learning_rate, samples_per_second; /* NAN: null */
    struct number_pair *metrics;
    int metric_count;
    const char *failure_reason; /* "": null */
    const char *worker;
    int64_t at;
};

struct job_checkpoint {
    const char *job_id, *model;
    enum job_state state;
    int32_t epoch;
    int64_t step, total_steps, sequence;
    const char *artifact_uri, *sha256;
    int64_t version;
    const char *failure_reason; /* "": null */
    const char *worker;
    int64_t at;
};

enum version_event {
    EVENT_UNKNOWN,
    EVENT_CREATED,
    EVENT_APPROVED,
    EVENT_REJECTED,
    EVENT_PROMOTED,
    EVENT_ROLLED_BACK,
    EVENT_RETIRED
};
const char *version_event_name(enum version_event e);

struct model_version_event {
    const char *event_id;
    enum version_event event;
    const char *model;
    int64_t version;
    const char *alias; /* "": null */
    double traffic;
    int64_t previous_version; /* 0: null */
    const char *artifact_uri, *format, *sha256;
    int64_t size_bytes;
    bool has_input;
    int64_t input_shape[SHAPE_DIMS]; /* C, H, W */
    int input_rank;
    float mean[16], std[16];
    int mean_count, std_count;
    const char **labels;
    int label_count;
    const char *job_id;   /* "": null */
    int64_t base_version; /* 0: null */
    struct offset_range *dataset;
    int dataset_count;
    const char *dataset_sha256;
    struct text_pair *hyperparameters;
    int hyperparameter_count;
    struct number_pair *metrics;
    int metric_count;
    const char *reason, *created_by;
    struct text_pair *tags;
    int tag_count;
    int64_t at;
};

/* Decoders set every field, defaults of the schema included. */
int training_job_decode(struct training_job *out, struct span value, struct region *mem, struct fail *why);
int loss_metric_decode(struct loss_metric *out, struct span value, struct region *mem, struct fail *why);
int job_checkpoint_decode(struct job_checkpoint *out, struct span value, struct region *mem,
                          struct fail *why);
int model_version_event_decode(struct model_version_event *out, struct span value, struct region *mem,
                               struct fail *why);
void training_job_encode(struct bytes *to, const struct training_job *job);
void loss_metric_encode(struct bytes *to, const struct loss_metric *m);
void job_checkpoint_encode(struct bytes *to, const struct job_checkpoint *c);
void model_version_event_encode(struct bytes *to, const struct model_version_event *e);

/* ---- the table of record types ---- */

struct record_type {
    const char *name;  /* "InferenceBatch" */
    const char *topic; /* short name of its topic: "inference" */
    int version;       /* newest published schema version: 1 */
    /* Verdict only: 0, or a RECORD code. Accepts exactly what the schema allows and the contract demands. */
    int (*validate)(struct span value, struct fail *why);
};

const struct record_type *record_type_find(const char *name); /* by name; NULL: unknown */
const struct record_type *
record_type_of_topic(const char *topic);         /* by short topic; predictions.shadow too */
const struct record_type *record_type_at(int i); /* NULL behind the last */
/* The published .avsc text of a version, 0-terminated, embedded in the binary; NULL: unknown version. */
const char *record_schema(const struct record_type *t, int version);
/* No topic of ours holds more; a compressed record that unpacks to more is too_large. */
enum { RECORD_MAX_BYTES = 64 << 20 };
/* Checks size, framing and the millrace.schema header's value (data NULL: absent, means 1); *payload is the
 * Avro binary. */
int record_unframe(struct span value, struct span schema_header, const struct record_type *t,
                   struct span *payload, struct fail *why);
/* The record as one JSON object by its schema, appended to `to` without newline: unions plain, bytes base64,
 * enums their names, non-finite numbers null. Generic (Avro C and jansson); for tail, .jsonl and tests, not
 * for the hot path. What is well formed is printed even where the contract refuses it (bad_request,
 * bad_shape, bad_dtype), so that tail can show it. */
int record_print_json(struct bytes *to, const struct record_type *t, int version, struct span value,
                      struct fail *why);
/* The other way: one JSON object to Avro binary; a missing field takes its default, null is NaN where the
 * schema has a plain number with a point. What the contract refuses is written all the same: ask t->validate.
 */
int record_parse_json(struct bytes *to, const struct record_type *t, const char *json, size_t size,
                      struct fail *why);

#endif
