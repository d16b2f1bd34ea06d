/* Requests to a schema registry and what its answers mean. What becomes of a schema: framing.c. */
#include "worker/codec/schema_client.h"

#include <curl/curl.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ANSWER_BYTES = 4 << 20, URLS = 8, SECRET = 8192, SUBJECT = 800, CONNECT_MS = 1000 };

struct schema_client {
    const struct settings *settings;
    const struct schema_stop *stop;
    CURL *curl; /* kept: its connection is used again */
    char urls[2048];
    const char *url[URLS];
    int count, first; /* the one that answered last */
};

struct request {
    const char *method, *path;
    const char *body; /* JSON; NULL: none */
};

struct answer {
    char *bytes;
    size_t size;
    long status;
    json_t *json; /* NULL: it is none */
    int64_t code; /* error_code; 0: none */
    const char *message;
};

static void answer_free(struct answer *a)
{
    json_decref(a->json);
    free(a->bytes);
    *a = (struct answer){0};
}

int schema_client_open(struct schema_client **out, const struct settings *s, struct fail *why)
{
    struct schema_client *c = calloc(1, sizeof *c);
    *out = c;
    if (!c || !(c->curl = curl_easy_init())) {
        schema_client_close(out);
        return fail(why, E_MEMORY, "no memory for a client of the schema registry");
    }
    c->settings = s;
    snprintf(c->urls, sizeof c->urls, "%s", s->registry_url);
    for (char *rest = c->urls, *url; c->count < URLS && (url = strtok_r(rest, ", ", &rest));) {
        size_t n = strlen(url);
        while (n && url[n - 1] == '/')
            url[--n] = 0;
        c->url[c->count++] = url;
    }
    if (c->count)
        return 0;
    schema_client_close(out);
    return fail(why, E_CONFIG, "schema_registry.url is empty");
}

void schema_client_close(struct schema_client **c)
{
    if (!*c)
        return;
    curl_easy_cleanup((*c)->curl);
    free(*c);
    *c = NULL;
}

void schema_client_stop(struct schema_client *c, const struct schema_stop *stop)
{
    c->stop = stop;
}

/* ---- one request ---- */

static size_t receive(char *bytes, size_t one, size_t n, void *arg)
{
    struct answer *a = arg;
    size_t size = one * n;
    char *more = a->size + size <= ANSWER_BYTES ? realloc(a->bytes, a->size + size + 1) : NULL;
    if (!more)
        return 0;
    a->bytes = more;
    memcpy(a->bytes + a->size, bytes, size);
    a->size += size;
    a->bytes[a->size] = 0;
    return size;
}

static bool stop_asked(const struct schema_client *c)
{
    return c->stop && c->stop->asked && c->stop->asked(c->stop->arg);
}

static int progress(void *arg, curl_off_t down, curl_off_t downloaded, curl_off_t up, curl_off_t uploaded)
{
    (void)down, (void)downloaded, (void)up, (void)uploaded;
    return stop_asked(arg);
}

/* The secret itself, or the first line of its file. */
static int secret_get(const char *value, const char *path, char out[SECRET], struct fail *why)
{
    snprintf(out, SECRET, "%s", value);
    if (!*path)
        return 0;
    FILE *f = fopen(path, "re");
    if (!f || !fgets(out, SECRET, f))
        *out = 0;
    out[strcspn(out, "\r\n")] = 0;
    int error = errno;
    if (f)
        fclose(f);
    if (!f)
        return fail(why, E_CONFIG, "schema_registry: cannot open %.200s: %s", path, strerror(error));
    return *out ? 0 : fail(why, E_CONFIG, "schema_registry: %.200s: the first line is empty", path);
}

