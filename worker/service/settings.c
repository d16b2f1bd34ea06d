/* The worker's one table of settings, and how the effective ones are found: defaults, a file, -X.
 * What librdkafka may and may not be told is kafka_settings.c; parsing is engine/setting.c.
 * Next to read: kafka_settings.c. */
#include "worker/service/settings.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "worker/service/kafka_settings.h"
#include "worker/service/listen.h"
#include "worker/service/log.h"

#define AT(field) offsetof(struct settings, field)

/* clang-format off */
const struct setting settings_table[] = {
    {"worker.slot", SETTING_STRING, AT(worker_slot), "", 0, 100, NULL,
     "stable and unique among living workers; empty: the host's name", false},
    {"worker.group", SETTING_STRING, AT(worker_group), "millrace", 1, 200, NULL,
     "the consumer groups are <group>.infer and <group>.train", false},
    {"worker.membership", SETTING_CHOICE, AT(worker_membership), "static", 0, 0, "static|dynamic",
     "static: keeps its partitions for a restart; dynamic: leaves the group at once when it stops, for autoscaling", false},
    {"worker.roles", SETTING_SET, AT(worker_roles), "[infer, train]", 0, 0, "infer|train",
     "what this worker does", false},
    {"worker.state_dir", SETTING_STRING, AT(worker_state_dir), "/var/lib/millrace", 1, 4000, NULL,
     "folder for locks and in-flight marks, one folder in it a slot", false},
    {"worker.refused_s", SETTING_INT, AT(worker_refused_s), "300", 0, 86400, NULL,
     "seconds that a worker goes on trying when the broker refuses it after it has run; then it exits 75", false},
    {"kafka", SETTING_MAP, AT(kafka), "{}", 0, 0, NULL,
     "handed to librdkafka as they are, but for the keys the worker owns; KEY_file reads a secret from a file", false},
    {"topics.prefix", SETTING_STRING, AT(topics_prefix), "millrace.", 0, 200, NULL,
     "in front of every topic's short name", false},
    {"framing.inference", SETTING_CHOICE, AT(framing_inference), "raw", 0, 0, "raw|confluent",
     "how inference records are framed; confluent: by schema id", false},
    {"framing.samples", SETTING_CHOICE, AT(framing_samples), "raw", 0, 0, "raw|confluent",
     "how sample records are framed", false},
    {"framing.jobs", SETTING_CHOICE, AT(framing_jobs), "raw", 0, 0, "raw|confluent",
     "how job records are framed", false},
    {"framing.predictions", SETTING_CHOICE, AT(framing_predictions), "raw", 0, 0, "raw|confluent",
     "how predictions are framed, the shadow's too", false},
    {"schema_registry.url", SETTING_STRING, AT(registry_url), "", 0, 2000, NULL,
     "the schema registry of confluent framing; several, with commas between them, are tried in turn", false},
    {"schema_registry.username", SETTING_STRING, AT(registry_username), "", 0, 200, NULL,
     "for HTTP basic authentication", false},
    {"schema_registry.password", SETTING_STRING, AT(registry_password), "", 0, 2000, NULL,
     "better given as password_file or from the environment", true},
    {"schema_registry.password_file", SETTING_STRING, AT(registry_password_file), "", 0, 4000, NULL,
     "a file that holds the password, read at each request", false},
    {"schema_registry.token", SETTING_STRING, AT(registry_token), "", 0, 8000, NULL,
     "for bearer authentication; better given as token_file or from the environment", true},
    {"schema_registry.token_file", SETTING_STRING, AT(registry_token_file), "", 0, 4000, NULL,
     "a file that holds the token, read at each request", false},
    {"schema_registry.ca_file", SETTING_STRING, AT(registry_ca_file), "", 0, 4000, NULL,
     "certificates to trust, in PEM; empty: the system's", false},
    {"schema_registry.cert_file", SETTING_STRING, AT(registry_cert_file), "", 0, 4000, NULL,
     "our certificate for mTLS, in PEM", false},
    {"schema_registry.key_file", SETTING_STRING, AT(registry_key_file), "", 0, 4000, NULL,
     "its key, in PEM without a passphrase; empty: it is in cert_file", false},
    {"schema_registry.auto_register", SETTING_BOOL, AT(registry_auto_register), "true", 0, 0, NULL,
     "false: what we produce must be registered already (millrace schemas register)", false},
    {"batch.max_rows", SETTING_INT, AT(batch_max_rows), "1024", 1, 65536, NULL,
     "rows of an engine batch", false},
    {"batch.target_p99_ms", SETTING_REAL, AT(batch_target_p99_ms), "0", 0, 60000, NULL,
     "batches shrink until 99 of 100 answers take less, from their records' timestamps to the commit; they grow under a backlog; 0: off", false},
    {"commit.max_rows", SETTING_INT, AT(commit_max_rows), "16384", 1, 1 << 24, NULL,
     "a transaction closes at this many rows", false},
    {"commit.max_bytes", SETTING_INT, AT(commit_max_bytes), "33554432", 1024, 1 << 30, NULL,
     "... or at this many bytes of output", false},
    {"commit.max_delay_ms", SETTING_INT, AT(commit_max_delay_ms), "20", 0, 5000, NULL,
     "... or this long after its first record, and when nothing is left to read", false},
    {"inference.unknown_model", SETTING_CHOICE, AT(inference_unknown_model), "dead_letter", 0, 0, "dead_letter|wait",
     "what happens to a request for a model that does not exist", false},
    {"inference.non_finite", SETTING_CHOICE, AT(inference_non_finite), "reject", 0, 0, "reject|accept",
     "reject: a row with NaN or infinity is answered BAD_INPUT", false},
    {"inference.external_prefixes", SETTING_STRINGS, AT(inference_external_prefixes), "[]", 0, 4000, NULL,
     "folders that requests may name files of: file:///FOLDER, s3://BUCKET/PREFIX; empty: no request may", false},
    {"inference.external_max_mb", SETTING_INT, AT(inference_external_max_mb), "256", 1, 4096, NULL,
     "MiB that one request may name; they are in memory while it is answered", false},
    {"engine.backend", SETTING_STRING, AT(engine_backend), "auto", 1, 32, NULL,
     "auto, cpu, ref or cuda; auto: cuda when a device and its libraries are there, else cpu", false},
    {"engine.threads", SETTING_INT, AT(engine_threads), "0", 0, 1024, NULL,
     "of the cpu backend; 0: all cores", false},
    {"engine.cuda_workspace_mb", SETTING_INT, AT(engine_cuda_workspace_mb), "256", 1, 65536, NULL,
     "MiB of the device that cuda's libraries may compute in", false},
    {"engine.cuda_tf32", SETTING_BOOL, AT(engine_cuda_tf32), "false", 0, 0, NULL,
     "products on the device with 10 bits of mantissa (relative error 5e-4) instead of 23, several times as fast",
     false},
    {"models.store", SETTING_STRING, AT(models_store), "file:///var/lib/millrace/models", 1, 1000, NULL,
     "where versions and checkpoints are kept: file:///FOLDER, or s3://BUCKET/PREFIX with AWS's variables and files; "
     "all workers of a group share it", false},
    {"training.keep_checkpoints", SETTING_INT, AT(training_keep_checkpoints), "3", 1, 1000, NULL,
     "newest checkpoints kept of a job", false},
    {"training.metrics_every_ms", SETTING_INT, AT(training_metrics_every_ms), "10000", 0, 3600000, NULL,
     "a job's metrics are never older than this: a checkpoint is made and published with them; 0: only at the job's "
     "own checkpoints",
     false},
    {"training.store_patience_ms", SETTING_INT, AT(training_store_patience_ms), "600000", 0, 86400000, NULL,
     "how long a job goes on while the store takes no file, as when its disk is full, before it fails; 0: it fails at once",
     false},
    {"training.cores", SETTING_INT, AT(training_cores), "0", 0, 1024, NULL,
     "threads of training where the worker also serves, which then keeps the rest; 0: both use all", false},
    {"training.memory_mb", SETTING_INT, AT(training_memory_mb), "1024", 1, 1048576, NULL,
     "rows of a data set that are kept in memory; larger ones go to a file in worker.state_dir", false},
    {"training.cache_mb", SETTING_INT, AT(training_cache_mb), "65536", 0, 1073741824, NULL,
     "the largest such file; a data set that does not fit fails its job", false},
    {"canary.min_rows", SETTING_INT, AT(canary_min_rows), "1000", 100, 1e12, NULL,
     "rows that a challenger, and its champion, answer on a worker before it is judged", false},
    {"canary.min_s", SETTING_INT, AT(canary_min_s), "60", 0, 1e9, NULL,
     "... and seconds before it passes and is promoted; a breach of one of the next three rolls it back at once", false},
    {"canary.max_psi", SETTING_REAL, AT(canary_max_psi), "0.2", 0, 1e6, NULL,
     "largest population stability index of predicted classes against the champion's, beyond what is chance", false},
    {"canary.max_error_rate", SETTING_REAL, AT(canary_max_error_rate), "0.01", 0, 1, NULL,
     "largest share of rows not answered OK, or with scores that are no numbers, beyond the champion's", false},
    {"canary.max_p99_ratio", SETTING_REAL, AT(canary_max_p99_ratio), "2", 0, 1e6, NULL,
     "largest p99 of a forward pass relative to the champion's", false},
    {"http.listen", SETTING_STRING, AT(http_listen), "127.0.0.1:9464", 0, 300, NULL,
     "/metrics /healthz /readyz on HOST:PORT or :PORT (every address); '' is off; a busy port is a warning", false},
    {"log.format", SETTING_CHOICE, AT(log_format), "auto", 0, 0, "auto|text|json",
     "auto: text on a terminal, JSON otherwise", false},
    {"log.level", SETTING_CHOICE, AT(log_level), "info", 0, 0, "error|warn|info|debug",
     "what is logged: this and what is more serious", false},
    {"allow_insecure", SETTING_BOOL, AT(allow_insecure), "false", 0, 0, NULL,
     "true: kafka keys that switch verification off are let through", false},
    {0},
};
/* clang-format on */

