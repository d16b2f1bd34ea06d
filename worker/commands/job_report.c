/* Named numbers of LossMetric records to tables. Which names there are: worker/train/run.h. */
#include "worker/commands/job_report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "worker/service/text.h"

enum { CLASSES_MOST = 1000, MATRIX_MOST = 16, BAR = 30, EPOCHS_MOST = 20, WORST = 10, NAME = 14 };

static double number(const struct loss_metric *m, const char *key)
{
    for (int i = 0; i < m->metric_count; i++)
        if (strcmp(m->metrics[i].key, key) == 0)
            return m->metrics[i].value;
    return NAN;
}

static double class_number(const struct loss_metric *m, const char *name, int k)
{
    char key[64];
    snprintf(key, sizeof key, "%s.%d", name, k);
    return number(m, key);
}

static double cell(const struct loss_metric *m, int is, int taken)
{
    char key[64];
    snprintf(key, sizeof key, "confusion.%d.%d", is, taken);
    double v = number(m, key);
    return isnan(v) ? 0 : v;
}

/* The last record that has this number; NULL: none. */
static const struct loss_metric *metric_with(const struct job_row *row, const char *key)
{
    for (int i = row->metric_count - 1; i >= 0; i--)
        if (!isnan(number(&row->metrics[i], key)))
            return &row->metrics[i];
    return NULL;
}

static int classes_of(const struct loss_metric *m, const char *name)
{
    int k = 0;
    while (k < CLASSES_MOST && !isnan(class_number(m, name, k)))
        k++;
    return k;
}

static const char *class_name(const struct job_row *row, int k, char out[NAME + 1])
{
    if (k < row->label_count)
        snprintf(out, NAME + 1, "%s", row->labels[k]);
    else
        snprintf(out, NAME + 1, "%d", k);
    return out;
}

static const char *count_text(double v, char out[32])
{
    return isnan(v) ? "-" : text_count((int64_t)v, out, 32);
}

void job_report_data(const struct job_row *row, FILE *out)
{
    const struct loss_metric *m = metric_with(row, "train_rows.0");
    char name[NAME + 1], a[32], b[32], c[32], d[32], e[32];
    double most = 1;
    if (!m && !(m = metric_with(row, "rows")))
        return;
    fprintf(out, "rows       %s: %s train, %s validate, %s test; bad records %s\n",
            count_text(number(m, "rows"), a), count_text(number(m, "train_rows"), b),
            count_text(number(m, "val_rows"), c), count_text(number(m, "test_rows"), d),
            count_text(number(m, "bad_records"), e));
    int classes = classes_of(m, "train_rows");
    for (int k = 0; k < classes; k++)
        most = fmax(most, class_number(m, "train_rows", k));
    for (int k = 0; k < classes && k < MATRIX_MOST; k++) {
        double n = class_number(m, "train_rows", k);
        fprintf(out, "  %-*s %8s ", NAME, class_name(row, k, name), count_text(n, a));
        for (int i = 0; i < (int)(n / most * BAR + 0.5); i++)
            fputs("\u2588", out);
        fputc('\n', out);
    }
    if (classes > MATRIX_MOST)
        fprintf(out, "  ... and %d classes more\n", classes - MATRIX_MOST);
}

static void real_print(FILE *out, double v, int width)
{
    if (isnan(v))
        fprintf(out, " %*s", width, "-");
    else
        fprintf(out, " %*.*g", width, v >= 1000 ? 8 : 4, v);
}

static void epochs_print(const struct job_row *row, FILE *out)
{
    int total = 0, seen = 0;
    for (int i = 0; i < row->metric_count; i++)
        total += !isnan(row->metrics[i].val_loss);
    if (!total)
        return;
    fprintf(out, "\n%6s %9s %9s %9s %9s %9s %10s\n", "EPOCH", "LOSS", "ACCURACY", "VAL_LOSS", "VAL_ACC",
            "RATE", "ROWS/S");
    for (int i = 0; i < row->metric_count; i++) {
        const struct loss_metric *m = &row->metrics[i];
        if (isnan(m->val_loss) || ++seen <= total - EPOCHS_MOST)
            continue;
        fprintf(out, "%6d", m->epoch);
        real_print(out, m->loss, 9);
        real_print(out, m->accuracy, 9);
        real_print(out, m->val_loss, 9);
        real_print(out, m->val_accuracy, 9);
        real_print(out, m->learning_rate, 9);
        real_print(out, round(m->samples_per_second), 10);
        fputc('\n', out);
    }
}