static int set_credentials(struct schema_client *c, struct fail *why)
{
    const struct settings *s = c->settings;
    char secret[SECRET];
    int rc = 0;
    if (*s->registry_username &&
        !(rc = secret_get(s->registry_password, s->registry_password_file, secret, why))) {
        curl_easy_setopt(c->curl, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
        curl_easy_setopt(c->curl, CURLOPT_USERNAME, s->registry_username);
        curl_easy_setopt(c->curl, CURLOPT_PASSWORD, secret);
    } else if (!rc && (*s->registry_token || *s->registry_token_file) &&
               !(rc = secret_get(s->registry_token, s->registry_token_file, secret, why))) {
        curl_easy_setopt(c->curl, CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER);
        curl_easy_setopt(c->curl, CURLOPT_XOAUTH2_BEARER, secret);
    }
    explicit_bzero(secret, sizeof secret);
    if (*s->registry_ca_file)
        curl_easy_setopt(c->curl, CURLOPT_CAINFO, s->registry_ca_file);
    if (*s->registry_cert_file) {
        curl_easy_setopt(c->curl, CURLOPT_SSLCERT, s->registry_cert_file);
        curl_easy_setopt(c->curl, CURLOPT_SSLKEY,
                         *s->registry_key_file ? s->registry_key_file : s->registry_cert_file);
    }
    return rc;
}

static int prepare(struct schema_client *c, const struct request *q, const char *url, struct answer *a,
                   struct curl_slist *headers, struct fail *why)
{
    CURL *h = c->curl;
    curl_easy_reset(h);
    int rc = set_credentials(c, why);
    curl_easy_setopt(h, CURLOPT_URL, url);
    curl_easy_setopt(h, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, (long)SCHEMA_TRY_MS);
    curl_easy_setopt(h, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(h, CURLOPT_XFERINFOFUNCTION, progress);
    curl_easy_setopt(h, CURLOPT_XFERINFODATA, c);
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, receive);
    curl_easy_setopt(h, CURLOPT_WRITEDATA, a);
    if (q->body)
        curl_easy_setopt(h, CURLOPT_POSTFIELDS, q->body);
    curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, q->method);
    return rc;
}

static int curl_fail(CURLcode code, const char *detail, const char *url, struct fail *why)
{
    enum fail_code as = E_UNREACHABLE;
    if (code == CURLE_ABORTED_BY_CALLBACK)
        return fail(why, E_INTERRUPTED, "schema registry: given up");
    if (code == CURLE_PEER_FAILED_VERIFICATION)
        as = E_DENIED;
    if (code == CURLE_SSL_CERTPROBLEM || code == CURLE_SSL_CACERT_BADFILE)
        as = E_CONFIG;
    return fail(why, as, "schema registry %.150s: %s", url, *detail ? detail : curl_easy_strerror(code));
}

/* What an answer means before its content is looked at; 0 also where the registry itself says no, with its error_code. */
static int status_fail(const struct answer *a, const char *url, struct fail *why)
{
    long s = a->status;
    if (s == 401 || s == 403)
        return fail(why, E_DENIED,
                    "schema registry %.150s refuses us (HTTP %ld): user, password, token or rights", url, s);
    if ((s >= 200 && s < 300 && a->json) || (s >= 400 && s < 500 && a->code))
        return 0;
    if (s >= 400 && s < 500 && s != 404 && s != 408 && s != 429)
        return fail(why, E_DENIED,
                    "schema registry %.150s: HTTP %ld; is a client certificate missing or wrong?", url, s);
    return fail(why, E_UNREACHABLE,
                "%.150s answers HTTP %ld, not as a schema registry does; is the path right?", url, s);
}