static const char *default_path(void)
{
    static const char *const paths[] = {"config/millrace.yaml", "/etc/millrace/millrace.yaml"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (access(paths[i], F_OK) == 0)
            return paths[i];
    return NULL;
}

static int read_file(struct settings *s, const char *path, struct fail *why)
{
    struct yaml_doc *doc = NULL;
    int rc = yaml_read(&doc, path, true, why);
    if (rc)
        return rc;
    const struct yaml_node *root = yaml_root(doc);
    bool empty = !root || (yaml_kind(root) == YAML_SCALAR && !*yaml_scalar(root));
    if (!empty)
        rc = setting_read(settings_table, s, doc, root, why);
    yaml_doc_free(&doc);
    return rc;
}

/* "batch" of "batch.max_rows": the key is meant for us, or for librdkafka? Some of its names begin like ours
 * (batch.size, log.queue), so a key is ours when it is in the table or a slip of the pen away from it. */
static bool is_ours(const char *key)
{
    if (strncmp(key, "kafka.", 6) == 0)
        return true;
    for (const struct setting *row = settings_table; row->key; row++) {
        const char *dot = strchr(row->key, '.');
        size_t section = dot ? (size_t)(dot - row->key) + 1 : 0;
        if (strcmp(key, row->key) == 0)
            return true;
        if (section && strncmp(key, row->key, section) == 0 && setting_distance(key, row->key) <= 3)
            return true;
    }
    return false;
}

static int override(struct settings *s, const char *text, struct fail *why)
{
    const char *equal = strchr(text, '=');
    if (!equal || equal == text)
        return fail(why, E_USAGE, "-X %s: expected key=value, as in -X batch.max_rows=64", text);
    int n = (int)(equal - text);
    char key[256];
    if (n + 7 >= (int)sizeof key)
        return fail(why, E_USAGE, "-X %.40s...: no key is as long as this", text);
    snprintf(key, sizeof key, "%.*s", n, text);
    bool ours = is_ours(key);
    snprintf(key, sizeof key, "%s%.*s", ours ? "" : "kafka.", n, text);
    char where[300];
    snprintf(where, sizeof where, "-X %.*s", n, text);
    return setting_set(settings_table, s, key, equal + 1, where, why);
}

static int fill_slot(struct settings *s, struct fail *why)
{
    char name[256] = "";
    if (*s->worker_slot)
        return 0;
    if (gethostname(name, sizeof name - 1) || !*name)
        return fail(why, E_CONFIG, "worker.slot: this host has no name; set worker.slot");
    return setting_set(settings_table, s, "worker.slot", name, "worker.slot", why);
}

/* Names that become parts of topics, groups, transactional ids and folders. */
static int check_name(const char *key, const char *value, struct fail *why)
{
    size_t good = strspn(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
    if (value[good])
        return fail(why, E_CONFIG, "%s: '%s' holds '%c'; letters, digits, '.', '_' and '-' are allowed", key,
                    value, value[good]);
    if (strcmp(value, ".") == 0 || strcmp(value, "..") == 0)
        return fail(why, E_CONFIG, "%s: '%s' cannot be part of a folder's name", key, value);
    return 0;
}

/* The scheme and something behind it; worker/models knows the rest. */
static bool is_place(const char *uri)
{
    return strncmp(uri, "file:///", 8) == 0 || (strncmp(uri, "s3://", 5) == 0 && uri[5] && uri[5] != '/');
}

static int check_schema_registry(const struct settings *s, struct fail *why)
{
    bool confluent = s->framing_inference || s->framing_samples || s->framing_jobs || s->framing_predictions;
    bool basic = *s->registry_username, bearer = *s->registry_token || *s->registry_token_file;
    if (confluent && !*s->registry_url)
        return fail(why, E_CONFIG,
                    "schema_registry.url: confluent framing needs it, as in http://127.0.0.1:8081");
    for (const char *at = s->registry_url; *(at += strspn(at, ", "));) {
        size_t n = strcspn(at, ", ");
        if (strncmp(at, "http://", 7) != 0 && strncmp(at, "https://", 8) != 0)
            return fail(why, E_CONFIG, "schema_registry.url: expected http://... or https://..., got '%.*s'",
                        n < 100 ? (int)n : 100, memchr(at, '@', n) ? "..." : at);
        if (memchr(at, '@', n))
            return fail(why, E_CONFIG, "schema_registry.url: a user belongs into schema_registry.username");
        at += n;
    }
    if (basic && bearer)
        return fail(why, E_CONFIG, "schema_registry: username or token, not both");
    if (basic && !*s->registry_password && !*s->registry_password_file)
        return fail(why, E_CONFIG, "schema_registry.username: it needs a password or password_file");
    if (*s->registry_key_file && !*s->registry_cert_file)
        return fail(why, E_CONFIG, "schema_registry.key_file: it needs a cert_file");
    return 0;
}

static int check(const struct settings *s, struct fail *why)
{
    int rc = check_name("worker.slot", s->worker_slot, why);
    if (!rc)
        rc = check_name("worker.group", s->worker_group, why);
    if (!rc)
        rc = check_name("topics.prefix", s->topics_prefix, why);
    if (!rc && !s->worker_roles)
        rc = fail(why, E_CONFIG, "worker.roles: expected at least one of infer and train");
    if (!rc && !is_place(s->models_store))
        rc = fail(why, E_CONFIG, "models.store: expected file:///FOLDER or s3://BUCKET/PREFIX, got '%s'",
                  s->models_store);
    for (int i = 0; !rc && i < s->inference_external_prefixes.count; i++)
        if (!is_place(s->inference_external_prefixes.v[i]))
            rc = fail(why, E_CONFIG,
                      "inference.external_prefixes: expected file:///FOLDER or s3://BUCKET/PREFIX, got '%s'",
                      s->inference_external_prefixes.v[i]);
    if (!rc)
        rc = check_schema_registry(s, why);
    if (!rc)
        rc = listen_check(s->http_listen, why);
    return rc;
}

int settings_load(struct settings *s, const char *path, const char *const *overrides, int count,
                  struct fail *why)
{
    *s = (struct settings){0};
    const char *file = path ? path : default_path();
    int rc = setting_defaults(settings_table, s, why);
    if (!rc && file)
        rc = read_file(s, file, why);
    for (int i = 0; i < count && !rc; i++)
        rc = override(s, overrides[i], why);
    if (!rc)
        rc = fill_slot(s, why);
    if (!rc)
        rc = check(s, why);
    if (!rc)
        rc = kafka_settings_finish(s, file ? file : "defaults", why);
    if (rc)
        settings_free(s);
    return rc;
}

void settings_free(struct settings *s)
{
    setting_free(settings_table, s);
    *s = (struct settings){0};
}

bool settings_hold_secrets(const struct settings *s)
{
    for (const struct setting *row = settings_table; row->key; row++)
        if (setting_holds_secret(row, s))
            return true;
    return strncmp(s->models_store, "s3://", 5) == 0 || getenv("AWS_SECRET_ACCESS_KEY");
}

void settings_print(const struct settings *s, FILE *out)
{
    setting_write(settings_table, s, false, out);
}

int settings_print_reference(FILE *out, struct fail *why)
{
    struct settings s = {0};
    int rc = setting_defaults(settings_table, &s, why);
    if (!rc)
        rc = setting_set(settings_table, &s, "kafka.bootstrap.servers", KAFKA_BOOTSTRAP_YAML, "default", why);
    if (!rc) {
        fputs("# Every setting with its default, as `millrace help config --yaml` prints it.\n"
              "# ${VAR}, ${VAR:-default} and ${VAR:?message} work in values.\n",
              out);
        setting_write(settings_table, &s, true, out);
    }
    settings_free(&s);
    return rc;
}

struct backend_options settings_engine(const struct settings *s, int threads)
{
    return (struct backend_options){.threads = threads,
                                    .cuda_workspace_mb = s->engine_cuda_workspace_mb,
                                    .cuda_tf32 = s->engine_cuda_tf32};
}

int settings_threads(const struct settings *s, unsigned role)
{
    cpu_set_t set;
    bool both = (s->worker_roles & ROLE_INFER) && (s->worker_roles & ROLE_TRAIN);
    int all = (int)s->engine_threads, train = (int)s->training_cores;
    if (!both || train == 0)
        return all;
    if (all == 0)
        all = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    train = train < all ? train : all;
    return role == ROLE_TRAIN ? train : all - train > 0 ? all - train : 1;
}
