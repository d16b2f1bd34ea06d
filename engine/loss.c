/* All losses, one table. The formulas are ref/losses.h. A new one: an operation, a row, a case in optest. */
#include "engine/loss_type.h"

#include <math.h>
#include <string.h>

const struct loss_type loss_types[] = {
    {"cross_entropy", OP_CROSS_ENTROPY, true, 2, "class_weights", true},
    {"mse", OP_MSE, false, 1, NULL, false},
    {"log_loss", OP_LOG_LOSS, true, 1, "positive_weights", false},
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

const char *loss_weights_name(const struct loss_type *loss)
{
    return loss->weights;
}

static int check_weights(const struct loss_type *loss, const struct loss_settings *s, int64_t outputs,
                         struct fail *why)
{
    bool some = false;
    if (!loss->weights)
        return fail(why, E_JOB, "%s has no weights of classes or outputs", loss->name);
    if (s->weight_count != outputs)
        return fail(why, E_JOB, "%s: %lld numbers, but the network has %lld outputs", loss->weights,
                    (long long)s->weight_count, (long long)outputs);
    for (int64_t i = 0; i < s->weight_count; i++) {
        if (!isfinite(s->weights[i]) || s->weights[i] < 0)
            return fail(why, E_JOB, "%s: number %lld is %g, expected 0 or more", loss->weights,
                        (long long)i + 1, (double)s->weights[i]);
        some = some || s->weights[i] > 0;
    }
    return some ? 0 : fail(why, E_JOB, "%s: all are 0, nothing would be learned", loss->weights);
}

int loss_check(const struct loss_type *loss, const struct loss_settings *s, int64_t outputs, struct fail *why)
{
    if (s->label_smoothing != 0 && !loss->by_label)
        return fail(why, E_JOB, "%s has no label_smoothing", loss->name);
    if (!(s->label_smoothing >= 0 && s->label_smoothing < 1))
        return fail(why, E_JOB, "label_smoothing %g is not in 0..below 1", s->label_smoothing);
    if (s->ignores && !loss->by_label)
        return fail(why, E_JOB, "%s has no ignore_label", loss->name);
    return s->weights ? check_weights(loss, s, outputs, why) : 0;
}
