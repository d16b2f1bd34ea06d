/* From a network's raw outputs to label, score and the best classes. The rule is contract.md's; formulas as everywhere. */
#include <math.h>
#include <stdlib.h>

#include "worker/infer/answer.h"

static float sigmoid(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

/* softmax(x)_i = exp(x_i - max x) / sum_j exp(x_j - max x) */
static void softmax(const float *x, int K, float *p)
{
    float max = x[0], sum = 0;
    for (int i = 1; i < K; i++)
        max = x[i] > max ? x[i] : max;
    for (int i = 0; i < K; i++)
        sum += p[i] = expf(x[i] - max);
    for (int i = 0; i < K; i++)
        p[i] /= sum;
}

static int by_score(const void *a, const void *b)
{
    const struct class_score *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->label - y->label;
}

/* The first k of K, best first, ties to the lower label. */
static int best_first(const float *p, int K, int k, struct class_score *order)
{
    k = k < K ? k : K;
    if (k > 8) {
        for (int i = 0; i < K; i++)
            order[i] = (struct class_score){i, p[i]};
        qsort(order, (size_t)K, sizeof *order, by_score);
        return k;
    }
    for (int n = 0; n < k; n++) { /* the best behind the one before, in the order of by_score */
        int best = -1;
        for (int i = 0; i < K; i++) {
            struct class_score c = {i, p[i]};
            if ((n == 0 || by_score(&order[n - 1], &c) < 0) && (best < 0 || p[i] > p[best]))
                best = i;
        }
        if (best < 0)
            return n; /* not-a-numbers have no order */
        order[n] = (struct class_score){best, p[best]};
    }
    return k;
}

int score_row(enum score_rule rule, const float *outputs, int K, int k, struct score *best,
              struct class_score *order, float *probability)
{
    int classes = K;
    if (rule == SCORE_NONE && K == 1) {
        *best = (struct score){-1, outputs[0]};
        return 0;
    }
    if (rule == SCORE_SOFTMAX) {
        softmax(outputs, K, probability);
    } else {
        for (int i = 0; i < K; i++)
            probability[i] = rule == SCORE_SIGMOID ? sigmoid(outputs[i]) : outputs[i];
    }
    if (rule == SCORE_SIGMOID && K == 1) { /* two classes: no and yes */
        probability[1] = probability[0];
        probability[0] = 1.0f - probability[1];
        best->label = probability[1] >= 0.5f;
        classes = 2;
    } else {
        best->label = 0;
        for (int i = 1; i < K; i++)
            best->label = probability[i] > probability[best->label] ? i : best->label;
    }
    best->score = probability[best->label];
    return best_first(probability, classes, k, order);
}
