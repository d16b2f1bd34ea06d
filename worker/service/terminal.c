/* Progress bars and images in characters. What is shown is the commands' affair.
 * Next to read: terminal.h. */
#include "worker/service/terminal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "worker/service/text.h"

enum { GAP = 2, BAR = 24 };

int terminal_columns(int fd)
{
    struct winsize w;
    return ioctl(fd, TIOCGWINSZ, &w) == 0 && w.ws_col > 0 ? w.ws_col : 80;
}

double terminal_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void progress_open(struct progress *p, const char *what, const char *unit, int64_t total)
{
    *p = (struct progress){.what = what, .unit = unit, .total = total};
    p->began = p->drawn = terminal_now();
    p->terminal = isatty(STDERR_FILENO) && (!getenv("TERM") || strcmp(getenv("TERM"), "dumb") != 0);
}

static void progress_rate(const struct progress *p, double now, char *out, size_t size)
{
    char rate[32], left[32];
    double seconds = now - p->began;
    double per_second = seconds > 0 ? (double)p->done / seconds : 0;
    text_count((int64_t)per_second, rate, sizeof rate);
    if (p->total > p->done && per_second > 0)
        snprintf(out, size, "%s %s/s, %s left", rate, p->unit,
                 text_seconds((double)(p->total - p->done) / per_second, left, sizeof left));
    else
        snprintf(out, size, "%s %s/s", rate, p->unit);
}

static void progress_draw(struct progress *p, double now, const char *note)
{
    char own[96], count[32], total[40] = "", line[256];
    if (!note) {
        progress_rate(p, now, own, sizeof own);
        note = own;
    }
    text_count(p->done, count, sizeof count);
    if (p->total > 0) {
        char t[32];
        snprintf(total, sizeof total, " of %s", text_count(p->total, t, sizeof t));
    }
    double share = p->total > 0 ? (double)p->done / (double)p->total : 0;
    int full = (int)((share > 1 ? 1 : share) * BAR);
    char bar[BAR + 3] = "";
    if (p->total > 0 && p->terminal) {
        snprintf(bar, sizeof bar, "[%*s]", BAR, "");
        memset(bar + 1, '#', (size_t)full);
        memset(bar + 1 + full, '.', (size_t)(BAR - full));
    }
    snprintf(line, sizeof line, "%s %s%s%s%s %s, %s", p->what, bar, *bar ? " " : "", count, total, p->unit,
             note);
    if (p->terminal)
        fprintf(stderr, "\r\033[K%.*s", terminal_columns(STDERR_FILENO) - 1, line);
    else
        fprintf(stderr, "%s\n", line);
    fflush(stderr);
    p->shown = true;
    p->drawn = now;
}

void progress_set(struct progress *p, int64_t done, const char *note)
{
    double now = terminal_now();
    p->done = done;
    if (now - p->drawn >= (p->terminal ? 0.1 : 10))
        progress_draw(p, now, note);
}

void progress_close(struct progress *p)
{
    if (p->shown && p->terminal) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
    }
    p->shown = false;
}

enum image_style image_style(bool color)
{
    const char *depth = getenv("COLORTERM"), *term = getenv("TERM");
    if (!color || (term && strcmp(term, "dumb") == 0))
        return IMAGE_ASCII;
    if (depth && (strcmp(depth, "truecolor") == 0 || strcmp(depth, "24bit") == 0))
        return IMAGE_TRUECOLOR;
    return IMAGE_256;
}

struct rgb {
    float v[3];
};

