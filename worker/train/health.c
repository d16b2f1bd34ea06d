/* The rules of health.h. What is done about them: run.c. */
#include "worker/train/health.h"

#include <math.h>
#include <string.h>

enum { IN_A_ROW = 3, NORMS_FIRST = 5, ROWS_FOR_DEAD = 32 };

static const double norm_most = 1e6, weight_most = 1e6, norm_jump = 100, vanishing_share = 1e-5,
                    dead_share = 0.5;

static const char *const names[HEALTH_RULES] = {"health.non_finite",  "health.exploding",
                                                "health.vanishing",   "health.dead_relu",
                                                "health.not_falling", "health.overfitting"};

const char *health_name(enum health_rule rule)
{
    return names[rule];
}

struct health_state health_begin(void)
{
    return (struct health_state){
        .best_loss = INFINITY, .best_val_loss = INFINITY, .loss_at_best_val = INFINITY};
}

static bool is_bias(const char *name)
{
    size_t n = strlen(name);
    return n > 5 && strcmp(name + n - 5, ".bias") == 0;
}

/* The last layer's units are the network's outputs, not hidden ones. */
static int last_bias(const struct net *net)
{
    for (int i = net_param_count(net) - 1; i >= 0; i--)
        if (is_bias(net_param_name(net, i)))
            return i;
    return -1;
}

/* Running statistics are not looked at: they are the data's. */
int health_weights(struct net *net, float *room, double *largest, struct fail *why)
{
    *largest = 0;
    for (int i = 0; i < net_param_count(net); i++) {
        int64_t n = shape_size(net_param_shape(net, i));
        int rc = net_gradient_get(net, i, room, why);
        if (rc == -E_USAGE)
            continue;
        if (rc || (rc = net_param_get(net, i, room, why)))
            return rc;
        for (int64_t k = 0; k < n; k++)
            if (!(fabs((double)room[k]) <= *largest)) /* NaN stays */
                *largest = fabs((double)room[k]);
    }
    return 0;
}

int health_look(struct net *net, double weight, float *room, struct health_look *out, struct fail *why)
{
    double all = 0, units = 0, dead = 0;
    int last = last_bias(net);
    *out = (struct health_look){.first = -1, .last = -1};
    for (int i = 0; i < net_param_count(net); i++) {
        int64_t n = shape_size(net_param_shape(net, i));
        double sum = 0;
        int rc = net_gradient_get(net, i, room, why);
        if (rc == -E_USAGE) /* a running statistic has none */
            continue;
        if (rc)
            return rc;
        for (int64_t k = 0; k < n; k++)
            sum += (double)room[k] * (double)room[k];
        all += sum;
        if (is_bias(net_param_name(net, i))) {
            for (int64_t k = 0; i != last && k < n; k++)
                dead += room[k] == 0;
            units += i != last ? (double)n : 0;
        } else {
            out->last = sqrt(sum / (double)n) / weight;
            if (out->first < 0)
                out->first = out->last;
        }
    }
    out->norm = sqrt(all) / weight;
    out->dead = units > 0 ? dead / units : 0;
    return health_weights(net, room, &out->largest, why);
}

/* Sets or clears a rule; true where it is new. */
static unsigned tell(const struct health_settings *h, struct health_state *s, enum health_rule rule,
                     bool holds)
{
    int64_t bit = (int64_t)1 << rule;
    bool is_new = holds && !(s->told & bit) && h->action[rule] != HEALTH_OFF;
    s->told = holds ? s->told | bit : s->told & ~bit;
    return is_new ? 1u << rule : 0;
}

unsigned health_checkpoint(const struct health_settings *h, struct health_state *s, double largest)
{
    if (!isfinite(largest))
        return tell(h, s, HEALTH_NON_FINITE, true);
    return largest > weight_most ? tell(h, s, HEALTH_EXPLODING, true) : 0;
}

unsigned health_step(const struct health_settings *h, struct health_state *s, const struct health_look *look,
                     double loss, int64_t rows)
{
    bool finite = isfinite(loss) && isfinite(look->norm) && isfinite(look->largest);
    if (!finite)
        return tell(h, s, HEALTH_NON_FINITE, true);
    bool jump = s->norms >= NORMS_FIRST && look->norm > norm_jump * s->norm_mean;
    unsigned fired =
        tell(h, s, HEALTH_EXPLODING, look->norm > norm_most || look->largest > weight_most || jump);
    if (!jump) {
        s->norm_mean = s->norms ? 0.9 * s->norm_mean + 0.1 * look->norm : look->norm;
        s->norms++;
    }
    bool vanishes = look->first >= 0 && look->last > 0 && look->first < vanishing_share * look->last;
    s->vanishing = vanishes ? s->vanishing + 1 : 0;
    fired |= tell(h, s, HEALTH_VANISHING, s->vanishing >= IN_A_ROW);
    if (rows >= ROWS_FOR_DEAD) {
        s->dead = look->dead > dead_share ? s->dead + 1 : 0;
        fired |= tell(h, s, HEALTH_DEAD_RELU, s->dead >= IN_A_ROW);
    }
    return fired;
}

unsigned health_epoch(const struct health_settings *h, struct health_state *s, double loss, double val_loss)
{
    bool falls = loss < s->best_loss;
    s->best_loss = falls ? loss : s->best_loss;
    s->not_falling = falls ? 0 : s->not_falling + 1;
    unsigned fired = tell(h, s, HEALTH_NOT_FALLING, s->not_falling >= h->patience);
    if (!isfinite(val_loss))
        return fired;
    bool better = val_loss < s->best_val_loss;
    bool over = !better && loss < s->loss_at_best_val;
    if (better) {
        s->best_val_loss = val_loss;
        s->loss_at_best_val = loss;
    }
    s->overfitting = over ? s->overfitting + 1 : 0;
    return fired | tell(h, s, HEALTH_OVERFITTING, s->overfitting >= h->patience);
}
