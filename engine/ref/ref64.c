/* Backend "ref64": the same in double, for gradient checks against finite differences. */
#define FORMULA_DOUBLE
#include "engine/ref/kernels.h"
#include "engine/ref/memory.h"
#include "engine/ref/ref.h"

const struct backend_ops ref64_backend = {
    .name = "ref64",
    .element = sizeof(real),
    .joins = true,
    .halves = true,
    .open = ref_open,
    .close = ref_close,
    .alloc = ref_alloc,
    .free = ref_free,
    .upload = ref_upload,
    .upload_bytes = ref_upload_bytes,
    .download = ref_download,
    .zero = ref_zero,
    .kernels = ref_kernels,
    .run = ref_run,
    .steps = plan_run,
};