/* The mean of the pixels in row y, column x of a grid of rows x columns laid over the image. */
static struct rgb image_cell(const struct image *im, int y, int rows, int x, int columns)
{
    struct rgb out = {{0, 0, 0}};
    int y0 = y * im->height / rows, y1 = (y + 1) * im->height / rows;
    int x0 = x * im->width / columns, x1 = (x + 1) * im->width / columns;
    y1 = y1 > y0 ? y1 : y0 + 1;
    x1 = x1 > x0 ? x1 : x0 + 1;
    for (int c = 0; c < 3; c++) {
        const float *plane = im->pixels + (int64_t)(im->channels == 3 ? c : 0) * im->height * im->width;
        float sum = 0;
        for (int i = y0; i < y1; i++)
            for (int j = x0; j < x1; j++) {
                float v = plane[(int64_t)i * im->width + j];
                sum += v > 0 ? (v < 1 ? v : 1) : 0; /* NaN is not above 0 */
            }
        out.v[c] = sum / (float)((y1 - y0) * (x1 - x0));
    }
    return out;
}

/* 6 x 6 x 6 cube from 16 on. */
static int palette_index(struct rgb p)
{
    int level[3];
    for (int c = 0; c < 3; c++)
        level[c] = (int)(p.v[c] * 5 + 0.5f);
    return 16 + 36 * level[0] + 6 * level[1] + level[2];
}

static void print_color(int ground, struct rgb p, enum image_style style, FILE *out)
{
    if (style == IMAGE_256)
        fprintf(out, "\033[%d;5;%dm", ground, palette_index(p));
    else
        fprintf(out, "\033[%d;2;%d;%d;%dm", ground, (int)(p.v[0] * 255 + 0.5f), (int)(p.v[1] * 255 + 0.5f),
                (int)(p.v[2] * 255 + 0.5f));
}

static void print_shade(struct rgb p, FILE *out)
{
    static const char shades[] = " .:-=+*#%@";
    float grey = 0.299f * p.v[0] + 0.587f * p.v[1] + 0.114f * p.v[2];
    putc(shades[(int)(grey * 9 + 0.5f)], out);
}

/* One line of one image: a character holds the pixel pair above each other. */
static void print_line(const struct image *im, int line, int lines, int columns, enum image_style style,
                       FILE *out)
{
    for (int x = 0; x < columns; x++) {
        if (style == IMAGE_ASCII) {
            print_shade(image_cell(im, line, lines, x, columns), out);
            continue;
        }
        print_color(38, image_cell(im, 2 * line, 2 * lines, x, columns), style, out);
        print_color(48, image_cell(im, 2 * line + 1, 2 * lines, x, columns), style, out);
        fputs("\xe2\x96\x80", out); /* upper half block: foreground above background */
    }
    if (style != IMAGE_ASCII)
        fputs("\033[0m", out);
}

static int image_lines(const struct image *im, int columns)
{
    int64_t lines = (int64_t)im->height * columns / im->width / 2;
    return lines < 1 ? 1 : lines > 64 ? 64 : (int)lines;
}

static bool image_fits(const struct image *im)
{
    return im->channels > 0 && im->height > 0 && im->width > 0 && im->pixels;
}

void image_print(const struct image *images, int count, int columns, enum image_style style, FILE *out)
{
    int most = 0;
    for (int i = 0; i < count; i++)
        if (image_fits(&images[i])) {
            int lines = image_lines(&images[i], columns);
            most = lines > most ? lines : most;
        }
    for (int line = 0; line < most; line++) {
        for (int i = 0; i < count; i++) {
            int lines = image_fits(&images[i]) ? image_lines(&images[i], columns) : 0;
            if (i)
                fprintf(out, "%*s", GAP, "");
            if (line < lines)
                print_line(&images[i], line, lines, columns, style, out);
            else
                fprintf(out, "%*s", columns, "");
        }
        putc('\n', out);
    }
    for (int i = 0; i < count; i++)
        fprintf(out, "%s%-*.*s", i ? "  " : "", columns, columns, images[i].caption);
    putc('\n', out);
}

int image_abreast(int fd, int columns)
{
    int n = (terminal_columns(fd) + GAP) / (columns + GAP);
    return n < 1 ? 1 : n > IMAGES_ABREAST ? IMAGES_ABREAST : n;
}