static int try_url(struct schema_client *c, const struct request *q, const char *base, struct answer *a,
                   struct fail *why)
{
    char url[512 + 3 * SUBJECT], detail[CURL_ERROR_SIZE] = "";
    struct curl_slist *headers =
        curl_slist_append(NULL, "Content-Type: application/vnd.schemaregistry.v1+json");
    snprintf(url, sizeof url, "%.500s%s", base, q->path);
    answer_free(a);
    int rc = headers ? prepare(c, q, url, a, headers, why) : fail(why, E_MEMORY, "a request");
    if (!rc) {
        curl_easy_setopt(c->curl, CURLOPT_ERRORBUFFER, detail);
        CURLcode code = curl_easy_perform(c->curl);
        curl_easy_setopt(c->curl, CURLOPT_ERRORBUFFER, NULL);
        curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &a->status);
        if (code)
            rc = curl_fail(code, detail, base, why);
    }
    curl_slist_free_all(headers);
    if (rc)
        return rc;
    a->json = a->bytes ? json_loadb(a->bytes, a->size, JSON_DECODE_ANY, NULL) : NULL;
    a->code = json_integer_value(json_object_get(a->json, "error_code"));
    a->message = json_string_value(json_object_get(a->json, "message"));
    return status_fail(a, base, why);
}

/* Goes round the URLs until one answers. answer: to be freed by the caller, also on failure. */
static int ask(struct schema_client *c, const struct request *q, struct answer *a, struct fail *why)
{
    int rc = -E_UNREACHABLE;
    *a = (struct answer){0};
    for (int i = 0; rc == -E_UNREACHABLE && i < c->count; i++) {
        int n = (c->first + i) % c->count;
        rc = try_url(c, q, c->url[n], a, why);
        if (!rc)
            c->first = n;
    }
    return rc;
}

/* The registry's own no. */
static int said_no(const struct answer *a, const char *what, struct fail *why)
{
    if (a->status < 400)
        return 0;
    bool none = a->status == 404 && a->code >= 40400 && a->code < 40500;
    return fail(why, none ? E_UNKNOWN_SCHEMA : E_FAILED, "schema registry: %.120s: %.250s (%lld)", what,
                a->message ? a->message : "refused", (long long)a->code);
}

/* ---- the calls ---- */

/* "/subjects/SUBJECT" and what follows. */
static void subject_path(const struct schema_client *c, char out[3 * SUBJECT], const char *subject,
                         const char *more)
{
    char *escaped = curl_easy_escape(c->curl, subject, 0);
    snprintf(out, 3 * SUBJECT, "/subjects/%s%s", escaped ? escaped : "", more);
    curl_free(escaped);
}

int schema_client_ping(struct schema_client *c, struct fail *why)
{
    struct answer a;
    int rc = ask(c, &(struct request){.method = "GET", .path = "/subjects"}, &a, why);
    answer_free(&a);
    return rc;
}

/* The text of a schema in an answer. */
static int take_schema(const struct answer *a, const char *what, char **schema, struct fail *why)
{
    const char *text = json_string_value(json_object_get(a->json, "schema"));
    const char *type = json_string_value(json_object_get(a->json, "schemaType"));
    if (!text)
        return fail(why, E_UNREACHABLE, "schema registry: %s: the answer has no schema", what);
    if (type && strcmp(type, "AVRO") != 0)
        return fail(why, E_UNKNOWN_SCHEMA, "%s is a schema of %.40s, Avro is read", what, type);
    if (json_array_size(json_object_get(a->json, "references")))
        return fail(why, E_UNKNOWN_SCHEMA, "%s refers to other schemas, which is not supported", what);
    *schema = strdup(text);
    return *schema ? 0 : fail(why, E_MEMORY, "a schema");
}

int schema_client_get(struct schema_client *c, uint32_t id, char **schema, struct fail *why)
{
    char path[64], what[64];
    struct answer a;
    snprintf(path, sizeof path, "/schemas/ids/%u", id);
    snprintf(what, sizeof what, "schema id %u", id);
    int rc = ask(c, &(struct request){.method = "GET", .path = path}, &a, why);
    /* Anything but "there is no such schema" is no verdict on the record. */
    if (!rc && a.status >= 400 && !(a.status == 404 && a.code == 40403))
        rc = fail(why, E_UNREACHABLE, "schema registry: %s: HTTP %ld, %.200s (%lld)", what, a.status,
                  a.message ? a.message : "", (long long)a.code);
    if (!rc)
        rc = said_no(&a, what, why);
    if (!rc)
        rc = take_schema(&a, what, schema, why);
    answer_free(&a);
    return rc;
}

