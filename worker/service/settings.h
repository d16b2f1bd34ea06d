/* The effective configuration: one struct, filled from the one table in settings.c, which also prints help
 * and the reference YAML. contract.md's "Configuration" is the list of keys. */
#ifndef WORKER_SERVICE_SETTINGS_H
#define WORKER_SERVICE_SETTINGS_H

#include "engine/setting.h"

enum { ROLE_INFER = 1, ROLE_TRAIN = 2 };
enum membership { MEMBERSHIP_STATIC, MEMBERSHIP_DYNAMIC };
enum unknown_model { UNKNOWN_DEAD_LETTER, UNKNOWN_WAIT };
enum non_finite { NON_FINITE_REJECT, NON_FINITE_ACCEPT };

struct settings {
    char *worker_slot; /* never empty after settings_load: gethostname() by default */
    char *worker_group;
    int worker_membership; /* enum membership */
    unsigned worker_roles; /* ROLE_* */
    char *worker_state_dir;
    struct setting_map kafka; /* handed to librdkafka as they are; the owned keys are refused */
    char *topics_prefix;
    int64_t batch_max_rows;
    int64_t commit_max_rows, commit_max_bytes, commit_max_delay_ms;
    int inference_unknown_model, inference_non_finite;
    char *engine_backend;
    int64_t engine_threads;
    char *models_store; /* file:///folder */
    int64_t training_keep_checkpoints;
    char *http_listen;
    int log_format; /* auto, text, json: log.h */
    int log_level;
    bool allow_insecure;
};

extern const struct setting settings_table[];

/* Reads FILE (path NULL: config/millrace.yaml, then /etc/millrace/millrace.yaml, then defaults alone), then
 * each "key=value" of overrides. Frees nothing of an older content; settings_free does. E_CONFIG with
 * file:line:column. */
int settings_load(struct settings *s, const char *path, const char *const *overrides, int count,
                  struct fail *why);
void settings_free(struct settings *s);

#endif
