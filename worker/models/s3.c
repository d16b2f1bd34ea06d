/* Requests to an S3 server: an address, a signature, tries. Leaves the reading of what is said to s3_answer.c and who we
 * are to s3_account.c; store_s3.c makes a store of it. Two traps of libcurl 7.88's signer: it sends no
 * x-amz-content-sha256 of its own, and signs a query in the order in which it is written, which must be that of the names. */
#include "worker/models/s3.h"

#include <curl/curl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "worker/models/s3_answer.h"

enum { WORDS_BYTES = 64 << 10, URL_BYTES = 8 << 10 };

struct request {
    const char *method, *uri, *query; /* query: encoded, in order; NULL: none */
    const char *body;
    size_t body_size;
    bool fresh;
    size_t max_bytes; /* of the answer */
};

struct answer {
    CURL *curl;
    long status;
    char *bytes; /* 0-terminated */
    size_t size, room, max_bytes;
    bool too_large, no_memory;
    curl_off_t length; /* said, not received: HEAD */
    size_t sent;       /* of the request's body */
    const struct request *of;
};

int s3_uri_split(const char *uri, char bucket[64], const char **key, struct fail *why)
{
    size_t n = strncmp(uri, "s3://", 5) == 0 ? strcspn(uri + 5, "/") : 0;
    size_t good = n ? strspn(uri + 5, "abcdefghijklmnopqrstuvwxyz0123456789.-") : 0;
    if (n < 3 || n > 63 || good < n || uri[5] == '.' || uri[5] == '-')
        return fail(why, E_CONFIG,
                    "%.200s: expected s3://BUCKET/KEY, the bucket's name of 3 to 63 a-z 0-9 . -", uri);
    memcpy(bucket, uri + 5, n);
    bucket[n] = 0;
    *key = uri[5 + n] ? uri + 5 + n + 1 : uri + 5 + n;
    return 0;
}

