/* The `activation` setting of conv and dense: a function of the layer's sum z. It stays an operation of its own
 * here; joining is the plan's (plan.c). */
#ifndef ENGINE_LAYERS_ENDING_H
#define ENGINE_LAYERS_ENDING_H

#include "engine/layer.h"

/* Where z goes: y itself without an activation (enum map_fn), else a value that saved[0] keeps. */
struct value ending_begin(struct recorder *r, struct layer *l, int activation);
/* y = f(z) */
void ending_apply(struct recorder *r, struct layer *l, int activation);
/* dz = dy f'(z) */
struct value ending_back(struct recorder *r, struct layer *l, int activation);

#endif
