/* An S3 server's answers, read: the few tags of its XML, and what a person should do about an error.
 * Leaves the asking to s3.c. */
#include "worker/models/s3_answer.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *code, *hint;
} hints[] = {
    {"SignatureDoesNotMatch",
     "the secret key (AWS_SECRET_ACCESS_KEY, aws_secret_access_key) is not the one of this access key"},
    {"InvalidAccessKeyId", "the server does not know this access key (AWS_ACCESS_KEY_ID, aws_access_key_id)"},
    {"AccessDenied", "these credentials need GetObject, PutObject, DeleteObject and ListBucket there"},
    {"NoSuchBucket", "there is no such bucket: make it, or correct the URI (models.store)"},
    {"ExpiredToken", "AWS_SESSION_TOKEN has expired: get new credentials"},
    {"InvalidToken", "AWS_SESSION_TOKEN is not one of this access key"},
    {"RequestTimeTooSkewed", "set this machine's clock"},
    {"PermanentRedirect", "the bucket lies in another region: set AWS_REGION"},
    {"AuthorizationHeaderMalformed", "the bucket lies in another region: set AWS_REGION"},
    {"QuotaExceeded", "free some space"},
};

static size_t entity(const char *at, char *out)
{
    static const struct {
        const char *name;
        char is;
    } all[] = {{"&amp;", '&'},  {"&lt;", '<'},    {"&gt;", '>'},
               {"&quot;", '"'}, {"&apos;", '\''}, {"&#39;", '\''}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strncmp(at, all[i].name, strlen(all[i].name)) == 0) {
            *out = all[i].is;
            return strlen(all[i].name);
        }
    *out = *at;
    return 1;
}

bool s3_xml_text(const char *xml, const char *tag, char *out, size_t room, const char **rest)
{
    char open[80], close[80];
    snprintf(open, sizeof open, "<%.70s>", tag);
    snprintf(close, sizeof close, "</%.70s>", tag);
    const char *from = strstr(xml, open);
    const char *to = from ? strstr(from, close) : NULL;
    if (!to)
        return false;
    size_t n = 0;
    for (from += strlen(open); from < to && n + 1 < room; n++)
        from += entity(from, &out[n]);
    out[n] = 0;
    if (rest)
        *rest = to + strlen(close);
    return true;
}

bool s3_answer_passes(long status, const char *body)
{
    char code[64] = "";
    s3_xml_text(body, "Code", code, sizeof code, NULL);
    return status >= 500 ? status != 501 && status != 505
                         : status == 408 || status == 429 || strcmp(code, "RequestTimeout") == 0 ||
                               strcmp(code, "OperationAborted") == 0;
}

int s3_answer_fail(const char *uri, long status, const char *body, struct fail *why)
{
    char code[64] = "", message[200] = "", region[40] = "";
    const char *hint =
        status == 301 || status == 307 ? "the bucket lies in another region: set AWS_REGION" : "";
    bool any = s3_xml_text(body, "Code", code, sizeof code, NULL);
    s3_xml_text(body, "Message", message, sizeof message, NULL);
    s3_xml_text(body, "Region", region, sizeof region, NULL);
    /* Without a code it is no S3 server's word about a key: a proxy, or a path that means nothing there. */
    if (strcmp(code, "NoSuchKey") == 0)
        return fail(why, E_FILE, "%.250s: there is no such object", uri);
    for (size_t i = 0; i < sizeof hints / sizeof *hints; i++)
        if (strcmp(code, hints[i].code) == 0)
            hint = hints[i].hint;
    for (char *p = message; *p; p++)
        if ((unsigned char)*p < ' ')
            *p = ' ';
    return fail(why, E_IO, "%.200s: the S3 server answers %ld%s%s%s%s%s%s%s%s", uri, status, any ? " " : "",
                code,
                *hint      ? ": "
                : *message ? ": "
                           : "",
                *hint ? hint : message, *region ? " (" : "", region, *region ? ")" : "",
                any ? "" : "; is it one? (AWS_ENDPOINT_URL_S3)");
}
