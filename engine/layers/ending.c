/* The activation that ends conv and dense layers; see ending.h. */
#include "engine/layers/ending.h"

struct value ending_begin(struct recorder *r, struct layer *l, int activation)
{
    l->saved[0] = activation == MAP_IDENTITY ? l->y : record_temp(r, l->out);
    return l->saved[0];
}

void ending_apply(struct recorder *r, struct layer *l, int activation)
{
    if (activation != MAP_IDENTITY)
        record_map(r, l->y, l->saved[0], &(struct map){.fn = (enum map_fn)activation});
}

struct value ending_back(struct recorder *r, struct layer *l, int activation)
{
    if (activation == MAP_IDENTITY)
        return l->dy;
    struct value dz = record_temp(r, l->out);
    record_map_back(r, dz, l->dy, l->saved[0], l->y, &(struct map){.fn = (enum map_fn)activation});
    return dz;
}
