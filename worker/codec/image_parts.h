/* What the files behind image.h share. */
#ifndef WORKER_CODEC_IMAGE_PARTS_H
#define WORKER_CODEC_IMAGE_PARTS_H

#include "worker/codec/image.h"

/* For the formats, once width and height are known and before anything is decoded: takes room for width * height RGB pixels at
 * d->pixels, or refuses. */
int image_admit(struct image_decoder *d, int64_t width, int64_t height, struct fail *why);
/* `old`, or new memory in its place when it is smaller than `size` (its content is lost); NULL: there is none, and old is freed. */
void *image_reserve(void *old, size_t *capacity, size_t size, struct fail *why);

/* A whole file into d->pixels as RGB, through image_admit. */
int image_jpeg(struct image_decoder *d, struct span file, struct fail *why);
int image_png(struct image_decoder *d, struct span file, struct fail *why);

/* d->pixels of `channels` interleaved channels into planes [channels][height][width] at `out`. */
int image_resize(struct image_decoder *d, int channels, int width, int height, unsigned char *out,
                 struct fail *why);

#endif