/* Appends text, all but unreserved characters (RFC 3986) and those in `also` percent-encoded; false when it does not fit. */
static bool url_put(char url[URL_BYTES], const char *text, const char *also)
{
    size_t n = strlen(url);
    for (; *text && n + 4 < URL_BYTES; text++) {
        bool plain = (*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z') ||
                     (*text >= '0' && *text <= '9') || strchr("-._~", *text) || strchr(also, *text);
        n += (size_t)snprintf(url + n, URL_BYTES - n, plain ? "%c" : "%%%02X", (unsigned char)*text);
    }
    return !*text;
}

static int url_make(const struct s3 *s3, const struct request *q, char url[URL_BYTES], struct fail *why)
{
    char bucket[64];
    const char *key;
    int rc = s3_uri_split(q->uri, bucket, &key, why);
    if (rc)
        return rc;
    /* A certificate for *.s3.amazonaws.com does not cover a name with dots. */
    if (*s3->account.endpoint)
        snprintf(url, URL_BYTES, "%s/%s/", s3->account.endpoint, bucket);
    else if (strchr(bucket, '.'))
        snprintf(url, URL_BYTES, "https://s3.%s.amazonaws.com/%s/", s3->account.region, bucket);
    else
        snprintf(url, URL_BYTES, "https://%s.s3.%s.amazonaws.com/", bucket, s3->account.region);
    if (q->query ? !url_put(url, "?", "?") || !url_put(url, q->query, "=&%") : !url_put(url, key, "/"))
        return fail(why, E_FILE, "%.200s: the key is too long", q->uri);
    return 0;
}

static size_t receive(char *bytes, size_t one, size_t size, void *arg)
{
    struct answer *a = arg;
    (void)one;
    curl_off_t length = -1;
    curl_easy_getinfo(a->curl, CURLINFO_RESPONSE_CODE, &a->status);
    curl_easy_getinfo(a->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    size_t max = a->status == 200 ? a->max_bytes : WORDS_BYTES;
    size_t said = length > 0 ? (size_t)length : 0;
    if (size > max - a->size || said > max) {
        a->too_large = true;
        return 0;
    }
    if (a->size + size + 1 > a->room) {
        size_t room = said >= a->size + size ? said + 1 : 2 * (a->size + size) + 1;
        char *more = realloc(a->bytes, room);
        a->no_memory = !more;
        if (!more)
            return 0;
        a->bytes = more;
        a->room = room;
    }
    memcpy(a->bytes + a->size, bytes, size);
    a->size += size;
    a->bytes[a->size] = 0;
    return size;
}

static size_t give(char *bytes, size_t one, size_t room, void *arg)
{
    struct answer *a = arg;
    size_t left = a->of->body_size - a->sent, n = one * room < left ? one * room : left;
    memcpy(bytes, a->of->body + a->sent, n);
    a->sent += n;
    return n;
}

/* A connection that turns out dead makes curl begin again on another one. */
static int rewind_to(void *arg, curl_off_t offset, int origin)
{
    struct answer *a = arg;
    if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > a->of->body_size)
        return CURL_SEEKFUNC_FAIL;
    a->sent = (size_t)offset;
    return CURL_SEEKFUNC_OK;
}

static bool stop_asked(const struct s3 *s3)
{
    return s3->stop && s3->stop->asked(s3->stop->arg);
}

static int progress(void *arg, curl_off_t down, curl_off_t downloaded, curl_off_t up, curl_off_t uploaded)
{
    (void)down, (void)downloaded, (void)up, (void)uploaded;
    return stop_asked(arg);
}

static bool header_add(struct curl_slist **list, const char *name, const char *value)
{
    char line[5000];
    snprintf(line, sizeof line, "%s: %s", name, value);
    struct curl_slist *longer = curl_slist_append(*list, line);
    if (longer)
        *list = longer;
    return longer;
}

static struct curl_slist *headers_make(const struct s3 *s3, const struct request *q)
{
    struct curl_slist *list = NULL;
    char sha256[SHA256_HEX];
    sha256_hex(q->body ? q->body : "", q->body_size, sha256);
    if (!header_add(&list, "x-amz-content-sha256", sha256) ||
        (*s3->account.token && !header_add(&list, "x-amz-security-token", s3->account.token)) ||
        (q->fresh && !header_add(&list, "If-None-Match", "*"))) {
        curl_slist_free_all(list);
        return NULL;
    }
    return list;
}

static void request_prepare(CURL *h, const struct s3 *s3, const struct request *q, struct answer *a)
{
    const struct s3_patience *p = &s3->patience;
    char signer[100];
    snprintf(signer, sizeof signer, "aws:amz:%s:s3", s3->account.region);
    curl_easy_setopt(h, CURLOPT_AWS_SIGV4, signer);
    curl_easy_setopt(h, CURLOPT_USERNAME, s3->account.key_id);
    curl_easy_setopt(h, CURLOPT_PASSWORD, s3->account.secret);
    curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(h, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h, CURLOPT_PATH_AS_IS, 1L); /* a key may hold "..": it is signed and sent as it is */
    curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, (long)p->connect_ms);
    curl_easy_setopt(h, CURLOPT_LOW_SPEED_TIME, (long)p->stall_s);
    curl_easy_setopt(h, CURLOPT_LOW_SPEED_LIMIT, (long)p->stall_bytes);
    curl_easy_setopt(h, CURLOPT_NOPROGRESS, s3->stop ? 0L : 1L);
    curl_easy_setopt(h, CURLOPT_XFERINFOFUNCTION, progress);
    curl_easy_setopt(h, CURLOPT_XFERINFODATA, s3);
    if (*s3->account.authorities)
        curl_easy_setopt(h, CURLOPT_CAINFO, s3->account.authorities);
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, receive);
    curl_easy_setopt(h, CURLOPT_WRITEDATA, a);
    if (strcmp(q->method, "PUT") == 0) {
        curl_easy_setopt(h, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(h, CURLOPT_INFILESIZE_LARGE, (curl_off_t)q->body_size);
        curl_easy_setopt(h, CURLOPT_READFUNCTION, give);
        curl_easy_setopt(h, CURLOPT_READDATA, a);
        curl_easy_setopt(h, CURLOPT_SEEKFUNCTION, rewind_to);
        curl_easy_setopt(h, CURLOPT_SEEKDATA, a);
    } else if (strcmp(q->method, "HEAD") == 0) {
        curl_easy_setopt(h, CURLOPT_NOBODY, 1L);
    } else if (strcmp(q->method, "GET") != 0) {
        curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, q->method);
    }
}

