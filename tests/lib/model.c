/* Publishes models and produces any bytes, through the library and not through the commands that are tested. */
#include "tests/lib/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "engine/graph.h"
#include "worker/models/store.h"
#include "worker/service/embedded.h"
#include "worker/stream/clock.h"
#include "worker/stream/writer.h"

#undef fail
#include <cmocka.h>

enum { ASK_MS = 20000 };

static void must(int rc, const struct fail *why)
{
    if (rc)
        fail_msg("%s", why->text);
}

void stage_settings_load(struct stage *s, struct settings *out)
{
    struct fail why;
    memset(out, 0, sizeof *out);
    must(settings_load(out, s->config, NULL, 0, &why), &why);
}

static void put(struct writer *w, const char *topic, int partition, struct span key, struct span value,
                struct written *at)
{
    struct fail why;
    must(writer_put(w, topic, partition, key, value, NULL, 0, at, &why), &why);
    must(writer_flush(w, ASK_MS, &why), &why);
}

static void put_event(struct writer *w, const char *topic, const char *key,
                      const struct model_version_event *e, struct written *at)
{
    struct bytes b = {0};
    model_version_event_encode(&b, e);
    put(w, topic, 0, text_span(key), (struct span){(char *)b.data, b.size}, at);
    bytes_free(&b);
}

static size_t network_onnx(const char *yaml, unsigned seed, void **bytes)
{
    struct fail why;
    struct graph *g = NULL;
    size_t size = yaml ? strlen(yaml) : 0, n;
    if (!yaml)
        yaml = embedded_find("config/lenet.yaml", &size);
    assert_non_null(yaml);
    must(network_parse(&g, "config/lenet.yaml", yaml, size, &why), &why);
    must(graph_init(g, seed, &why), &why);
    must(onnx_print(g, bytes, &n, &why), &why);
    graph_free(&g);
    return n;
}

void stage_model(struct stage *s, const char *model, long version, unsigned seed, bool promote)
{
    stage_model_network(s, model, version, seed, promote, NULL);
}

void stage_model_network(struct stage *s, const char *model, long version, unsigned seed, bool promote,
                         const char *network)
{
    struct settings settings;
    struct fail why;
    struct writer *w = NULL;
    struct written at = {-1, -1};
    char uri[STORE_URI], sha256[SHA256_HEX], topic[TOPIC_NAME], key[256];
    void *bytes = NULL;
    size_t size = network_onnx(network, seed, &bytes);
    stage_settings_load(s, &settings);
    must(store_put(settings.models_store, model, NULL, bytes, size, uri, sha256, &why), &why);
    topic_full_name(&settings, TOPIC_MODELS, topic);
    must(writer_open(&w, &settings, ASK_MS, &why), &why);
    struct model_version_event e = {.event_id = "test",
                                    .event = EVENT_CREATED,
                                    .model = model,
                                    .version = version,
                                    .alias = "",
                                    .traffic = 1,
                                    .artifact_uri = uri,
                                    .format = "onnx",
                                    .sha256 = sha256,
                                    .size_bytes = (int64_t)size,
                                    .has_input = true,
                                    .input_shape = {3, 32, 32},
                                    .input_rank = 3,
                                    .job_id = "",
                                    .dataset_sha256 = "",
                                    .reason = "",
                                    .created_by = "test",
                                    .at = clock_ms()};
    snprintf(key, sizeof key, "%s@%ld", model, version);
    put_event(w, topic, key, &e, &at);
    if (promote) {
        e.event = EVENT_PROMOTED;
        e.alias = "champion";
        snprintf(key, sizeof key, "%s@champion", model);
        put_event(w, topic, key, &e, &at);
    }
    must(writer_wait_stable(&settings, topic, &at, ASK_MS, &why), &why);
    writer_close(&w);
    settings_free(&settings);
    free(bytes);
}

void stage_put(struct stage *s, const char *topic, int partition, const char *key, const void *value,
               size_t size)
{
    struct settings settings;
    struct fail why;
    struct writer *w = NULL;
    struct written at;
    char full[TOPIC_NAME];
    stage_settings_load(s, &settings);
    snprintf(full, sizeof full, "%s%s", s->prefix, topic);
    must(writer_open(&w, &settings, ASK_MS, &why), &why);
    put(w, full, partition, text_span(key), (struct span){value, size}, &at);
    writer_close(&w);
    settings_free(&settings);
}
