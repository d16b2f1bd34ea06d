/* What is done with rows once all are there: checks against the network, the parts, mean and std, and filling a
 * micro-batch. Next to read: run.c, which walks over the rows. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "worker/train/dataset_parts.h"

static int parts_make(struct dataset *d, struct fail *why)
{
    for (int p = 0; p < DATASET_PARTS; p++) {
        struct list_of_rows *list = &d->parts[p];
        list->count = 0;
        if (!dataset_grow(&list->v, d->count, sizeof *list->v))
            return fail(why, E_MEMORY, "data set: no memory to split %lld rows", (long long)d->count);
        for (int64_t i = 0; i < d->count; i++)
            if (d->part[i] == p)
                list->v[list->count++] = (uint32_t)i;
    }
    return 0;
}

static int labels_check(const struct dataset *d, int64_t classes, const struct loss_type *loss,
                        struct fail *why)
{
    for (int64_t i = 0; i < d->count; i++)
        if ((d->labels[i] < 0 || d->labels[i] >= classes) &&
            !(d->options.ignores && d->labels[i] == d->options.ignored_label))
            return fail(why, E_JOB,
                        "data set: row %lld has the label %d, but %s with this network knows 0 to %lld",
                        (long long)i, d->labels[i], loss_name(loss), (long long)classes - 1);
    return 0;
}

/* Of log loss: how far each label holds. */
static int shares_check(const struct dataset *d, struct fail *why)
{
    for (int64_t i = 0; i < d->count * d->target_size; i++)
        if (!(d->targets[i] >= 0 && d->targets[i] <= 1))
            return fail(why, E_JOB, "data set: row %lld has the target %g, log_loss takes 0 to 1",
                        (long long)(i / d->target_size), (double)d->targets[i]);
    return 0;
}

/* Labels 0 and 1 with one output are targets of log loss. */
static int labels_to_targets(struct dataset *d, struct fail *why)
{
    if (!dataset_grow(&d->targets, d->count, sizeof(float)))
        return fail(why, E_MEMORY, "data set: no memory");
    for (int64_t i = 0; i < d->count; i++)
        d->targets[i] = (float)d->labels[i];
    d->target_size = 1;
    return 0;
}

static int answers_check(struct dataset *d, const struct graph *g, const struct loss_type *loss,
                         struct fail *why)
{
    int64_t outputs = shape_size(graph_output(g));
    bool classes = strcmp(loss_name(loss), "cross_entropy") == 0;
    bool shares = strcmp(loss_name(loss), "log_loss") == 0;
    bool binary = shares && outputs == 1 && !d->target_size;
    if (classes && d->target_size)
        return fail(why, E_JOB, "data set: cross_entropy needs labels, the rows have targets");
    if (!classes && !d->target_size && !binary)
        return fail(why, E_JOB, "data set: %s needs targets, the rows have labels", loss_name(loss));
    if (d->target_size && d->target_size != outputs)
        return fail(why, E_JOB, "data set: rows have %lld targets, the network %lld outputs",
                    (long long)d->target_size, (long long)outputs);
    if (d->target_size)
        return shares ? shares_check(d, why) : 0;
    int rc = labels_check(d, binary ? 2 : outputs, loss, why);
    return rc || !binary ? rc : labels_to_targets(d, why);
}

int dataset_finish(struct dataset *d, const struct graph *g, const struct loss_type *loss, struct fail *why)
{
    unsigned char digest[EVP_MAX_MD_SIZE] = {0};
    char is[100], wanted[100];
    int rc;
    if (d->count == 0)
        return fail(why, E_JOB, "data set: there is no row in it");
    if (!shape_equal(d->shape, g->input))
        return fail(why, E_JOB, "data set: rows are %s, the network %s takes %s",
                    shape_text(d->shape, is, sizeof is), g->name,
                    shape_text(g->input, wanted, sizeof wanted));
    if ((rc = answers_check(d, g, loss, why)) || (rc = parts_make(d, why)) ||
        (rc = normalise_make(&d->normalise, d->shape, g->mean, g->std, g->channels_normalised, why)))
        return rc;
    d->channels_normalised = g->channels_normalised;
    memcpy(d->mean, g->mean, sizeof d->mean);
    memcpy(d->std, g->std, sizeof d->std);
    if (d->parts[DATASET_TRAIN].count == 0)
        return fail(why, E_JOB, "data set: of %lld rows none is left to train on", (long long)d->count);
    EVP_DigestFinal_ex(d->all, digest, NULL);
    for (int i = 0; i < 32; i++) {
        static const char hex[] = "0123456789abcdef";
        d->sha256[2 * i] = hex[digest[i] >> 4];
        d->sha256[2 * i + 1] = hex[digest[i] & 15];
    }
    return 0;
}

int64_t dataset_count(const struct dataset *d, enum dataset_part part)
{
    return d->parts[part].count;
}

int64_t dataset_rows(const struct dataset *d)
{
    return d->count;
}

enum dtype dataset_dtype(const struct dataset *d)
{
    return d->dtype;
}

struct shape dataset_shape(const struct dataset *d)
{
    return d->shape;
}

void dataset_sha256(const struct dataset *d, char out[65])
{
    memcpy(out, d->sha256, sizeof d->sha256);
}

const uint32_t *dataset_index(const struct dataset *d, enum dataset_part part)
{
    return d->parts[part].v;
}

int64_t dataset_target_size(const struct dataset *d)
{
    return d->target_size;
}

