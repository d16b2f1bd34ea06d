/* Starts Apicurio Registry on a free port, and nginx before it. Next to read: schema_server.h. */
#include "tests/lib/schema_server.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static bool answers(void *context)
{
    const struct schema_server *s = context;
    struct result r = {0};
    char url[160];
    snprintf(url, sizeof url, "%s/subjects", s->url);
    bool up = result_runl(&r, 5000, "curl", "-fsm", "2", "-o", "/dev/null", url, NULL) == 0;
    result_free(&r);
    return up;
}

void schema_server_start(struct schema_server *s)
{
    struct result r = {0};
    char java[600], http[60];
    if (!s->port)
        s->port = test_free_port();
    snprintf(s->url, sizeof s->url, "http://127.0.0.1:%d/apis/ccompat/v7", s->port);
    snprintf(http, sizeof http, "-Dquarkus.http.port=%d", s->port);
    result_expect((result_runl(&r, 180000, "tests/lib/apicurio", NULL), &r), 0);
    r.out[strcspn(r.out, "\n")] = 0;
    snprintf(java, sizeof java, "%s%sjava", getenv("JAVA_HOME") ? getenv("JAVA_HOME") : "",
             getenv("JAVA_HOME") ? "/bin/" : "");
    process_start(&s->process, "apicurio.log",
                  (const char *[]){java, "-Xms64m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
                                   "-Dquarkus.http.host=127.0.0.1", http, "-jar", r.out, NULL});
    result_free(&r);
    if (!wait_until(answers, s, 120000)) {
        process_print_log(&s->process);
        fail_msg("the schema registry did not answer within 120 s");
    }
}

uint32_t schema_server_put(const struct schema_server *s, const char *subject, const char *schema)
{
    struct result r = {0};
    char url[400];
    json_t *body = json_pack("{s:s}", "schema", schema);
    char *text = json_dumps(body, 0);
    snprintf(url, sizeof url, "%s/subjects/%s/versions", s->url, subject);
    const char *argv[] = {"curl",          "-fsS", "-m", "20", "-H", "Content-Type: application/json",
                          "--data-binary", "@-",   url,  NULL};
    result_run(&r, 30000, text, argv);
    result_expect(&r, 0);
    json_t *answer = json_loads(r.out, 0, NULL);
    uint32_t id = (uint32_t)json_integer_value(json_object_get(answer, "id"));
    assert_true(id > 0);
    json_decref(answer);
    json_decref(body);
    free(text);
    result_free(&r);
    return id;
}

/* ---- nginx ---- */

static const char *in_gate(const char *name)
{
    char path[300];
    snprintf(path, sizeof path, "gate/%s", name);
    return test_path(path);
}

static void write_users(void)
{
    struct result r = {0};
    char line[200];
    result_expect((result_runl(&r, 10000, "openssl", "passwd", "-apr1", GATE_PASSWORD, NULL), &r), 0);
    snprintf(line, sizeof line, GATE_USER ":%s", r.out);
    test_write(in_gate("users"), line);
    result_free(&r);
}

static bool gate_answers(void *context)
{
    struct schema_gate *g = context;
    struct result r = {0};
    bool up = result_runl(&r, 5000, "curl", "-skm", "2", "-o", "/dev/null", g->basic, NULL) == 0;
    result_free(&r);
    return up;
}

/* Folder, certificates, users, ports: what stays when it is started again. */
static void gate_make(struct schema_gate *g)
{
    struct result r = {0};
    g->dir = test_path("gate");
    g->ca_file = in_gate("ca.crt");
    g->other_ca_file = in_gate("wrongca.crt");
    g->cert_file = in_gate("worker.crt");
    g->key_file = in_gate("worker.key");
    g->other_cert_file = in_gate("intruder.crt");
    g->other_key_file = in_gate("intruder.key");
    if (mkdir(g->dir, 0700) == 0) { /* else of a gate before this one */
        result_expect((result_runl(&r, 20000, "tests/lib/certificates", g->dir, NULL), &r), 0);
        result_free(&r);
        write_users();
    }
    snprintf(g->basic, sizeof g->basic, "https://127.0.0.1:%d", test_free_port());
    snprintf(g->mtls, sizeof g->mtls, "https://127.0.0.1:%d", test_free_port());
    snprintf(g->bearer, sizeof g->bearer, "https://127.0.0.1:%d", test_free_port());
}

void schema_gate_start(struct schema_gate *g, const struct schema_server *s)
{
    char text[4000];
    if (!g->dir)
        gate_make(g);
    const char *dir = g->dir, *basic = g->basic + 8, *mtls = g->mtls + 8, *bearer = g->bearer + 8;
    snprintf(text, sizeof text,
             "%sdaemon off; worker_processes 1; pid %s/pid; error_log %s/error.log;\n"
             "events { worker_connections 256; }\n"
             "http { access_log off; client_body_temp_path %s/t1; proxy_temp_path %s/t2; fastcgi_temp_path "
             "%s/t3;\n"
             "uwsgi_temp_path %s/t4; scgi_temp_path %s/t5;\n"
             "ssl_certificate %s/server.crt; ssl_certificate_key %s/server.key;\n"
             "server { listen %s ssl; location / { auth_basic \"schemas\"; auth_basic_user_file %s/users;\n"
             "  proxy_pass %s/; } }\n"
             "server { listen %s ssl; ssl_client_certificate %s/ca.crt; ssl_verify_client on;\n"
             "  location / { proxy_pass %s/; } }\n"
             "server { listen %s ssl; location / {\n"
             "  if ($http_authorization != \"Bearer " GATE_TOKEN
             "\") { return 401; } proxy_pass %s/; } }\n}\n",
             geteuid() ? "" : "user root;\n", dir, dir, dir, dir, dir, dir, dir, dir, dir, basic, dir, s->url,
             mtls, dir, s->url, bearer, s->url);
    const char *config = test_write(in_gate("nginx.conf"), text);
    /* Not every PATH has the folder of servers. */
    const char *nginx = access("/usr/sbin/nginx", X_OK) == 0 ? "/usr/sbin/nginx" : "nginx";
    process_start(&g->process, "nginx.log",
                  (const char *[]){nginx, "-e", in_gate("error.log"), "-c", config, NULL});
    if (!wait_until(gate_answers, g, 20000)) {
        process_print_log(&g->process);
        fail_msg("nginx did not answer within 20 s");
    }
}
