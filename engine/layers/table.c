/* Every layer there is. A new one: a line here and in types.h. */
#include <string.h>

#include "engine/layers/types.h"

const struct layer_type *const layer_types[] = {
    &layer_conv,    &layer_dense,   &layer_maxpool, &layer_avgpool, &layer_relu,    &layer_tanh,
    &layer_sigmoid, &layer_softmax, &layer_flatten, &layer_add,     &layer_dropout, NULL,
};

const struct layer_type *layer_find(const char *name)
{
    for (int i = 0; layer_types[i]; i++)
        if (!strcmp(layer_types[i]->name, name))
            return layer_types[i];
    return NULL;
}

const char *layer_nearest(const char *name)
{
    const char *words[64];
    int n = 0;
    for (; layer_types[n] && n < 64; n++)
        words[n] = layer_types[n]->name;
    return setting_nearest(name, words, n);
}
