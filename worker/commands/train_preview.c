/* `train --preview FILE.png`: a sheet of training rows, each as it is and as the first epochs see it. The rows are a
 * file's (--data) or the job's own from its topics. What is done to them is worker/train/augment.h's. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/codec/image.h"
#include "worker/commands/train_view.h"
#include "worker/service/file.h"
#include "worker/train/dataset.h"
#include "worker/train/job.h"

enum { SAMPLES = 10, EPOCHS = 7, GAP = 4, TILE = 64, SHEET_SIDE = 8192 };

struct preview {
    const struct context *cx;
    const struct train_options *o;
    struct region mem;
    struct training_job job;
    struct job_settings settings;
    struct graph *graph;
    struct dataset *data;
    struct shape shape;
    int zoom, width, height; /* a pixel's side; of the sheet */
    unsigned char *sheet;    /* RGB */
    float *x, *scratch, low, high;
};

static bool interrupted(void *arg)
{
    (void)arg;
    return command_stop != 0;
}

static int read_rows(struct preview *p, struct fail *why)
{
    struct train_rows taken = {.job = &p->job, .settings = &p->settings};
    struct dataset_options o = train_rows_options(&taken, p->graph);
    struct rows rows = {0};
    int rc = dataset_new(&p->data, &o, why);
    if (!rc && *p->o->data) {
        rc = rows_read_as(&rows, p->o->data, &p->graph->input, why);
        if (!rc)
            rc = dataset_add_rows(p->data, &rows, p->o->data, why);
        rows_close(&rows);
    } else if (!rc) {
        rc = dataset_read(p->data, &p->cx->settings, p->job.dataset, p->job.dataset_count, p->cx->timeout_ms,
                          interrupted, NULL, why);
    }
    return rc ? rc : dataset_finish(p->data, p->graph, job_loss_type(p->job.loss), why);
}

static int preview_open(struct preview *p, struct fail *why)
{
    const char *file = p->cx->argv[0];
    bool topics = !*p->o->data;
    int rc = job_file_read(&p->job, file, &p->mem, why);
    if (!rc && *p->o->dataset)
        rc = job_ranges_read(&p->job, p->o->dataset, &p->mem, why);
    if (!rc && topics)
        rc = job_resolve(&p->job, &p->cx->settings, p->cx->timeout_ms, &p->mem, why);
    if (rc)
        return rc;
    p->job.job_id = "preview";
    if (p->job.base_version)
        return fail(why, E_CONFIG, "%s: a preview needs network: base_version says no shape here", file);
    if ((rc = job_check(&p->job, topics, &p->settings, why)) ||
        (rc = job_network(&p->graph, p->job.network, why)) ||
        (rc = job_prepare(p->graph, &p->job, &p->settings, why))) {
        why->code = why->code == E_MEMORY ? E_MEMORY : E_CONFIG;
        return fail_prefix(why, "%s", file);
    }
    p->shape = p->graph->input;
    if (p->shape.rank != 3)
        return fail(why, E_CONFIG, "%s: a preview is of rows of [C, H, W]", file);
    return read_rows(p, why);
}

static int sheet_open(struct preview *p, struct fail *why)
{
    int64_t h = p->shape.dim[1], w = p->shape.dim[2], most = h > w ? h : w;
    p->zoom = most < TILE ? (int)(TILE / most) : 1;
    if (most > SHEET_SIDE / (EPOCHS + 1) - GAP)
        return fail(why, E_USAGE, "--preview: images of %lld x %lld are too large for a sheet", (long long)h,
                    (long long)w);
    p->width = (EPOCHS + 1) * ((int)w * p->zoom + GAP) + GAP;
    p->height = SAMPLES * ((int)h * p->zoom + GAP) + GAP;
    p->sheet = malloc((size_t)p->width * (size_t)p->height * 3);
    p->x = malloc(sizeof(float) * (size_t)shape_size(p->shape));
    p->scratch = malloc(sizeof(float) * (size_t)shape_size(p->shape));
    if (!p->sheet || !p->x || !p->scratch)
        return fail(why, E_MEMORY, "--preview: no memory");
    memset(p->sheet, 255, (size_t)p->width * (size_t)p->height * 3);
    return 0;
}

