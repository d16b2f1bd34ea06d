/* Loss curves of block characters. Next to read: train.c, which feeds them. */
#include "worker/commands/curve.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "worker/service/text.h"

enum { WIDTH_MOST = 100, HEIGHT = 8, LABEL = 9 };

void curve_open(struct curve *c)
{
    *c = (struct curve){.first_step = -1};
    progress_open(&c->progress, "training", "steps", 0);
    c->terminal = c->progress.terminal;
}

void curve_free(struct curve *c)
{
    free(c->points);
    *c = (struct curve){0};
}

/* Records of a worker come many at once: their own time counts. A local run's have none. */
static double metric_time(const struct loss_metric *m)
{
    return m->at > 0 ? (double)m->at / 1000 : terminal_now();
}

bool curve_add(struct curve *c, const struct loss_metric *m)
{
    if (m->total_steps > 0)
        c->total_steps = m->total_steps;
    if (c->first_step < 0 && m->state == JOB_TRAINING) {
        c->first_step = m->step;
        c->first_s = metric_time(m);
    }
    if (isnan(m->loss))
        return true;
    if (c->count == c->capacity) {
        int capacity = c->capacity ? 2 * c->capacity : 128;
        struct curve_point *grown = realloc(c->points, sizeof *grown * (size_t)capacity);
        if (!grown)
            return false;
        c->points = grown;
        c->capacity = capacity;
    }
    c->points[c->count++] = (struct curve_point){(double)m->step, m->loss, m->val_loss};
    return true;
}

/* The mean loss of each column; NAN: no point falls into it. Gaps between points are bridged. */
static void curve_columns(const struct curve *c, int width, double out[WIDTH_MOST])
{
    int in_column[WIDTH_MOST] = {0};
    double last = c->points[c->count - 1].step;
    double total = c->total_steps > 0 ? (double)c->total_steps : last > 0 ? last : 1;
    int end = 0;
    for (int x = 0; x < width; x++)
        out[x] = NAN;
    for (int i = 0; i < c->count; i++) {
        int x = (int)(c->points[i].step / total * width - 1e-9);
        x = x < 0 ? 0 : x >= width ? width - 1 : x;
        out[x] = in_column[x] ? out[x] + c->points[i].loss : c->points[i].loss;
        in_column[x]++;
        end = x > end ? x : end;
    }
    for (int x = 0; x <= end; x++)
        if (in_column[x])
            out[x] /= in_column[x];
        else
            out[x] = x ? out[x - 1] : c->points[0].loss;
}

int curve_print(const struct curve *c, int width, int height, FILE *out)
{
    static const char *const blocks[] = {" ",      "\u2581", "\u2582", "\u2583", "\u2584",
                                         "\u2585", "\u2586", "\u2587", "\u2588"};
    const char *line_end = isatty(fileno(out)) ? "\033[K\n" : "\n"; /* on a screen over an older curve */
    double y[WIDTH_MOST], high = 0;
    if (!c->count || height < 1)
        return 0;
    width = width > WIDTH_MOST ? WIDTH_MOST : width < 8 ? 8 : width;
    curve_columns(c, width, y);
    for (int x = 0; x < width; x++)
        if (y[x] > high)
            high = y[x];
    for (int line = height - 1; line >= 0; line--) {
        if (line == height - 1 || line == 0)
            fprintf(out, "%*.4g ", LABEL - 1, line ? high : 0.0);
        else
            fprintf(out, "%*s", LABEL, "");
        for (int x = 0; x < width && !isnan(y[x]); x++) {
            double eighths = high > 0 ? y[x] / high * height * 8 - line * 8 : 0;
            int n = eighths < 0 ? 0 : eighths > 8 ? 8 : (int)(eighths + 0.5);
            fputs(blocks[n == 0 && line == 0 ? 1 : n], out);
        }
        fputs(line_end, out);
    }
    return height;
}

/* The time left first: a narrow screen cuts the rest. */
static void note_make(const struct curve *c, const struct loss_metric *m, char *out, size_t size)
{
    char rate[32], left[32];
    double passed = metric_time(m) - c->first_s;
    int64_t done = m->step - c->first_step;
    int n = 0;
    if (done > 0 && m->total_steps > m->step)
        n = snprintf(
            out, size, "%s left, ",
            text_seconds(passed / (double)done * (double)(m->total_steps - m->step), left, sizeof left));
    n += snprintf(out + n, size - (size_t)n, "loss %.3g", m->loss);
    if (!isnan(m->samples_per_second))
        snprintf(out + n, size - (size_t)n, ", %s rows/s",
                 text_count((int64_t)m->samples_per_second, rate, sizeof rate));
}

static void curve_draw(struct curve *c, const struct loss_metric *m)
{
    char note[128];
    if (c->drawn)
        fprintf(stderr, "\r\033[K\033[%dA", c->drawn);
    c->drawn = curve_print(c, terminal_columns(STDERR_FILENO) - LABEL - 1, HEIGHT, stderr);
    note_make(c, m, note, sizeof note);
    c->progress.total = c->total_steps;
    c->progress.drawn = 0;
    progress_set(&c->progress, m->step, note);
}

static void line_print(const struct loss_metric *m)
{
    char step[32], total[32];
    fprintf(stderr, "epoch %d, step %s of %s: loss %.4g", m->epoch, text_count(m->step, step, sizeof step),
            text_count(m->total_steps, total, sizeof total), m->loss);
    if (!isnan(m->accuracy))
        fprintf(stderr, ", accuracy %.4f", m->accuracy);
    if (!isnan(m->val_loss))
        fprintf(stderr, ", val_loss %.4g", m->val_loss);
    if (!isnan(m->val_accuracy))
        fprintf(stderr, ", val_accuracy %.4f", m->val_accuracy);
    fputc('\n', stderr);
}

void curve_show(struct curve *c, const struct loss_metric *m)
{
    if (isnan(m->loss))
        return;
    if (c->terminal)
        curve_draw(c, m);
    else if (!isnan(m->val_loss) || m->step == m->total_steps)
        line_print(m);
    fflush(stderr);
}

void curve_end(struct curve *c)
{
    progress_close(&c->progress);
    c->drawn = 0;
}
