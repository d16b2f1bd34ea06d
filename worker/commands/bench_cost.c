/* What processes cost, from /proc, and a worker's stages, from the page it serves. */
#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "worker/commands/bench_stream.h"

enum { PAGE_BYTES = 1 << 20, ASK_S = 2 };

const char *const bench_stages[BENCH_STAGES] = {"queue", "decode", "compute", "encode", "commit"};

/* ---- processes ---- */

/* The inode of the socket that listens on the port, in one of the kernel's tables; 0: none. */
static uint64_t listening_inode(const char *table, unsigned port)
{
    char line[512];
    uint64_t found = 0;
    FILE *f = fopen(table, "re");
    while (f && !found && fgets(line, sizeof line, f)) {
        char local[80], state[8];
        uint64_t inode;
        if (sscanf(line, "%*s %79s %*s %7s %*s %*s %*s %*s %*s %" SCNu64, local, state, &inode) != 3)
            continue;
        const char *colon = strrchr(local, ':');
        if (strcmp(state, "0A") == 0 && colon && strtoul(colon + 1, NULL, 16) == port)
            found = inode;
    }
    if (f)
        fclose(f);
    return found;
}

static bool holds_socket(const char *pid, uint64_t inode)
{
    char path[300], want[48], link[64];
    snprintf(want, sizeof want, "socket:[%" PRIu64 "]", inode);
    snprintf(path, sizeof path, "/proc/%.20s/fd", pid);
    DIR *d = opendir(path);
    struct dirent *e;
    bool found = false;
    while (d && !found && (e = readdir(d))) {
        snprintf(path, sizeof path, "/proc/%.20s/fd/%.40s", pid, e->d_name);
        ssize_t n = readlink(path, link, sizeof link - 1);
        link[n > 0 ? n : 0] = 0;
        found = strcmp(link, want) == 0;
    }
    if (d)
        closedir(d);
    return found;
}

pid_t cost_listener(const char *servers)
{
    char host[100];
    unsigned port;
    if (!servers || sscanf(servers, "%99[^:,]:%u", host, &port) != 2 ||
        (strcmp(host, "localhost") != 0 && strncmp(host, "127.", 4) != 0))
        return 0;
    uint64_t inode = listening_inode("/proc/net/tcp", port);
    inode = inode ? inode : listening_inode("/proc/net/tcp6", port);
    DIR *d = inode ? opendir("/proc") : NULL;
    struct dirent *e;
    pid_t found = 0;
    while (d && !found && (e = readdir(d)))
        if (isdigit((unsigned char)e->d_name[0]) && holds_socket(e->d_name, inode))
            found = atoi(e->d_name);
    if (d)
        closedir(d);
    return found;
}

double cost_cpu_s(pid_t pid)
{
    char path[40], line[1024] = "";
    unsigned long user, system;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = pid ? fopen(path, "re") : NULL;
    if (!f)
        return 0;
    const char *behind_name = fgets(line, sizeof line, f) ? strrchr(line, ')') : NULL;
    fclose(f);
    if (!behind_name ||
        sscanf(behind_name, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
        return 0;
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

double cost_memory_mb(pid_t pid, const char *what)
{
    char path[40], line[256];
    double mb = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *f = pid ? fopen(path, "re") : NULL;
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, what, strlen(what)) == 0 && line[strlen(what)] == ':')
            mb = (double)atoll(line + strlen(what) + 1) * 1024 / 1e6;
    if (f)
        fclose(f);
    return mb;
}

/* ---- a worker's page ---- */

/* The whole answer; NULL: there is none. */
static char *page_get(const char *host, int port)
{
    static const char question[] = "GET /metrics HTTP/1.0\r\n\r\n";
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct timeval most = {.tv_sec = ASK_S};
    int fd =
        inet_pton(AF_INET, host, &at.sin_addr) == 1 ? socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;
    char *page = malloc(PAGE_BYTES + 1);
    size_t size = 0;
    ssize_t n = -1;
    if (fd >= 0 && page && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most) == 0 &&
        connect(fd, (struct sockaddr *)&at, sizeof at) == 0 &&
        write(fd, question, sizeof question - 1) == sizeof question - 1)
        while ((n = read(fd, page + size, PAGE_BYTES - size)) > 0)
            size += (size_t)n;
    if (fd >= 0)
        close(fd);
    if (n != 0 || !size) {
        free(page);
        return NULL;
    }
    page[size] = 0;
    return page;
}

/* millrace_queue_seconds_bucket{role="infer",le="0.00005"} 12 */
static void take_line(const char *line, struct stage_times *to, int *at)
{
    for (int i = 0; i < BENCH_STAGES; i++) {
        char name[64];
        int n = snprintf(name, sizeof name, "millrace_%s_seconds_bucket{", bench_stages[i]);
        const char *bound = strstr(line, ",le=\""), *count = strchr(line, '}');
        if (strncmp(line, name, (size_t)n) != 0 || !bound || !count || count < bound ||
            !strstr(line, "role=\"infer\"") || at[i] == BENCH_BOUNDS)
            continue;
        to[i].bound_s[at[i]] = strtod(bound + 5, NULL); /* "+Inf" too */
        to[i].count[at[i]++] += strtod(count + 1, NULL);
        to[i].bounds = at[i];
    }
}

bool cost_stages(const char *host, int port, struct stage_times *to)
{
    char *page = page_get(host, port), *rest = NULL;
    int at[BENCH_STAGES] = {0};
    for (char *line = page ? strtok_r(page, "\n", &rest) : NULL; line; line = strtok_r(NULL, "\n", &rest))
        if (strlen(line) < 300)
            take_line(line, to, at);
    free(page);
    return page != NULL;
}

double stage_percentile_ms(const struct stage_times *before, const struct stage_times *after, double p)
{
    int n = after->bounds;
    double all = n ? after->count[n - 1] - before->count[n - 1] : 0, below = 0;
    for (int i = 0; all > 0 && i < n; i++) {
        double up_to = after->count[i] - before->count[i], low = i ? after->bound_s[i - 1] : 0;
        if (up_to < p * all) {
            below = up_to;
            continue;
        }
        if (i == n - 1) /* beyond the last bound that is a number */
            return 1e3 * low;
        return 1e3 * (low + (after->bound_s[i] - low) * (p * all - below) / (up_to - below));
    }
    return 0;
}