/* Values of other types than UINT8 are shown between the lowest and the highest of the row as it is. */
static void range_take(struct preview *p)
{
    p->low = 0;
    p->high = 1;
    if (dataset_dtype(p->data) == DTYPE_UINT8)
        return;
    p->low = p->high = p->x[0];
    for (int64_t i = 1; i < shape_size(p->shape); i++) {
        p->low = fminf(p->low, p->x[i]);
        p->high = fmaxf(p->high, p->x[i]);
    }
    if (!(p->high > p->low))
        p->high = p->low + 1;
}

static unsigned char shade(const struct preview *p, float v)
{
    float u = (v - p->low) / (p->high - p->low);
    return (unsigned char)(u <= 0 ? 0 : u >= 1 ? 255 : lroundf(u * 255));
}

/* One or two channels are grey, of more the first three are red, green and blue. */
static void tile_draw(struct preview *p, int line, int column)
{
    int h = (int)p->shape.dim[1], w = (int)p->shape.dim[2], plane = h * w;
    int top = GAP + line * (h * p->zoom + GAP), left = GAP + column * (w * p->zoom + GAP);
    for (int y = 0; y < h * p->zoom; y++)
        for (int x = 0; x < w * p->zoom; x++) {
            size_t at = ((size_t)(top + y) * (size_t)p->width + (size_t)(left + x)) * 3;
            for (int c = 0; c < 3; c++) {
                int channel = p->shape.dim[0] >= 3 ? c : 0;
                p->sheet[at + (size_t)c] = shade(p, p->x[channel * plane + y / p->zoom * w + x / p->zoom]);
            }
        }
}

static void sheet_draw(struct preview *p, int samples)
{
    const uint32_t *index = dataset_index(p->data, DATASET_TRAIN);
    int64_t n = dataset_count(p->data, DATASET_TRAIN);
    for (int i = 0; i < samples; i++) {
        int64_t row = index[i * n / samples];
        dataset_row(p->data, row, p->x);
        range_take(p);
        tile_draw(p, i, 0);
        for (int epoch = 0; epoch < EPOCHS; epoch++) {
            dataset_row(p->data, row, p->x);
            augment_row(&p->settings.augment, (uint64_t)p->settings.seed, epoch, row, p->shape,
                        dataset_dtype(p->data) == DTYPE_UINT8, p->x, p->scratch);
            tile_draw(p, i, epoch + 1);
        }
    }
}

static int sheet_write(struct preview *p, struct fail *why)
{
    struct file_out out = {0};
    void *bytes = NULL;
    size_t size;
    int rc = image_png_print(p->sheet, p->width, p->height, &bytes, &size, why);
    if (!rc)
        rc = file_out_open(&out, p->o->preview, why);
    if (!rc)
        rc = file_out_write(&out, bytes, size, why);
    if (!rc)
        rc = file_out_commit(&out, why);
    file_out_close(&out);
    free(bytes);
    return rc;
}

int train_preview(const struct context *cx, struct fail *why)
{
    struct preview p = {.cx = cx, .o = cx->options};
    int rc = preview_open(&p, why), samples = SAMPLES;
    if (!rc)
        rc = sheet_open(&p, why);
    if (!rc) {
        int64_t n = dataset_count(p.data, DATASET_TRAIN);
        samples = n < SAMPLES ? (int)n : SAMPLES;
        sheet_draw(&p, samples);
        rc = sheet_write(&p, why);
    }
    if (!rc && cx->json)
        printf("{\"samples\":%d,\"epochs\":%d,\"augmented\":%s}\n", samples, EPOCHS,
               augment_any(&p.settings.augment) ? "true" : "false");
    else if (!rc)
        printf("%s: %d of %lld training rows, as they are and in epochs 1 to %d%s\n", p.o->preview, samples,
               (long long)dataset_count(p.data, DATASET_TRAIN), EPOCHS,
               augment_any(&p.settings.augment) ? "" : " (the job has no augment_... settings)");
    free(p.sheet);
    free(p.x);
    free(p.scratch);
    dataset_free(&p.data);
    graph_free(&p.graph);
    region_free(&p.mem);
    return rc;
}