/* What libcurl says when there was no answer. *again: another try may succeed. */
static int curl_fail(CURLcode code, const char *detail, const struct request *q, const struct answer *a,
                     const struct s3 *s3, bool *again, struct fail *why)
{
    const char *server = *s3->account.endpoint ? s3->account.endpoint : "Amazon S3";
    *again = false;
    if (a->too_large)
        return fail(why, E_FILE, "%.250s: larger than the %zu bytes that are taken", q->uri, a->max_bytes);
    if (a->no_memory || code == CURLE_OUT_OF_MEMORY)
        return fail(why, E_MEMORY, "%.250s: no memory for it", q->uri);
    if (code == CURLE_ABORTED_BY_CALLBACK)
        return fail(why, E_INTERRUPTED, "%.250s: given up", q->uri);
    *again = code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST ||
             code == CURLE_OPERATION_TIMEDOUT || code == CURLE_PARTIAL_FILE || code == CURLE_GOT_NOTHING ||
             code == CURLE_SEND_ERROR || code == CURLE_RECV_ERROR || code == CURLE_SSL_CONNECT_ERROR;
    if (code == CURLE_OPERATION_TIMEDOUT && (a->size || a->sent))
        return fail(
            why, E_IO, "%.200s: the transfer stalled after %zu bytes: below %d bytes/s for %d s (%.100s)",
            q->uri, a->size ? a->size : a->sent, s3->patience.stall_bytes, s3->patience.stall_s, server);
    if (code == CURLE_PARTIAL_FILE)
        return fail(why, E_IO, "%.200s: the transfer was cut off after %zu bytes (%.100s)", q->uri, a->size,
                    server);
    return fail(why, E_IO, "%.200s: %s (%.100s)", q->uri, *detail ? detail : curl_easy_strerror(code),
                server);
}

/* One try. answer: to be freed by the caller, also on failure. */
static int request_try(const struct s3 *s3, const struct request *q, struct answer *a, bool *again,
                       struct fail *why)
{
    char url[URL_BYTES], detail[CURL_ERROR_SIZE] = "";
    struct curl_slist *headers = NULL;
    *a = (struct answer){.max_bytes = q->max_bytes, .of = q};
    *again = false;
    int rc = url_make(s3, q, url, why);
    if (rc)
        return rc;
    CURL *h = curl_easy_init();
    headers = headers_make(s3, q);
    if (!h || !headers) {
        rc = fail(why, E_MEMORY, "%.250s: a request", q->uri);
        goto out;
    }
    a->curl = h;
    request_prepare(h, s3, q, a);
    curl_easy_setopt(h, CURLOPT_URL, url);
    curl_easy_setopt(h, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(h, CURLOPT_ERRORBUFFER, detail);
    CURLcode code = curl_easy_perform(h);
    curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &a->status);
    curl_easy_getinfo(h, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &a->length);
    const char *body = a->bytes ? a->bytes : "";
    /* A server that refuses may hang up before it has the body: its answer counts. */
    if (a->status >= 300 && !a->too_large && !a->no_memory) {
        *again = s3_answer_passes(a->status, body);
        rc = s3_answer_fail(q->uri, a->status, body, why);
    } else if (code) {
        rc = curl_fail(code, detail, q, a, s3, again, why);
    }
out:
    curl_slist_free_all(headers);
    curl_easy_cleanup(h);
    return rc;
}

/* False: it is to be given up. */
static bool pause_ms(const struct s3 *s3, int64_t ms)
{
    struct timespec bit = {0, 50000000};
    for (; ms > 0 && !stop_asked(s3); ms -= 50)
        nanosleep(&bit, NULL);
    return !stop_asked(s3);
}

/* Tries until it is answered, refused for good, or enough. answer: to be freed by the caller, also on failure. */
static int request_do(const struct s3 *s3, const struct request *q, struct answer *a, struct fail *why)
{
    struct fail own;
    bool again = false;
    int64_t pause = s3->patience.pause_ms;
    why = why ? why : &own;
    for (int n = 1;; n++, pause *= 4) {
        int rc = request_try(s3, q, a, &again, why);
        if (!rc || !again)
            return rc;
        if (n >= s3->patience.tries) {
            size_t end = strlen(why->text);
            snprintf(why->text + end, sizeof why->text - end, "; %d tries", n);
            return rc;
        }
        free(a->bytes);
        *a = (struct answer){0};
        if (!pause_ms(s3, pause))
            return fail(why, E_INTERRUPTED, "%.250s: given up", q->uri);
    }
}

