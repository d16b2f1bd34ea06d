/* The rules between hyperparameters, whose table is job_table.c. Nothing that is written is passed over: what the chosen
 * optimiser, schedule or loss has no use for is an error. Next to read: job.c. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "worker/train/job_parts.h"

static const char *const optimizers[] = {JOB_OPTIMIZER_LIST};

/* "0.5, 0.5" -> floats, at most `room` of them (out may be NULL: they are counted). */
static int numbers_parse(const char *text, const char *what, float *out, int64_t room, int64_t *count,
                         struct fail *why)
{
    const char *at = text + strspn(text, " ");
    *count = 0;
    while (*at) {
        char *end;
        float v = strtof(at, &end);
        if (end == at || !isfinite(v))
            return fail(why, E_CONFIG, "%s: \"%.100s\": numbers with commas between them are expected", what,
                        text);
        if (*count == room)
            return fail(why, E_CONFIG, "%s: at most %lld numbers", what, (long long)room);
        if (out)
            out[*count] = v;
        ++*count;
        at = end + strspn(end, " ");
        if (*at && *at++ != ',')
            return fail(why, E_CONFIG, "%s: \"%.100s\": a comma is expected at \"%.20s\"", what, text,
                        at - 1);
        at += strspn(at, " ");
    }
    return 0;
}

static int normalisation_parse(struct job_texts *t, struct fail *why)
{
    struct job_settings *s = &t->s;
    int64_t means, stds;
    if (strcmp(t->mean, "auto") == 0 && strcmp(t->std, "auto") == 0) {
        s->mean_auto = true;
        return 0;
    }
    int rc = numbers_parse(t->mean, "mean", s->mean, JOB_CHANNELS, &means, why);
    if (rc || (rc = numbers_parse(t->std, "std", s->std, JOB_CHANNELS, &stds, why)))
        return rc;
    s->mean_count = (int)means;
    s->std_count = (int)stds;
    if (means != stds)
        return fail(why, E_CONFIG, "mean has %d numbers, std %d: give both, with as many numbers",
                    s->mean_count, s->std_count);
    for (int i = 0; i < s->std_count; i++)
        if (!(s->std[i] > 0))
            return fail(why, E_CONFIG, "std: %g: numbers above 0 are expected", (double)s->std[i]);
    return 0;
}

/* ---- what goes with what ---- */

/* A hyperparameter of one schedule only. */
static const struct {
    const char *key;
    enum schedule_kind kind;
} schedule_keys[] = {
    {"lr_step_epochs", SCHEDULE_STEP},     {"lr_gamma", SCHEDULE_STEP},
    {"lr_min", SCHEDULE_COSINE},           {"lr_pct_start", SCHEDULE_ONE_CYCLE},
    {"lr_div_factor", SCHEDULE_ONE_CYCLE}, {"lr_final_div_factor", SCHEDULE_ONE_CYCLE},
};
enum { SCHEDULE_KEYS = sizeof schedule_keys / sizeof *schedule_keys };

/* Of some optimisers only: optim_takes says which. */
static const char *const optimizer_keys[] = {"momentum", "nesterov", "beta1",   "beta2",
                                             "alpha",    "centered", "epsilon", NULL};

