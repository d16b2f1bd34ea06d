/* What the files of the `models` command share. */
#ifndef WORKER_COMMANDS_MODELS_VIEW_H
#define WORKER_COMMANDS_MODELS_VIEW_H

#include "worker/commands/command.h"
#include "worker/models/registry.h"

enum export_format { EXPORT_ONNX, EXPORT_SAFETENSORS };

struct models_options {
    char *output;
    int format; /* enum export_format */
    char *model, *network, *alias, *reason;
    double traffic;
    bool promote, workers;
};

/* models_list.c */
int models_list(const struct context *cx, struct fail *why);
int models_show(const struct context *cx, struct fail *why);

/* "42 s", "7 min", "5 h", "12 d"; "-" where nobody said. */
const char *models_age(int64_t at_ms, char out[32]);

/* models_workers.c */
struct workers;
/* From the newest predictions of every partition. */
int workers_read(struct workers **out, const struct context *cx, struct fail *why);
void workers_free(struct workers **w); /* NULL inside is fine */
void workers_json(const struct workers *w, const struct model_version_event *version);
void workers_print(const struct workers *w);

/* models_alias.c */
int models_promote(const struct context *cx, struct fail *why);
int models_rollback(const struct context *cx, struct fail *why);
/* Makes the version what the alias means, returns when a read_committed reader has seen it. */
int alias_write(const struct context *cx, const struct registry *r, const struct model_version_event *version,
                enum version_event kind, struct fail *why);

/* The operand NAME[@VERSION]: the name into `name`; version 0: none was given. */
int models_operand(const struct context *cx, char name[128], int64_t *version, struct fail *why);
/* Fills in who and when, writes the event, returns when a read_committed reader has seen it. */
int models_event_write(const struct context *cx, struct model_version_event *e, struct fail *why);
/* A version that may answer; E_FAILED: there is none, or it is REJECTED or RETIRED. */
int models_version_find(const struct registry *r, const char *model, int64_t version,
                        const struct model_version_event **out, struct fail *why);

/* models_judge.c */
int models_approve(const struct context *cx, struct fail *why);
int models_reject(const struct context *cx, struct fail *why);
int models_retire(const struct context *cx, struct fail *why);

/* models_import.c */
int models_import(const struct context *cx, struct fail *why);

/* models_export.c */
int models_export(const struct context *cx, struct fail *why);

#endif
