/* The reference backends, for backend.c. */
#ifndef ENGINE_REF_REF_H
#define ENGINE_REF_REF_H

#include "engine/backend_ops.h"

extern const struct backend_ops ref_backend, ref64_backend;

#endif
