/* Who we are to an S3 server and where that is, from AWS's variables and files; s3.h lists them. Leaves requests to s3.c. */
#include "worker/models/s3.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *variable(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

static int value_set(char *out, size_t room, const char *what, const char *value, struct fail *why)
{
    if (strlen(value) >= room)
        return fail(why, E_CONFIG, "%s: %zu bytes, at most %zu are taken", what, strlen(value), room - 1);
    for (const char *p = value; *p; p++)
        if ((unsigned char)*p <= ' ' || *p == 127)
            return fail(why, E_CONFIG, "%s: has a space or a control character in it", what);
    memcpy(out, value, strlen(value) + 1);
    return 0;
}

/* Without white space at both ends. */
static char *trimmed(char *text)
{
    text += strspn(text, " \t");
    size_t n = strlen(text);
    while (n && strchr(" \t\r\n", text[n - 1]))
        text[--n] = 0;
    return text;
}

/* The path in a variable, else ~/.aws/NAME; false where there is no home either. */
static bool file_path(const char *name_of_variable, const char *name, char out[1024])
{
    const char *given = variable(name_of_variable), *home = variable("HOME");
    int n = given  ? snprintf(out, 1024, "%s", given)
            : home ? snprintf(out, 1024, "%s/.aws/%s", home, name)
                   : 0;
    return n > 0 && n < 1024;
}

struct wanted {
    const char *key;
    char *out; /* "" until it is found; what is there already stays */
    size_t room;
};

static int line_take(char *line, const char *path, const struct wanted *wanted, struct fail *why)
{
    char *equals = strchr(line, '='), what[1200];
    if (!equals)
        return 0;
    *equals = 0;
    for (const struct wanted *w = wanted; w->key; w++)
        if (strcmp(trimmed(line), w->key) == 0 && !*w->out) {
            snprintf(what, sizeof what, "%s: %s", path, w->key);
            return value_set(w->out, w->room, what, trimmed(equals + 1), why);
        }
    return 0;
}

/* "[section]" or "[profile section]" of a file of sections; one that does not exist has nothing. */
static int section_read(const char *path, const char *section, const struct wanted *wanted, struct fail *why)
{
    char *line = NULL;
    size_t room = 0;
    int rc = 0;
    bool inside = false;
    FILE *f = fopen(path, "re");
    if (!f)
        return errno == ENOENT || errno == ENOTDIR ? 0 : fail(why, E_CONFIG, "%s: %s", path, strerror(errno));
    while (!rc && getline(&line, &room, f) > 0) {
        char *text = trimmed(line);
        if (*text == '[') {
            text[strcspn(text, "]")] = 0;
            text = trimmed(text + 1);
            if (strncmp(text, "profile ", 8) == 0)
                text = trimmed(text + 8);
            inside = strcmp(text, section) == 0;
        } else if (inside && *text != '#' && *text != ';') {
            rc = line_take(text, path, wanted, why);
        }
    }
    if (!rc && ferror(f))
        rc = fail(why, E_CONFIG, "%s: %s", path, strerror(errno));
    free(line);
    fclose(f);
    return rc;
}

static int from_variables(struct s3_account *a, struct fail *why)
{
    const struct {
        const char *name;
        char *out;
        size_t room;
    } all[] = {
        {"AWS_ACCESS_KEY_ID", a->key_id, sizeof a->key_id},
        {"AWS_SECRET_ACCESS_KEY", a->secret, sizeof a->secret},
        {"AWS_SESSION_TOKEN", a->token, sizeof a->token},
        {"AWS_REGION", a->region, sizeof a->region},
        {"AWS_DEFAULT_REGION", a->region, sizeof a->region},
        {"AWS_ENDPOINT_URL_S3", a->endpoint, sizeof a->endpoint},
        {"AWS_ENDPOINT_URL", a->endpoint, sizeof a->endpoint},
        {"AWS_CA_BUNDLE", a->authorities, sizeof a->authorities},
    };
    int rc = 0;
    for (size_t i = 0; !rc && i < sizeof all / sizeof *all; i++)
        if (variable(all[i].name) && !*all[i].out)
            rc = value_set(all[i].out, all[i].room, all[i].name, variable(all[i].name), why);
    return rc;
}

static int from_files(struct s3_account *a, struct fail *why)
{
    const char *profile = variable("AWS_PROFILE") ? variable("AWS_PROFILE") : "default";
    char credentials[1024], config[1024];
    /* A pair belongs together: an identity of the environment never gets a file's secret. */
    bool whole = *a->key_id || *a->secret;
    const struct wanted secrets[] = {{"aws_access_key_id", a->key_id, sizeof a->key_id},
                                     {"aws_secret_access_key", a->secret, sizeof a->secret},
                                     {"aws_session_token", a->token, sizeof a->token},
                                     {NULL, NULL, 0}};
    const struct wanted places[] = {{"region", a->region, sizeof a->region},
                                    {"endpoint_url", a->endpoint, sizeof a->endpoint},
                                    {NULL, NULL, 0}};
    int rc = 0;
    if (!whole && file_path("AWS_SHARED_CREDENTIALS_FILE", "credentials", credentials))
        rc = section_read(credentials, profile, secrets, why);
    if (!rc && file_path("AWS_CONFIG_FILE", "config", config))
        rc = section_read(config, profile, places, why);
    if (!rc && (!*a->key_id || !*a->secret))
        rc =
            fail(why, E_CONFIG,
                 "no %s for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give profile '%.60s' in "
                 "%.200s (AWS_SHARED_CREDENTIALS_FILE)",
                 *a->key_id ? "secret key" : "access key", profile,
                 file_path("AWS_SHARED_CREDENTIALS_FILE", "credentials", credentials) ? credentials
                                                                                      : "~/.aws/credentials");
    return rc;
}

int s3_account_load(struct s3_account *out, struct fail *why)
{
    *out = (struct s3_account){0};
    int rc = from_variables(out, why);
    if (!rc)
        rc = from_files(out, why);
    if (rc)
        return rc;
    if (!*out->region)
        strcpy(out->region, "us-east-1");
    size_t n = strlen(out->endpoint);
    while (n && out->endpoint[n - 1] == '/')
        out->endpoint[--n] = 0;
    if (n && strncmp(out->endpoint, "http://", 7) != 0 && strncmp(out->endpoint, "https://", 8) != 0)
        return fail(why, E_CONFIG,
                    "S3 server (AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, endpoint_url): expected "
                    "http://HOST or https://HOST, got '%.200s'",
                    out->endpoint);
    return 0;
}

int s3_open(struct s3 *out, struct fail *why)
{
    out->stop = NULL;
    out->patience = (struct s3_patience){
        .tries = 4, .pause_ms = 250, .connect_ms = 5000, .stall_s = 20, .stall_bytes = 1024};
    return s3_account_load(&out->account, why);
}
