/* The effective configuration: one struct, filled from the one table in settings.c, which also prints help
 * and the reference YAML. contract.md's "Configuration" is the list of keys. */
#ifndef WORKER_SERVICE_SETTINGS_H
#define WORKER_SERVICE_SETTINGS_H

#include <stdio.h>

#include "engine/backend.h"
#include "engine/setting.h"

enum { ROLE_INFER = 1, ROLE_TRAIN = 2 };
enum membership { MEMBERSHIP_STATIC, MEMBERSHIP_DYNAMIC };
enum unknown_model { UNKNOWN_DEAD_LETTER, UNKNOWN_WAIT };
enum framing_kind { FRAMING_RAW, FRAMING_CONFLUENT };
enum non_finite { NON_FINITE_REJECT, NON_FINITE_ACCEPT };

struct settings {
    char *worker_slot; /* never empty after settings_load: gethostname() by default */
    char *worker_group;
    int worker_membership; /* enum membership */
    unsigned worker_roles; /* ROLE_* */
    char *worker_state_dir;
    int64_t worker_refused_s;
    struct setting_map kafka; /* handed to librdkafka as they are; the owned keys are refused */
    char *topics_prefix;
    int framing_inference, framing_samples, framing_jobs, framing_predictions; /* enum framing_kind */
    char *registry_url; /* a comma list; "" unless something is confluent */
    char *registry_username, *registry_password, *registry_password_file, *registry_token,
        *registry_token_file;
    char *registry_ca_file, *registry_cert_file, *registry_key_file;
    bool registry_auto_register;
    int64_t batch_max_rows;
    double batch_target_p99_ms; /* 0: none */
    int64_t commit_max_rows, commit_max_bytes, commit_max_delay_ms;
    int inference_unknown_model, inference_non_finite;
    struct setting_strings inference_external_prefixes; /* folders: file:///FOLDER or s3://BUCKET/PREFIX */
    int64_t inference_external_max_mb;
    char *engine_backend;
    int64_t engine_threads;
    int64_t engine_cuda_workspace_mb;
    bool engine_cuda_tf32;
    char *models_store; /* file:///FOLDER or s3://BUCKET/PREFIX */
    int64_t training_keep_checkpoints, training_metrics_every_ms, training_cores;
    int64_t training_memory_mb, training_cache_mb, training_store_patience_ms;
    int64_t canary_min_rows, canary_min_s;
    double canary_max_psi, canary_max_error_rate, canary_max_p99_ratio;
    char *http_listen;
    int log_format; /* enum log_format */
    int log_level;  /* enum log_level */
    bool allow_insecure;
};

extern const struct setting settings_table[];

/* Reads FILE (path NULL: config/millrace.yaml, then /etc/millrace/millrace.yaml, then defaults alone), then
 * each "key=value" of overrides; a key that is none of ours goes to kafka. Reads kafka's *_file keys and puts
 * what they hold in their place. On failure *s is freed and zeroed. E_CONFIG with file:line:column. */
int settings_load(struct settings *s, const char *path, const char *const *overrides, int count,
                  struct fail *why);
void settings_free(struct settings *s);
/* Threads of a role's engine, 0: all cores. With training.cores and both roles in one worker training gets that many and
 * inference the rest, but at least one. */
int settings_threads(const struct settings *s, unsigned role);
/* What backend_open_with takes of them. */
struct backend_options settings_engine(const struct settings *s, int threads);
/* The effective settings as YAML, secrets masked. */
void settings_print(const struct settings *s, FILE *out);
/* True when the process will have a secret in its memory: one of the settings, or AWS's for a store in a bucket. */
bool settings_hold_secrets(const struct settings *s);
/* config/millrace.yaml: every key with its default under its meaning. */
int settings_print_reference(FILE *out, struct fail *why);
#endif