/* Has the pair's key a use in this job? */
static int use_check(const struct job_settings *s, const struct text_pair *p, struct fail *why)
{
    for (int i = 0; optimizer_keys[i]; i++)
        if (!strcmp(p->key, optimizer_keys[i]) && !optim_takes(s->optimizer, p->key))
            return fail(why, E_CONFIG, "%s: optimizer %s has no such setting", p->key, s->optimizer);
    for (int i = 0; i < SCHEDULE_KEYS; i++)
        if (!strcmp(p->key, schedule_keys[i].key) && schedule_keys[i].kind != s->schedule.kind)
            return fail(why, E_CONFIG, "%s goes with lr_schedule %s, not with %s", p->key,
                        schedule_name(schedule_keys[i].kind), schedule_name(s->schedule.kind));
    if (!strcmp(p->key, "bad_samples_max") && s->bad_samples != BAD_SAMPLES_SKIP)
        return fail(why, E_CONFIG, "bad_samples_max goes with bad_samples: skip");
    if (!strcmp(p->key, "augment_fill") && !augment_needs_image(&s->augment))
        return fail(why, E_CONFIG, "augment_fill needs a setting that moves the image or cuts from it");
    if (!strcmp(p->key, "lr_warmup_start") && !(s->warmup_epochs > 0))
        return fail(why, E_CONFIG, "lr_warmup_start needs lr_warmup_epochs above 0");
    return 0;
}

static int rules_check(const struct job_settings *s, struct fail *why)
{
    struct schedule schedule = job_schedule(s, 1000);
    if (s->optim.nesterov && !(s->optim.momentum > 0))
        return fail(why, E_CONFIG, "nesterov needs momentum above 0");
    if (!(s->optim.beta1 < 1 && s->optim.beta2 < 1 && s->optim.alpha < 1))
        return fail(why, E_CONFIG, "beta1 %g, beta2 %g, alpha %g: expected numbers below 1", s->optim.beta1,
                    s->optim.beta2, s->optim.alpha);
    if (s->schedule.kind == SCHEDULE_STEP && !(s->step_epochs > 0))
        return fail(why, E_CONFIG, "lr_schedule step needs lr_step_epochs above 0");
    if (s->warmup_epochs > 0 && !(s->warmup_epochs < (double)s->epochs))
        return fail(why, E_CONFIG, "lr_warmup_epochs %g: expected less than epochs, %lld", s->warmup_epochs,
                    (long long)s->epochs);
    int nan = s->health.action[HEALTH_NON_FINITE];
    if (nan != HEALTH_LOWER && nan != HEALTH_STOP)
        return fail(why, E_CONFIG,
                    "health_non_finite: lower or stop is expected: nothing can go on behind it");
    if (s->micro_batch_size && s->batch_size && s->micro_batch_size > s->batch_size)
        return fail(why, E_CONFIG, "micro_batch_size %lld: expected at most batch_size, %lld",
                    (long long)s->micro_batch_size, (long long)s->batch_size);
    return schedule_check(&schedule, why);
}

/* Optimiser, schedule and loss: words to what the engine takes. */
static int words_parse(struct job_texts *t, struct fail *why)
{
    struct job_settings *s = &t->s;
    char *end;
    s->optimizer = optimizers[t->optimizer];
    s->schedule.kind = (enum schedule_kind)t->schedule;
    s->schedule.rate = s->learning_rate;
    if (!(s->optim.epsilon > 0))
        s->optim.epsilon = optim_defaults(s->optimizer).epsilon;
    s->ignores = *t->ignore_label;
    if (!s->ignores)
        return 0;
    errno = 0;
    long long label = strtoll(t->ignore_label, &end, 10);
    s->ignored_label = (int32_t)label;
    if (errno || end == t->ignore_label || *end || label != s->ignored_label)
        return fail(why, E_CONFIG, "ignore_label: \"%s\": a whole number is expected", t->ignore_label);
    return 0;
}

/* Weights stay a text, the job's own, since there may be any number of them. */
static int weights_take(struct job_settings *s, const struct text_pair *p, struct fail *why)
{
    int64_t count;
    if (strcmp(p->key, "class_weights") != 0 && strcmp(p->key, "positive_weights") != 0)
        return 0;
    s->weights_key = p->key;
    if (strcmp(p->key, "class_weights") == 0 && strcmp(p->value, "balanced") == 0) {
        s->balanced = true;
        return 0;
    }
    s->weights = p->value;
    return numbers_parse(p->value, p->key, NULL, INT32_MAX, &count, why);
}

