/* The configuration: defaults, files, -X, what is refused and where, what is masked, and that the checked-in
 * reference is what the table prints. */
#include "worker/service/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "worker/service/embedded.h"
#include "worker/service/log.h"

static char folder[64], config[96], secret[96];

static int setup(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/millrace-settings-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(config, sizeof config, "%s/m.yaml", folder);
    snprintf(secret, sizeof secret, "%s/secret", folder);
    unsetenv("KAFKA_BOOTSTRAP");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(config);
    unlink(secret);
    return rmdir(folder);
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static int load(struct settings *s, const char *yaml, const char *override, struct fail *why)
{
    write_file(config, yaml);
    return settings_load(s, config, &override, override ? 1 : 0, why);
}

static void test_defaults(void **state)
{
    (void)state;
    struct settings s;
    struct fail why;
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    assert_int_equal(load(&s, "", NULL, &why), 0);
    assert_string_equal(s.worker_slot, host);
    assert_string_equal(s.worker_group, "millrace");
    assert_int_equal(s.worker_membership, MEMBERSHIP_STATIC);
    assert_int_equal(s.worker_roles, ROLE_INFER | ROLE_TRAIN);
    assert_string_equal(setting_map_get(&s.kafka, "bootstrap.servers"), "127.0.0.1:9092");
    assert_string_equal(s.topics_prefix, "millrace.");
    assert_int_equal(s.batch_max_rows, 1024);
    assert_int_equal(s.commit_max_rows, 16384);
    assert_int_equal(s.commit_max_bytes, 33554432);
    assert_int_equal(s.commit_max_delay_ms, 20);
    assert_int_equal(s.inference_unknown_model, UNKNOWN_DEAD_LETTER);
    assert_int_equal(s.inference_non_finite, NON_FINITE_REJECT);
    assert_string_equal(s.models_store, "file:///var/lib/millrace/models");
    assert_int_equal(s.training_keep_checkpoints, 3);
    assert_false(s.allow_insecure);
    settings_free(&s);
}

/* The example of the contract, and every key that later versions act on. */
static void test_every_key(void **state)
{
    (void)state;
    struct settings s;
    struct fail why = {0};
    static const char yaml[] =
        "worker:\n  slot: \"s1\"\n  group: g\n  membership: dynamic\n  roles: [train]\n  state_dir: /tmp\n"
        "kafka:\n  bootstrap.servers: ${MILLRACE_NO_SUCH:-h:1}\n  ssl.ca.location: /ca\n"
        "topics: {prefix: t.}\nbatch: {max_rows: 64, target_p99_ms: 5}\n"
        "commit: {max_rows: 1, max_bytes: 2048, max_delay_ms: 0}\n"
        "inference: {unknown_model: wait, non_finite: accept, external_prefixes: [\"s3://a/\", "
        "\"file:///b/\"]}\n"
        "engine: {backend: ref, threads: 2}\nmodels: {store: file:///tmp/x}\n"
        "training: {keep_checkpoints: 1, metrics_every_ms: 100, cores: 1}\nhttp: {listen: ''}\n"
        "log: {format: json, level: debug}\n"
        "framing: {inference: confluent, samples: raw, jobs: raw}\n"
        "schema_registry: {url: \"http://r:8081\", username: u, password_file: /p, ca_file: /c, "
        "cert_file: /d, key_file: /e, auto_register: false}\n"
        "canary: {min_rows: 100, min_s: 2, max_psi: 0.3, max_error_rate: 0.5, max_p99_ratio: 1.5}\n"
        "allow_insecure: true\n";
    int rc = load(&s, yaml, NULL, &why);
    assert_string_equal(rc ? why.text : "", "");
    assert_string_equal(setting_map_get(&s.kafka, "bootstrap.servers"), "h:1");
    assert_string_equal(s.worker_slot, "s1");
    assert_int_equal(s.worker_roles, ROLE_TRAIN);
    assert_int_equal(s.worker_membership, MEMBERSHIP_DYNAMIC);
    assert_int_equal(s.batch_max_rows, 64);
    assert_int_equal(s.inference_unknown_model, UNKNOWN_WAIT);
    assert_int_equal(s.inference_external_prefixes.count, 2);
    assert_string_equal(s.inference_external_prefixes.v[1], "file:///b/");
    assert_true(s.canary_max_psi == 0.3);
    assert_string_equal(s.http_listen, "");
    assert_int_equal(s.framing_inference, FRAMING_CONFLUENT);
    assert_int_equal(s.framing_jobs, FRAMING_RAW);
    assert_string_equal(s.registry_url, "http://r:8081");
    assert_string_equal(s.registry_password_file, "/p");
    assert_string_equal(s.registry_key_file, "/e");
    assert_false(s.registry_auto_register);
    settings_free(&s);
}

static void test_refusals(void **state)
{
    (void)state;
    /* In every text %s stands for the file's name. */
    static const struct {
        const char *yaml, *override, *text;
    } cases[] = {
        {"batch:\n  max_row: 1\n", NULL, "m.yaml:2:3: unknown key batch.max_row, nearest is batch.max_rows"},
        {"batch: {max_rows: 0}\n", NULL, "m.yaml:1:19: "},
        {"batch: {max_rows: many}\n", NULL, "m.yaml:1:19: "},
        {"worker: {roles: [infer, tran]}\n", NULL, "tran"},
        {"worker: {roles: []}\n", NULL, "worker.roles"},
        {"worker: {slot: a/b}\n", NULL, "worker.slot: 'a/b' holds '/'"},
        {"worker: {slot: ..}\n", NULL, "worker.slot"},
        {"topics: {prefix: \"a b\"}\n", NULL, "topics.prefix"},
        {"models: {store: /var/lib}\n", NULL, "models.store: expected file:///FOLDER"},
        {"framing: {samples: confluent}\n", NULL, "schema_registry.url: confluent framing needs it"},
        {"framing: {samples: confluent}\nschema_registry: {url: \"r:8081\"}\n", NULL, "expected http://"},
        {"schema_registry: {url: \"http://a,https://me:secret@b\"}\n", NULL,
         "belongs into schema_registry.username"},
        {"schema_registry: {username: u}\n", NULL, "password_file"},
        {"schema_registry: {username: u, password: p, token_file: /t}\n", NULL, "not both"},
        {"schema_registry: {key_file: /k}\n", NULL, "cert_file"},
        {"models: {store: \"gs://x\"}\n", NULL, "expected file:///FOLDER or s3://BUCKET/PREFIX"},
        {"inference: {external_prefixes: [\"s3://b/\", /tmp]}\n", NULL,
         "inference.external_prefixes: expected file:///FOLDER"},
        {"http: {listen: 9464}\n", NULL, "http.listen: expected HOST:PORT"},
        {"http: {listen: \"h:99999\"}\n", NULL, "http.listen: expected a port from 0 to 65535"},
        {"http: {listen: \"a:b:1\"}\n", NULL, "http.listen: expected HOST:PORT"},
        {"kafka:\n  linger.ms: 1\n  group.id: x\n", NULL, "m.yaml:3:3: kafka.group.id cannot be set"},
        {"kafka: {group.instance.id: x}\n", NULL, "worker.slot"},
        {"kafka: {transactional.id: x}\n", NULL, "m.yaml:1:9: kafka.transactional.id"},
        {"kafka: {enable.auto.commit: \"false\"}\n", NULL, "kafka.enable.auto.commit"},
        {"kafka: {enable.auto.offset.store: \"false\"}\n", NULL, "kafka.enable.auto.offset.store"},
        {"kafka: {isolation.level: read_committed}\n", NULL, "kafka.isolation.level"},
        {"kafka: {enable.idempotence: \"true\"}\n", NULL, "kafka.enable.idempotence"},
        {"kafka: {acks: all}\n", NULL, "kafka.acks"},
        {"kafka: {request.required.acks: \"1\"}\n", NULL, "kafka.request.required.acks"},
        {"kafka: {plugin.library.paths: x.so}\n", NULL, "code is not loaded"},
        {"kafka: {ssl.engine.location: x.so}\n", NULL, "code is not loaded"},
        {"kafka: {enable.ssl.certificate.verification: \"false\"}\n", NULL, "allow_insecure"},
        {"kafka: {enable.ssl.certificate.verification: \"F\"}\n", NULL, "allow_insecure"},
        {"kafka: {ssl.endpoint.identification.algorithm: none}\n", NULL, "allow_insecure"},
        {"kafka: {sasl.password_file: /no/such/file}\n", NULL, "kafka.sasl.password_file: cannot open"},
        {"kafka: {partition.assignment.strategy: cooperative-sticky}\n", NULL, "range or roundrobin"},
        {"", "partition.assignment.strategy=range,cooperative-sticky", "range or roundrobin"},
        {"kafka: {ssl.ca.location_file: /x}\n", NULL, "only passwords"},
        {"kafka: [a]\n", NULL, "m.yaml:1:8: "},
        {"[a]\n", NULL, "m.yaml:1:1: "},
        {"a: b: c\n", NULL, "m.yaml:1:"},
        {"kafka: {bootstrap.servers: \"${MILLRACE_NO_SUCH:?say where}\"}\n", NULL, "say where"},
        {"", "group.id=x", "-X group.id: kafka.group.id cannot be set"},
        {"", "kafka.acks=1", "kafka.acks cannot be set"},
        {"", "worker.slott=x", "nearest is worker.slot"},
        {"", "log.level=loud", "-X log.level"},
        {"", "http.listen", "expected key=value"},
        {"", "=x", "expected key=value"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct settings s;
        struct fail why = {0};
        int rc = load(&s, cases[i].yaml, cases[i].override, &why);
        if (rc == 0 || !strstr(why.text, cases[i].text))
            print_error("case %zu: %s%s: wanted '%s', got %d '%s'\n", i, cases[i].yaml,
                        cases[i].override ? cases[i].override : "", cases[i].text, rc, why.text);
        assert_int_not_equal(rc, 0);
        assert_non_null(strstr(why.text, cases[i].text));
        assert_int_equal(fail_exit(why.code), strstr(cases[i].text, "key=value") ? 2 : 3);
        struct settings zero = {0};
        assert_memory_equal(&s, &zero, sizeof s);
    }
}

static void test_missing_file(void **state)
{
    (void)state;
    struct settings s;
    struct fail why;
    assert_int_not_equal(settings_load(&s, "/no/such/file.yaml", NULL, 0, &why), 0);
    assert_int_equal(fail_exit(why.code), 3);
    assert_non_null(strstr(why.text, "/no/such/file.yaml"));
}

static void test_overrides(void **state)
{
    (void)state;
    struct settings s;
    struct fail why;
    static const char *const over[] = {"batch.max_rows=7",  "bootstrap.servers=h:2", "topics.prefix=t1.",
                                       "batch.size=100000", "log.queue=false",       "kafka.linger.ms=3",
                                       "batch.max_rows=9",  "worker.roles=infer"};
    write_file(config, "kafka: {bootstrap.servers: \"h:1\"}\nbatch: {max_rows: 5}\n");
    assert_int_equal(settings_load(&s, config, over, sizeof over / sizeof *over, &why), 0);
    assert_int_equal(s.batch_max_rows, 9);
    assert_int_equal(s.worker_roles, ROLE_INFER);
    assert_string_equal(s.topics_prefix, "t1.");
    assert_string_equal(setting_map_get(&s.kafka, "bootstrap.servers"), "h:2");
    assert_string_equal(setting_map_get(&s.kafka, "batch.size"), "100000");
    assert_string_equal(setting_map_get(&s.kafka, "log.queue"), "false");
    assert_string_equal(setting_map_get(&s.kafka, "linger.ms"), "3");
    settings_free(&s);
}

static void test_insecure_is_let_through(void **state)
{
    (void)state;
    struct settings s;
    struct fail why;
    assert_int_equal(load(&s,
                          "allow_insecure: true\nkafka: {enable.ssl.certificate.verification: \"false\"}\n",
                          NULL, &why),
                     0);
    settings_free(&s);
    assert_int_equal(load(&s, "kafka: {enable.ssl.certificate.verification: \"true\"}\n", NULL, &why), 0);
    settings_free(&s);
}

static char *printed(const struct settings *s)
{
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    assert_non_null(f);
    settings_print(s, f);
    fclose(f);
    return text;
}

static void test_secrets(void **state)
{
    (void)state;
    struct settings s, again;
    struct fail why;
    char yaml[512];
    write_file(secret, "open sesame\nsecond line\n");
    snprintf(yaml, sizeof yaml,
             "kafka:\n  sasl.password_file: %s\n  ssl.key.password: hidden1\n  ssl.key.pem: hidden2\n"
             "  sasl.oauthbearer.client.secret: hidden3\n  sasl.username: seen\n"
             "schema_registry: {password: hidden4, token: hidden5}\n",
             secret);
    assert_int_equal(load(&s, yaml, NULL, &why), 0);
    assert_string_equal(setting_map_get(&s.kafka, "sasl.password"), "open sesame");
    assert_null(setting_map_get(&s.kafka, "sasl.password_file"));
    char *text = printed(&s);
    assert_null(strstr(text, "sesame"));
    assert_null(strstr(text, "hidden"));
    assert_non_null(strstr(text, "seen"));
    assert_non_null(strstr(text, "sasl.password: \"***\""));
    settings_free(&s);
    /* What is printed can be read again. */
    assert_int_equal(load(&again, text, NULL, &why), 0);
    free(text);
    settings_free(&again);
}

/* What YAML would take for something else, or not take at all, comes back as it was. */
static void test_any_text_is_printed_as_yaml(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "plain.1:2",   "a b",          "a: b",     "tail:",      "#x",       "-x",     "\"q\"",
        "back\\slash", "a\nb\tc",      "\x01\x1b", "\r",         "\x7f",     "\u00e4", "\xc2\x85",
        "\xc2\x9fy",   "\ufeffz",      "\uffff",   "\U0001f600", "%percent", "`tick",  "@at",
        "{curly}",     "[square], ok", "'single'", "|",          ">",        "?",      "!tag",
        "&anchor",     "*alias",       "~",        "null",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct settings s, again;
        struct fail why;
        char override[64];
        snprintf(override, sizeof override, "kafka.client.rack=%s", texts[i]);
        assert_int_equal(load(&s, "", override, &why), 0);
        char *text = printed(&s);
        if (load(&again, text, NULL, &why))
            fail_msg("%s\n%s", why.text, text);
        assert_string_equal(setting_map_get(&again.kafka, "client.rack"), texts[i]);
        free(text);
        settings_free(&again);
        settings_free(&s);
    }
}

/* config/millrace.yaml, as the build embedded it, is what `millrace help config --yaml` prints. */
static void test_reference_is_current(void **state)
{
    (void)state;
    struct settings s;
    struct fail why;
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    assert_int_equal(settings_print_reference(f, &why), 0);
    fclose(f);
    const char *kept = embedded_find("config/millrace.yaml", NULL);
    assert_non_null(kept);
    if (strcmp(kept, text) != 0)
        print_error(
            "config/millrace.yaml is out of date: millrace help config --yaml > config/millrace.yaml\n");
    assert_string_equal(kept, text);
    assert_int_equal(load(&s, text, NULL, &why), 0);
    settings_free(&s);
    free(text);
}

/* Training's share, and what is left for inference; one role has all. */
static void test_shares_of_the_cores(void **state)
{
    (void)state;
    static const struct {
        unsigned roles;
        int threads, cores, infer, train;
    } cases[] = {{ROLE_INFER | ROLE_TRAIN, 8, 0, 8, 8},
                 {ROLE_INFER | ROLE_TRAIN, 8, 3, 5, 3},
                 {ROLE_INFER | ROLE_TRAIN, 2, 9, 1, 2},
                 {ROLE_INFER | ROLE_TRAIN, 1, 1, 1, 1},
                 {ROLE_TRAIN, 8, 3, 8, 8}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct settings s = {.worker_roles = cases[i].roles,
                             .engine_threads = cases[i].threads,
                             .training_cores = cases[i].cores};
        assert_int_equal(settings_threads(&s, ROLE_INFER), cases[i].infer);
        assert_int_equal(settings_threads(&s, ROLE_TRAIN), cases[i].train);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shares_of_the_cores),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_every_key),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_missing_file),
        cmocka_unit_test(test_overrides),
        cmocka_unit_test(test_insecure_is_let_through),
        cmocka_unit_test(test_secrets),
        cmocka_unit_test(test_reference_is_current),
        cmocka_unit_test(test_any_text_is_printed_as_yaml),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
