/* Backend "ref": the loops of kernels.h in float. Slow on purpose; the others are compared with it. */
#include "engine/ref/ref.h"
#include "engine/ref/kernels.h"
#include "engine/ref/memory.h"

const struct backend_ops ref_backend = {
    .name = "ref",
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
