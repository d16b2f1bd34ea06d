/* Image files made in memory, for tests. Fails the running cmocka test when a library does. */
#ifndef TESTS_LIB_PICTURE_H
#define TESTS_LIB_PICTURE_H

#include "worker/codec/record.h"

/* [height][width][3] of the formula in tests/golden/make_image_goldens.py; free it. */
unsigned char *picture_pixels(int width, int height);
/* Files of such pixels; free with bytes_free. */
void picture_png(struct bytes *out, const unsigned char *rgb, int width, int height, bool interlaced);
void picture_jpeg(struct bytes *out, const unsigned char *rgb, int width, int height, int quality);
/* Grey, each coefficient in `scans` scans of its own (2 to 130): what a slow file looks like. */
void picture_jpeg_scans(struct bytes *out, int width, int height, int scans);
/* Four components. */
void picture_jpeg_cmyk(struct bytes *out, int width, int height);
/* A PNG's head alone, with a right checksum: width and height as they are given. */
void picture_png_head(struct bytes *out, uint32_t width, uint32_t height);
/* Changes height and width in a JPEG's frame header. */
void picture_jpeg_size(struct bytes *file, unsigned width, unsigned height);

#endif
