/* A folder of images as an operand of `send`: its files as they are, or their pixels. */
#include <stdlib.h>
#include <string.h>

#include "worker/commands/send_parts.h"
#include "worker/service/file.h"

enum { SHAPE_PARTS = 3 };

/* "3x32x32" */
static int shape_parse(const char *text, struct shape *out, struct fail *why)
{
    const char *at = text;
    *out = (struct shape){.rank = SHAPE_PARTS};
    for (int i = 0; i < SHAPE_PARTS; i++) {
        char *end;
        out->dim[i] = strtoll(at, &end, 10);
        if (end == at || out->dim[i] < 1 || out->dim[i] > 16384 || *end != (i < SHAPE_PARTS - 1 ? 'x' : 0))
            return fail(why, E_USAGE, "--shape %s: channels, height and width are expected: 3x32x32", text);
        at = end + 1;
    }
    return 0;
}

int send_folder_open(struct send_input *in, const struct send_options *o, struct fail *why)
{
    struct shape shape;
    int rc = *o->shape ? shape_parse(o->shape, &shape, why) : 0;
    if (!rc)
        rc = folder_open(&in->folder, in->path, why);
    if (rc)
        return rc;
    if (o->samples && !in->folder.class_count)
        return fail(why, E_FILE, "%s: has no class folders, --samples needs labels", in->path);
    if (o->encoding == ENCODING_FILE)
        return *o->shape ? fail(why, E_USAGE, "--shape goes with --encoding u8 or f32: files go as they are")
                         : 0;
    rc = folder_rows(&in->rows, &in->folder, *o->shape ? &shape : NULL, why);
    folder_close(&in->folder);
    return rc;
}

/* The files of one record, mapped. */
struct pack {
    struct file_map *maps;
    struct span *files;
    int32_t *labels;
    int count;
    size_t bytes;
};

static void pack_empty(struct pack *p)
{
    for (int i = 0; i < p->count; i++)
        file_map_close(&p->maps[i]);
    p->count = 0;
    p->bytes = 0;
}

static int pack_send(struct sender *s, struct pack *p, int64_t first, struct fail *why)
{
    char text[160];
    struct span id = send_id(s, text);
    int rc = p->count ? send_pace(s, why) : 0;
    if (rc || !p->count)
        return rc;
    s->value.size = 0;
    if (s->o->samples) {
        sample_encode_images(&s->value, p->files, p->count, p->labels);
    } else {
        struct inference_head head = send_head(s, id);
        if (s->o->row_ids)
            send_name_rows(s, first, p->count);
        inference_encode_images(&s->value, &head, p->files, p->count, s->o->row_ids ? s->row_ids : NULL);
    }
    rc = send_value(s, id, p->count, why);
    pack_empty(p);
    return rc;
}

static int pack_take(struct sender *s, struct pack *p, const struct folder *f, int64_t i, struct fail *why)
{
    int rc = file_map_open(&p->maps[p->count], f->images[i].path, why);
    if (rc)
        return rc;
    struct file_map map = p->maps[p->count];
    if (p->count && p->bytes + map.size > RECORD_MOST) {
        if ((rc = pack_send(s, p, i - p->count, why))) {
            file_map_close(&map);
            return rc;
        }
        p->maps[0] = map;
    }
    p->files[p->count] = (struct span){(const char *)map.base, map.size};
    p->labels[p->count++] = f->images[i].label;
    p->bytes += map.size + 16;
    return 0;
}

int send_folder(struct sender *s, const struct folder *f, struct fail *why)
{
    size_t most = (size_t)(s->o->rows_per_record < f->count ? s->o->rows_per_record : f->count);
    struct pack p = {.maps = calloc(most + 1, sizeof *p.maps),
                     .files = calloc(most + 1, sizeof *p.files),
                     .labels = calloc(most + 1, sizeof *p.labels)};
    int rc = 0;
    free(s->row_ids);
    s->row_ids = calloc(most + 1, sizeof *s->row_ids);
    free(s->row_texts);
    s->row_texts = calloc(most + 1, sizeof *s->row_texts);
    if (!p.maps || !p.files || !p.labels || !s->row_ids || !s->row_texts)
        rc = fail(why, E_MEMORY, "a record of %zu images: no memory", most);
    for (int64_t i = 0; !rc && i < f->count; i++) {
        rc = pack_take(s, &p, f, i, why);
        if (!rc && (size_t)p.count == most)
            rc = pack_send(s, &p, i + 1 - p.count, why);
    }
    if (!rc)
        rc = pack_send(s, &p, f->count - p.count, why);
    pack_empty(&p);
    free(p.maps);
    free(p.files);
    free(p.labels);
    return rc;
}
