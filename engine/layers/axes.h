/* Axes in settings: dimensions of a row from 0, negative ones from its end; and views between rows. */
#ifndef ENGINE_LAYERS_AXES_H
#define ENGINE_LAYERS_AXES_H

#include "engine/layer.h"
#include "engine/layers/settings.h"

/* Of a row with so many dimensions; an axis that there is not is E_NETWORK. */
int axis_of(int64_t axis, int rank, int *out, struct fail *why);
/* The same for one that a shape rule has accepted. */
int axis_in(int64_t axis, int rank);
/* Marks the axes of a list, of which none may come twice; an empty list marks all. */
int axes_of(const struct setting_ints *list, int rank, bool *marked, struct fail *why);
/* Takes a dimension out. */
void shape_without(struct shape *s, int axis);
/* A view from the begin of a row of shape `in` to the begin of one of shape `out`, over the dimensions `over`. */
struct view view_over(struct shape over, struct shape out, struct shape in);

#endif