static int post_schema(struct schema_client *c, const char *subject, const char *more, const char *schema,
                       uint32_t *id, struct fail *why)
{
    char path[3 * SUBJECT];
    struct answer a = {0};
    json_t *object = json_pack("{s:s}", "schema", schema);
    char *body = object ? json_dumps(object, JSON_COMPACT) : NULL;
    subject_path(c, path, subject, more);
    int rc = body ? ask(c, &(struct request){.method = "POST", .path = path, .body = body}, &a, why)
                  : fail(why, E_MEMORY, "a schema");
    if (!rc)
        rc = said_no(&a, subject, why);
    json_t *number = json_object_get(a.json, "id");
    if (!rc && (!json_is_integer(number) || json_integer_value(number) < 0 ||
                json_integer_value(number) > UINT32_MAX))
        rc = fail(why, E_UNREACHABLE, "schema registry: %.200s: the answer has no id", subject);
    if (!rc)
        *id = (uint32_t)json_integer_value(number);
    json_decref(object);
    free(body);
    answer_free(&a);
    return rc;
}

int schema_client_find(struct schema_client *c, const char *subject, const char *schema, uint32_t *id,
                       struct fail *why)
{
    return post_schema(c, subject, "", schema, id, why);
}

int schema_client_register(struct schema_client *c, const char *subject, const char *schema, uint32_t *id,
                           struct fail *why)
{
    int rc = post_schema(c, subject, "", schema, id, why);
    return rc == -E_UNKNOWN_SCHEMA ? post_schema(c, subject, "/versions", schema, id, why) : rc;
}

int schema_client_versions(struct schema_client *c, const char *subject, int *versions, int room, int *count,
                           struct fail *why)
{
    char path[3 * SUBJECT];
    struct answer a;
    *count = 0;
    subject_path(c, path, subject, "/versions");
    int rc = ask(c, &(struct request){.method = "GET", .path = path}, &a, why);
    if (!rc)
        rc = said_no(&a, subject, why);
    for (size_t i = 0; !rc && i < json_array_size(a.json) && *count < room; i++)
        versions[(*count)++] = (int)json_integer_value(json_array_get(a.json, i));
    answer_free(&a);
    return rc;
}

int schema_client_version(struct schema_client *c, const char *subject, int version, char **schema,
                          uint32_t *id, struct fail *why)
{
    char path[3 * SUBJECT], more[40];
    struct answer a;
    snprintf(more, sizeof more, "/versions/%d", version);
    subject_path(c, path, subject, more);
    int rc = ask(c, &(struct request){.method = "GET", .path = path}, &a, why);
    if (!rc)
        rc = said_no(&a, subject, why);
    if (!rc)
        *id = (uint32_t)json_integer_value(json_object_get(a.json, "id"));
    if (!rc)
        rc = take_schema(&a, subject, schema, why);
    answer_free(&a);
    return rc;
}

static int level_at(struct schema_client *c, const char *path, char level[32], struct fail *why)
{
    struct answer a;
    int rc = ask(c, &(struct request){.method = "GET", .path = path}, &a, why);
    if (!rc)
        rc = said_no(&a, path, why);
    const char *text = json_string_value(json_object_get(a.json, "compatibilityLevel"));
    if (!rc)
        snprintf(level, 32, "%s", text ? text : "unknown");
    answer_free(&a);
    return rc;
}

int schema_client_level(struct schema_client *c, const char *subject, char level[32], struct fail *why)
{
    char path[3 * SUBJECT];
    char *escaped = curl_easy_escape(c->curl, subject, 0);
    snprintf(path, sizeof path, "/config/%s", escaped ? escaped : "");
    curl_free(escaped);
    int rc = level_at(c, path, level, why);
    return rc == -E_UNKNOWN_SCHEMA ? level_at(c, "/config", level, why) : rc;
}
