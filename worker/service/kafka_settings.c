/* The rules of the `kafka:` section. That the remaining keys exist and their values are good is for
 * librdkafka to say, when a client is made of them.
 * Next to read: settings.c. */
#include "worker/service/kafka_settings.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const struct {
    const char *key, *reason;
} refused[] = {
    {"group.id", "the worker owns it: set worker.group"},
    {"group.instance.id", "the worker owns it: set worker.slot and worker.membership"},
    {"transactional.id", "the worker owns it: set topics.prefix and worker.slot"},
    {"enable.auto.commit", "the worker owns it: offsets are committed in its transactions"},
    {"auto.commit.enable", "the worker owns it: offsets are committed in its transactions"},
    {"enable.auto.offset.store", "the worker owns it: offsets are committed in its transactions"},
    {"isolation.level", "the worker owns it: it always reads committed records only"},
    {"enable.idempotence", "the worker owns it: it always produces idempotently"},
    {"acks", "the worker owns it: it always waits for all replicas"},
    {"request.required.acks", "the worker owns it: it always waits for all replicas"},
    {"plugin.library.paths", "code is not loaded into the worker by configuration"},
    {"ssl.engine.location", "code is not loaded into the worker by configuration"},
};

/* What may be read from a file: sasl.password_file, ssl.key.pem_file. */
static bool is_secret(const char *key)
{
    return strstr(key, "password") || strstr(key, "secret") || strstr(key, "token") || strstr(key, ".pem");
}

static int refuse(const struct setting_pair *p, const char *file, struct fail *why, const char *reason)
{
    if (p->line > 0)
        return fail(why, E_CONFIG, "%s:%d:%d: kafka.%s cannot be set: %s", file, p->line, p->column, p->key,
                    reason);
    return fail(why, E_CONFIG, "-X %s: kafka.%s cannot be set: %s", p->key, p->key, reason);
}

/* librdkafka takes true, t, 1 and false, f, 0 in any case; what is not clearly on counts as off. */
static bool is_on(const char *value)
{
    return strcasecmp(value, "true") == 0 || strcasecmp(value, "t") == 0 || strcmp(value, "1") == 0;
}

static bool switches_verification_off(const struct setting_pair *p)
{
    if (strcmp(p->key, "enable.ssl.certificate.verification") == 0)
        return !is_on(p->value);
    return strcmp(p->key, "ssl.endpoint.identification.algorithm") == 0 && strcasecmp(p->value, "https") != 0;
}

/* An epoch is all partitions at once (stream/assignment.c): what is taken over piece by piece has none. */
static bool is_cooperative(const struct setting_pair *p)
{
    return strcmp(p->key, "partition.assignment.strategy") == 0 && strstr(p->value, "cooperative");
}

static int check_pair(const struct settings *s, const struct setting_pair *p, const char *file,
                      struct fail *why)
{
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (strcmp(p->key, refused[i].key) == 0)
            return refuse(p, file, why, refused[i].reason);
    if (switches_verification_off(p) && !s->allow_insecure)
        return refuse(p, file, why,
                      "it switches verification off; allow_insecure: true would let it through");
    if (is_cooperative(p))
        return refuse(p, file, why, "partitions are assigned and revoked all at once: range or roundrobin");
    return 0;
}

/* The first line of a secret's file, without its end; whole files for keys in PEM. */
static int read_secret(const char *path, bool whole, char **out, struct fail *why)
{
    enum { MOST = 65536 };
    FILE *f = fopen(path, "re");
    if (!f)
        return fail(why, E_CONFIG, "cannot open %s: %s", path, strerror(errno));
    char *text = calloc(1, MOST + 1);
    size_t n = text ? fread(text, 1, MOST, f) : 0;
    bool bad = ferror(f) || (text && (n == MOST || memchr(text, 0, n)));
    fclose(f);
    if (!text || bad) {
        free(text);
        return bad ? fail(why, E_CONFIG, "%s: expected a text file under 64 KiB", path)
                   : fail(why, E_MEMORY, "out of memory");
    }
    if (!whole)
        text[strcspn(text, "\r\n")] = 0;
    if (!*text) {
        free(text);
        return fail(why, E_CONFIG, "%s: the first line is empty", path);
    }
    *out = text;
    return 0;
}

/* sasl.password_file: X becomes sasl.password: what X holds. */
static int read_pair(struct setting_pair *p, const char *file, struct fail *why)
{
    size_t n = strlen(p->key);
    if (n <= 5 || strcmp(p->key + n - 5, "_file") != 0)
        return 0;
    char *key = strndup(p->key, n - 5), *value = NULL;
    int rc = 0;
    if (!key)
        return fail(why, E_MEMORY, "out of memory");
    if (!is_secret(key))
        rc = refuse(p, file, why, "only passwords, secrets, tokens and keys in PEM are read from files");
    else if ((rc = read_secret(p->value, strstr(key, ".pem") != NULL, &value, why)))
        fail_prefix(why, "kafka.%s", p->key);
    if (rc) {
        free(key);
        return rc;
    }
    free(p->key);
    free(p->value);
    p->key = key;
    p->value = value;
    return 0;
}

static int fill_bootstrap(struct settings *s, struct fail *why)
{
    if (setting_map_get(&s->kafka, "bootstrap.servers") || setting_map_get(&s->kafka, "metadata.broker.list"))
        return 0;
    const char *env = getenv("KAFKA_BOOTSTRAP");
    return setting_set(settings_table, s, "kafka.bootstrap.servers", env && *env ? env : "127.0.0.1:9092",
                       "KAFKA_BOOTSTRAP", why);
}

int kafka_settings_finish(struct settings *s, const char *file, struct fail *why)
{
    int rc = 0;
    for (int i = 0; i < s->kafka.count && !rc; i++)
        if (!(rc = check_pair(s, &s->kafka.pairs[i], file, why)))
            rc = read_pair(&s->kafka.pairs[i], file, why);
    return rc ? rc : fill_bootstrap(s, why);
}