int s3_put(const struct s3 *s3, const char *uri, const void *bytes, size_t size, bool fresh, struct fail *why)
{
    struct answer a;
    struct request q = {.method = "PUT",
                        .uri = uri,
                        .body = bytes,
                        .body_size = size,
                        .fresh = fresh,
                        .max_bytes = WORDS_BYTES};
    int rc = request_do(s3, &q, &a, why);
    free(a.bytes);
    return rc && fresh && a.status == 412 ? 0 : rc;
}

int s3_get(const struct s3 *s3, const char *uri, size_t max_bytes, void **bytes, size_t *size,
           struct fail *why)
{
    struct answer a;
    int rc = request_do(s3, &(struct request){.method = "GET", .uri = uri, .max_bytes = max_bytes}, &a, why);
    if (!rc && !a.bytes && !(a.bytes = calloc(1, 1)))
        rc = fail(why, E_MEMORY, "%.250s", uri);
    if (rc) {
        free(a.bytes);
        return rc;
    }
    *bytes = a.bytes;
    *size = a.size;
    return 0;
}

int s3_size(const struct s3 *s3, const char *uri, size_t *size, struct fail *why)
{
    struct answer a;
    int rc = request_do(s3, &(struct request){.method = "HEAD", .uri = uri}, &a, why);
    free(a.bytes);
    /* No body, so no reason: 404 may be the bucket's, and who may not list gets 403 for what is not there. */
    if (rc && (a.status == 404 || a.status == 403))
        return fail(why, E_FILE, "%.250s: there is no such object that can be seen", uri);
    *size = rc || a.length < 0 ? 0 : (size_t)a.length;
    return rc;
}

int s3_delete(const struct s3 *s3, const char *uri, struct fail *why)
{
    struct answer a;
    int rc =
        request_do(s3, &(struct request){.method = "DELETE", .uri = uri, .max_bytes = WORDS_BYTES}, &a, why);
    free(a.bytes);
    return rc == -E_FILE ? 0 : rc;
}

/* One page of a list; *next is the token of the one after it, "" at the end. */
static int page_visit(const char *xml, const char *folder_uri, store_visit *visit, void *arg, char next[2048],
                      struct fail *why)
{
    char key[1100], bucket[64], uri[STORE_URI + 320];
    const char *folder, *at = xml;
    int rc = s3_uri_split(folder_uri, bucket, &folder, why);
    size_t n = strlen(folder);
    while (!rc && s3_xml_text(at, "Key", key, sizeof key, &at)) {
        if (strncmp(key, folder, n) != 0 || key[n] != '/' || !key[n + 1] || strchr(key + n + 1, '/'))
            continue;
        snprintf(uri, sizeof uri, "s3://%s/%s", bucket, key);
        rc = visit(arg, uri, key + n + 1, why);
    }
    if (!s3_xml_text(xml, "NextContinuationToken", next, 2048, NULL))
        *next = 0;
    return rc;
}

int s3_list(const struct s3 *s3, const char *folder_uri, store_visit *visit, void *arg, struct fail *why)
{
    char bucket[64], query[URL_BYTES], next[2048] = "";
    const char *folder;
    int rc = s3_uri_split(folder_uri, bucket, &folder, why);
    while (!rc) {
        struct answer a;
        *query = 0;
        if (*next) {
            strcpy(query, "continuation-token=");
            url_put(query, next, "");
            strcat(query, "&");
        }
        strcat(query, "list-type=2&prefix=");
        url_put(query, folder, "");
        url_put(query, "/", "");
        rc = request_do(
            s3, &(struct request){.method = "GET", .uri = folder_uri, .query = query, .max_bytes = 16 << 20},
            &a, why);
        if (!rc)
            rc = page_visit(a.bytes ? a.bytes : "", folder_uri, visit, arg, next, why);
        free(a.bytes);
        if (!*next)
            break;
    }
    return rc;
}
