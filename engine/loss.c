/* All losses, one table. The formulas are ref/losses.h. A new one: an operation, a row, a case in optest. */
#include "engine/loss_type.h"

#include <string.h>

const struct loss_type loss_types[] = {
    {"cross_entropy", OP_CROSS_ENTROPY, true, 2},
    {"mse", OP_MSE, false, 1},
    {"log_loss", OP_LOG_LOSS, true, 1},
    {0},
};

const struct loss_type *loss_find(const char *name)
{
    for (const struct loss_type *t = loss_types; t->name; t++)
        if (!strcmp(t->name, name))
            return t;
    return NULL;
}

const char *loss_name(const struct loss_type *loss)
{
    return loss->name;
}

const char *loss_names(void)
{
    return "cross_entropy, mse, log_loss";
}
