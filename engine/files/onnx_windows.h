/* A window as Conv and the pools describe it, shared by onnx_conv.c and onnx_pools.c. */
#ifndef ENGINE_FILES_ONNX_WINDOWS_H
#define ENGINE_FILES_ONNX_WINDOWS_H

#include "engine/files/onnx.h"
#include "engine/layers/settings.h"

enum { WINDOW_MOST = 1 << 16 }; /* of kernels, strides, paddings: keeps sums of them far from overflow */

/* A window over depth, height and width; where there are fewer the first ones are 1 (padding 0). */
struct window_attributes {
    int spatial;
    struct shape in; /* [C, D, H, W] */
    int64_t kernel[3], strides[3], pads[6], dilations[3];
};

/* kernel_shape, strides, pads (added to those that are there) and dilations for an input; fills `in`. */
int window_read(const struct onnx_reader *r, const Onnx__NodeProto *n, const struct onnx_value *x,
                struct window_attributes *a, struct fail *why);
/* Then auto_pad, which wants the kernel: SAME_* pads so that the output has ceil(input / stride) pixels. */
int window_auto_pad(const Onnx__NodeProto *n, const struct onnx_value *x, struct window_attributes *a,
                    struct fail *why);
/* What a Pad before this window added becomes the window's own padding; *plain is its input without. */
int window_take_pads(struct onnx_value *x, struct window_attributes *a, struct onnx_value *plain,
                     struct fail *why);
/* Output pixels along direction i (0 depth), or 0: layers/window.c checks and says why. */
int64_t window_pixels(const struct window_attributes *a, int i, bool up);
/* Height and width as layers say them: the shortest list. */
struct setting_ints window_ints(const int64_t v[2]);
void window_lists(const struct window_attributes *a, struct setting_ints *size, struct setting_ints *stride,
                  struct setting_ints *padding);
/* onnx_added, and the output is seen in as many dimensions as the input has. */
int window_added(struct onnx_reader *r, const Onnx__NodeProto *n, const struct window_attributes *a,
                 int64_t depth, struct fail *why);

#endif
