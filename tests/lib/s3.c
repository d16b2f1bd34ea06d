/* Starts s3proxy on a free port with a folder of the test's as its disk. Next to read: s3.h. */
#include "tests/lib/s3.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>

#include <cmocka.h>

void s3_environment(const struct s3_server *s)
{
    setenv("AWS_ACCESS_KEY_ID", S3_KEY_ID, 1);
    setenv("AWS_SECRET_ACCESS_KEY", S3_SECRET, 1);
    setenv("AWS_ENDPOINT_URL_S3", s->endpoint, 1);
    setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent", 1);
    setenv("AWS_CONFIG_FILE", "/nonexistent", 1);
    for (const char *const *name =
             (const char *const[]){"AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE",
                                   "AWS_ENDPOINT_URL", "AWS_CA_BUNDLE", NULL};
         *name; name++)
        unsetenv(*name);
}

static bool answers(void *context)
{
    const struct s3_server *s = context;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)s->port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool up = connect(fd, (struct sockaddr *)&to, sizeof to) == 0;
    close(fd);
    return up;
}

void s3_server_start(struct s3_server *s)
{
    struct result r = {0};
    char text[1200], bucket[300], java[600];
    *s = (struct s3_server){.port = test_free_port()};
    snprintf(s->endpoint, sizeof s->endpoint, "http://127.0.0.1:%d", s->port);
    snprintf(s->folder, sizeof s->folder, "%s", test_path("buckets"));
    snprintf(bucket, sizeof bucket, "%s/models", s->folder);
    if (mkdir(s->folder, 0700) || mkdir(bucket, 0700))
        fail_msg("%s cannot be made", bucket);
    snprintf(text, sizeof text,
             "s3proxy.endpoint=%s\ns3proxy.authorization=aws-v4\ns3proxy.identity=" S3_KEY_ID
             "\ns3proxy.credential=" S3_SECRET
             "\njclouds.provider=filesystem\njclouds.filesystem.basedir=%s\n"
             "jclouds.identity=x\njclouds.credential=x\n",
             s->endpoint, s->folder);
    const char *config = test_write(test_path("s3proxy.conf"), text);
    result_expect((result_runl(&r, 180000, "tests/lib/s3proxy", NULL), &r), 0);
    r.out[strcspn(r.out, "\n")] = 0;
    snprintf(java, sizeof java, "%s%sjava", getenv("JAVA_HOME") ? getenv("JAVA_HOME") : "",
             getenv("JAVA_HOME") ? "/bin/" : "");
    process_start(&s->process, "s3proxy.log",
                  (const char *[]){java, "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-jar",
                                   r.out, "--properties", config, NULL});
    result_free(&r);
    if (!wait_until(answers, s, 60000)) {
        process_print_log(&s->process);
        fail_msg("s3proxy did not answer within 60 s");
    }
    s3_environment(s);
}
