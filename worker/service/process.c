/* The process_* lines of a Prometheus page, as its client libraries name them, from /proc/self. What cannot be read is left
 * out. The rest of the page: metrics.c. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "worker/service/metrics.h"

/* What proc(5) says of /proc/self/stat, counted from the state, which is the first field behind the name's ")". */
enum { STAT_THREADS = 17, STAT_START = 19, STAT_VIRTUAL = 20, STAT_RESIDENT = 21, STAT_FIELDS = 22 };

static void line(FILE *out, const char *name, const char *type, const char *help, double value)
{
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n%s %.17g\n", name, help, name, type, name, value);
}

static bool stat_read(double field[STAT_FIELDS])
{
    char text[2048];
    FILE *f = fopen("/proc/self/stat", "re");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f)
        fclose(f);
    text[n] = 0;
    char *at = strrchr(text, ')'); /* the name may hold spaces and brackets itself */
    if (!at || strlen(at) < 4)
        return false;
    at += 3; /* behind ") S" */
    for (int i = 1; i < STAT_FIELDS; i++) {
        char *end;
        field[i] = strtod(at, &end);
        if (end == at)
            return false;
        at = end;
    }
    return true;
}

/* /proc counts the start from the machine's boot. */
static double start_seconds(double ticks)
{
    struct timespec now, up;
    clock_gettime(CLOCK_REALTIME, &now);
    clock_gettime(CLOCK_BOOTTIME, &up);
    double boot = (double)(now.tv_sec - up.tv_sec) + (double)(now.tv_nsec - up.tv_nsec) * 1e-9;
    return boot + ticks / (double)sysconf(_SC_CLK_TCK);
}

static int descriptors_open(void)
{
    DIR *folder = opendir("/proc/self/fd");
    int n = -3; /* ".", ".." and the folder's own */
    if (!folder)
        return -1;
    while (readdir(folder))
        n++;
    closedir(folder);
    return n;
}

void metrics_print_process(FILE *out)
{
    double stat[STAT_FIELDS];
    struct timespec cpu;
    struct rlimit most;
    int open = descriptors_open();
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu) == 0)
        line(out, "process_cpu_seconds_total", "counter", "User and system time in seconds.",
             (double)cpu.tv_sec + (double)cpu.tv_nsec * 1e-9);
    if (open >= 0)
        line(out, "process_open_fds", "gauge", "Open file descriptors.", open);
    if (getrlimit(RLIMIT_NOFILE, &most) == 0)
        line(out, "process_max_fds", "gauge", "Most file descriptors that may be open.",
             (double)most.rlim_cur);
    if (!stat_read(stat))
        return;
    line(out, "process_resident_memory_bytes", "gauge", "Resident memory in bytes.",
         stat[STAT_RESIDENT] * (double)sysconf(_SC_PAGESIZE));
    line(out, "process_virtual_memory_bytes", "gauge", "Virtual memory in bytes.", stat[STAT_VIRTUAL]);
    line(out, "process_threads", "gauge", "Threads.", stat[STAT_THREADS]);
    line(out, "process_start_time_seconds", "gauge", "Start of the process, seconds since 1970.",
         start_seconds(stat[STAT_START]));
}