int job_settings_parse(struct job_settings *out, const struct text_pair *pairs, int count, const char *where,
                       struct fail *why)
{
    struct job_texts t = {.s.weights = ""};
    int rc = setting_defaults(job_hyperparameters, &t, why);
    for (int i = 0; !rc && i < count; i++)
        rc = setting_set(job_hyperparameters, &t, pairs[i].key, pairs[i].value, where, why);
    if (rc)
        goto out;
    if (!(rc = words_parse(&t, why)))
        rc = normalisation_parse(&t, why);
    for (int i = 0; !rc && i < count; i++)
        if (!(rc = use_check(&t.s, &pairs[i], why)))
            rc = weights_take(&t.s, &pairs[i], why);
    if (!rc)
        rc = rules_check(&t.s, why);
    if (rc) {
        why->code = why->code == E_MEMORY ? E_MEMORY : E_CONFIG;
        rc = fail_prefix(why, "%s", where);
    }
    *out = t.s;
out:
    setting_free(job_hyperparameters, &t);
    return rc;
}

int job_setting_check(const struct text_pair *pair, const char *where, struct fail *why)
{
    struct job_texts t = {0};
    int rc = setting_defaults(job_hyperparameters, &t, why);
    if (!rc)
        rc = setting_set(job_hyperparameters, &t, pair->key, pair->value, where, why);
    setting_free(job_hyperparameters, &t);
    return rc;
}

/* ---- for the engine ---- */

struct schedule job_schedule(const struct job_settings *h, int64_t steps_an_epoch)
{
    struct schedule s = h->schedule;
    double epoch = (double)steps_an_epoch;
    s.warmup_steps = llround(h->warmup_epochs * epoch);
    s.step_size = llround(h->step_epochs * epoch);
    if (s.step_size < 1)
        s.step_size = 1;
    return s;
}

/* The loss's settings; *weights is malloc'd, or NULL. */
static int loss_settings(const struct job_settings *h, const struct loss_type *loss,
                         struct loss_settings *out, float **weights, struct fail *why)
{
    *weights = NULL;
    *out = (struct loss_settings){
        .label_smoothing = h->label_smoothing, .ignores = h->ignores, .ignored_label = h->ignored_label};
    if (h->balanced && strcmp(loss_name(loss), "cross_entropy") != 0)
        return fail(why, E_JOB, "class_weights: loss %s has no such setting", loss_name(loss));
    if (!*h->weights)
        return 0;
    const char *key = loss_weights_name(loss);
    if (!key || strcmp(key, h->weights_key) != 0)
        return fail(why, E_JOB, "%s: loss %s has no such setting", h->weights_key, loss_name(loss));
    int rc = numbers_parse(h->weights, key, NULL, INT32_MAX, &out->weight_count, why);
    if (rc)
        return rc;
    if (!(*weights = malloc(sizeof(float) * (size_t)(out->weight_count + 1))))
        return fail(why, E_MEMORY, "no memory for %s", key);
    out->weights = *weights;
    return numbers_parse(h->weights, key, *weights, out->weight_count, &out->weight_count, why);
}

int job_loss_check(const struct job_settings *h, const struct loss_type *loss, int64_t outputs,
                   struct fail *why)
{
    struct loss_settings s;
    float *weights;
    int rc = loss_settings(h, loss, &s, &weights, why);
    if (!rc)
        rc = loss_check(loss, &s, outputs ? outputs : s.weight_count, why);
    free(weights);
    return rc;
}

int job_loss_set(const struct job_settings *h, const struct loss_type *loss, struct net *net,
                 const float *class_weights, struct fail *why)
{
    struct loss_settings s;
    float *weights;
    int rc = loss_settings(h, loss, &s, &weights, why);
    if (!rc && class_weights) {
        s.weights = class_weights;
        s.weight_count = net_output_size(net);
    }
    if (!rc)
        rc = net_set_loss(net, loss, &s, why);
    free(weights);
    return rc;
}
