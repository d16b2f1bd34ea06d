/* What people see while they wait and look: a progress bar, images drawn in characters, tables side by side.
 * Bars only on a terminal (plain lines otherwise), colour only where it is asked for. One thread. */
#ifndef WORKER_SERVICE_TERMINAL_H
#define WORKER_SERVICE_TERMINAL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

int terminal_columns(int fd); /* 80 when it is no terminal or does not say */
double terminal_now(void);    /* seconds of the monotonic clock */

/* A bar on stderr; where stderr is no terminal, a line every ten seconds instead. */
struct progress {
    const char *what, *unit; /* "sent", "rows" */
    int64_t total;           /* 0: unknown; the bar shows the count alone */
    int64_t done;
    double began, drawn;
    bool terminal, shown;
};

void progress_open(struct progress *p, const char *what, const char *unit, int64_t total);
/* Draws at most ten times a second; cheap otherwise. `note` is shown behind the bar; NULL: the rate and the
 * time left. */
void progress_set(struct progress *p, int64_t done, const char *note);
/* Takes the bar away, so that the next line of text stands alone. */
void progress_close(struct progress *p);

enum image_style {
    IMAGE_ASCII,    /* shades of grey as characters, no escape codes */
    IMAGE_256,      /* half blocks in the 256 colour palette */
    IMAGE_TRUECOLOR /* half blocks in 24 bits */
};

/* color false: ASCII; else what COLORTERM and TERM promise. */
enum image_style image_style(bool color);

struct image {
    int channels, height, width; /* one channel is grey; of two or more than three the first is shown */
    const float *pixels;         /* C, H, W; 0 .. 1, others are clamped, NaN is 0 */
    char caption[64];
};

enum { IMAGES_ABREAST = 16 };

/* Draws up to IMAGES_ABREAST images side by side, `columns` characters wide each, captions under them. */
void image_print(const struct image *images, int count, int columns, enum image_style style, FILE *out);
/* How many images of `columns` characters go side by side on `fd`. */
int image_abreast(int fd, int columns);

#endif