static void health_print(const struct job_row *row, FILE *out)
{
    static const char *const done[] = {"", "warned", "rate lowered, went back", "stopped"};
    for (int i = 0; i < row->metric_count; i++)
        for (int k = 0; k < row->metrics[i].metric_count; k++) {
            const struct number_pair *p = &row->metrics[i].metrics[k];
            int action = p->value >= 1 && p->value <= 3 ? (int)p->value : 0;
            if (strncmp(p->key, "health.", 7) == 0 && action)
                fprintf(out, "health     step %lld, epoch %d: %s: %s\n", (long long)row->metrics[i].step,
                        row->metrics[i].epoch, p->key + 7, done[action]);
        }
}

static void classes_print(const struct job_row *row, const struct loss_metric *m, int classes, FILE *out)
{
    char name[NAME + 1];
    fprintf(out, "\n%-*s %9s %9s %9s %8s\n", NAME, "CLASS", "PRECISION", "RECALL", "F1", "ROWS");
    for (int k = 0; k < classes; k++) {
        double rows = classes <= MATRIX_MOST ? 0 : NAN;
        for (int j = 0; j < classes && classes <= MATRIX_MOST; j++)
            rows += cell(m, k, j);
        fprintf(out, "%-*s", NAME, class_name(row, k, name));
        real_print(out, class_number(m, "precision", k), 9);
        real_print(out, class_number(m, "recall", k), 9);
        real_print(out, class_number(m, "f1", k), 9);
        real_print(out, rows, 8);
        fputc('\n', out);
    }
}

static void matrix_print(const struct job_row *row, const struct loss_metric *m, int classes, FILE *out)
{
    char name[NAME + 1];
    fprintf(out, "\n%-*s", NAME, "IS \\ TAKEN FOR");
    for (int j = 0; j < classes; j++)
        fprintf(out, " %5.5s", class_name(row, j, name));
    for (int k = 0; k < classes; k++) {
        fprintf(out, "\n%-*s", NAME, class_name(row, k, name));
        for (int j = 0; j < classes; j++)
            if (cell(m, k, j) > 0)
                fprintf(out, " %5.0f", cell(m, k, j));
            else
                fprintf(out, " %5s", ".");
    }
    fputc('\n', out);
}

static int more_first(const void *a, const void *b)
{
    const struct number_pair *x = a, *y = b;
    return (x->value < y->value) - (x->value > y->value);
}

/* Of many classes only the confusions that happen most. */
static void worst_print(const struct job_row *row, const struct loss_metric *m, FILE *out)
{
    struct number_pair *cells = malloc(sizeof *cells * (size_t)(m->metric_count + 1));
    char a[NAME + 1], b[NAME + 1];
    int n = 0, is, taken;
    for (int i = 0; cells && i < m->metric_count; i++)
        if (sscanf(m->metrics[i].key, "confusion.%d.%d", &is, &taken) == 2 && is != taken)
            cells[n++] = m->metrics[i];
    if (n)
        qsort(cells, (size_t)n, sizeof *cells, more_first);
    for (int i = 0; i < n && i < WORST; i++)
        if (sscanf(cells[i].key, "confusion.%d.%d", &is, &taken) == 2)
            fprintf(out, "%s%s taken for %s: %.0f\n", i ? "" : "\n", class_name(row, is, a),
                    class_name(row, taken, b), cells[i].value);
    free(cells);
}

void job_report_results(const struct job_row *row, FILE *out)
{
    const struct loss_metric *m = metric_with(row, "f1.0");
    epochs_print(row, out);
    health_print(row, out);
    if (!m)
        return;
    int classes = classes_of(m, "f1");
    classes_print(row, m, classes, out);
    if (classes <= MATRIX_MOST)
        matrix_print(row, m, classes, out);
    else
        worst_print(row, m, out);
}

void job_report_json(const struct loss_metric *m, FILE *out)
{
    const char *comma = "";
    fputc('{', out);
    for (int i = 0; i < m->metric_count; i++) {
        if (!isfinite(m->metrics[i].value))
            continue;
        fputs(comma, out);
        text_print_json(m->metrics[i].key, strlen(m->metrics[i].key), out);
        fprintf(out, ":%.9g", m->metrics[i].value);
        comma = ",";
    }
    fputc('}', out);
}