const struct normalise *dataset_normalise(const struct dataset *d)
{
    return d->dtype == DTYPE_UINT8 ? &d->normalise : NULL;
}

void dataset_row(const struct dataset *d, int64_t row, float *x)
{
    const unsigned char *from = d->rows.base + (size_t)row * d->row_size;
    if (d->dtype != DTYPE_UINT8)
        dtype_to_float(d->dtype, from, d->row_floats, x);
    for (int64_t i = 0; d->dtype == DTYPE_UINT8 && i < d->row_floats; i++)
        x[i] = (float)from[i] / 255.0f;
}

/* x' = (x - mean) / std by channel, of UINT8 rows. */
static void normalise_floats(const struct dataset *d, float *x)
{
    int64_t channels = d->shape.dim[0], plane = d->row_floats / channels;
    if (d->dtype != DTYPE_UINT8 || !d->channels_normalised)
        return;
    for (int64_t c = 0; c < channels; c++) {
        float mean = d->mean[d->channels_normalised > 1 ? c : 0];
        float std = d->std[d->channels_normalised > 1 ? c : 0];
        for (int64_t i = 0; i < plane; i++, x++)
            *x = (*x - mean) / std;
    }
}

struct draws { /* of an epoch; augment NULL: rows as they are */
    const struct augment *augment;
    uint64_t seed;
    int64_t epoch;
};

/* Row r to place i. */
static void put_row(const struct dataset *d, const struct draws *draws, size_t r, int i,
                    const struct dataset_batch *to)
{
    const unsigned char *from = d->rows.base + r * d->row_size;
    float *x = to->x ? to->x + i * d->row_floats : NULL;
    if (draws->augment) {
        dataset_row(d, (int64_t)r, x);
        augment_row(draws->augment, draws->seed, draws->epoch, (int64_t)r, d->shape, d->dtype == DTYPE_UINT8,
                    x, to->scratch);
        normalise_floats(d, x);
    } else if (x) {
        normalise_row(&d->normalise, d->dtype, from, x);
    } else {
        memcpy(to->bytes + (size_t)i * d->row_size, from, d->row_size);
    }
}

static struct target fill(const struct dataset *d, const struct draws *draws, const uint32_t *index, int n,
                          const struct dataset_batch *to)
{
    for (int i = 0; i < n; i++) {
        size_t r = index[i];
        put_row(d, draws, r, i, to);
        if (d->target_size)
            memcpy(to->targets + i * d->target_size, d->targets + r * (size_t)d->target_size,
                   sizeof(float) * (size_t)d->target_size);
        else
            to->labels[i] = d->labels[r];
    }
    return (struct target){.labels = d->target_size ? NULL : to->labels,
                           .targets = d->target_size ? to->targets : NULL};
}

struct target dataset_fill(const struct dataset *d, const uint32_t *index, int n,
                           const struct dataset_batch *to)
{
    return fill(d, &(struct draws){.augment = NULL}, index, n, to);
}

struct target dataset_fill_augmented(const struct dataset *d, const struct augment *a, uint64_t seed,
                                     int64_t epoch, const uint32_t *index, int n,
                                     const struct dataset_batch *to)
{
    return fill(d, &(struct draws){a, seed, epoch}, index, n, to);
}

int32_t dataset_label(const struct dataset *d, int64_t row)
{
    return d->target_size ? -1 : d->labels[row];
}

int64_t dataset_bad_records(const struct dataset *d)
{
    return d->bad_records;
}

bool dataset_in_file(const struct dataset *d)
{
    return d->rows.fd >= 0;
}

void dataset_classes(const struct dataset *d, enum dataset_part part, int64_t *counts, int64_t classes)
{
    memset(counts, 0, sizeof *counts * (size_t)classes);
    for (int64_t i = 0; !d->target_size && i < d->count; i++)
        if (d->part[i] == part && d->labels[i] >= 0 && d->labels[i] < classes)
            counts[d->labels[i]]++;
}

int dataset_moments(const struct dataset *d, float *mean, float *std, int room, int *channels,
                    struct fail *why)
{
    uint64_t sum[NORMALISE_CHANNELS] = {0}, squares[NORMALISE_CHANNELS] = {0}, n = 0;
    int64_t count = d->count ? d->shape.dim[0] : 0, plane = count ? d->row_floats / count : 0;
    if (d->count && d->dtype != DTYPE_UINT8)
        return fail(why, E_JOB,
                    "mean, std: \"auto\" is for UINT8 rows and images; rows of %s are taken as they are",
                    dtype_name(d->dtype));
    if (count > room || count > NORMALISE_CHANNELS)
        return fail(why, E_JOB, "mean, std: at most %d channels", room);
    for (int64_t i = 0; i < d->count; i++) {
        const unsigned char *x = d->rows.base + (size_t)i * d->row_size;
        if (d->part[i] != DATASET_TRAIN)
            continue;
        n += (uint64_t)plane;
        for (int64_t c = 0; c < count; c++)
            for (int64_t k = 0; k < plane; k++, x++) {
                sum[c] += *x;
                squares[c] += (uint64_t)*x * *x;
            }
    }
    for (int64_t c = 0; c < count; c++) {
        double m = n ? (double)sum[c] / (double)n : 0, v = n ? (double)squares[c] / (double)n - m * m : 0;
        mean[c] = (float)(m / 255);
        std[c] = v > 1e-9 ? (float)(sqrt(v) / 255) : 1;
    }
    *channels = (int)count;
    return 0;
}
