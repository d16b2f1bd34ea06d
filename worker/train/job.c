/* What a job says, checked: names, rates, ranges, loss. Hyperparameters are job_settings.c's, the file form
 * job_file.c's, the rows dataset.c's. Next to read: run.c, which trains. */
#include "worker/train/job.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/models/store.h"
#include "worker/service/embedded.h"

const struct loss_type *job_loss_type(enum job_loss loss)
{
    static const char *const names[] = {NULL, "cross_entropy", "mse", "log_loss"};
    return loss > LOSS_UNKNOWN && loss <= LOSS_LOG_LOSS ? loss_find(names[loss]) : NULL;
}

static int ranges_check(const struct training_job *job, struct fail *why)
{
    if (job->dataset_count == 0)
        return fail(why, E_JOB, "dataset: no offset range is given");
    for (int i = 0; i < job->dataset_count; i++) {
        const struct offset_range *r = &job->dataset[i];
        if (!*r->topic || r->partition < 0 || r->start_offset < 0 || r->end_offset < r->start_offset)
            return fail(why, E_JOB, "dataset[%d]: %.200s/%d from %lld to %lld is not a range of offsets", i,
                        r->topic, r->partition, (long long)r->start_offset, (long long)r->end_offset);
    }
    return 0;
}

static int promote_check(const struct training_job *job, struct fail *why)
{
    static const char *const names[] = {"accuracy", "loss",          "val_accuracy",
                                        "val_loss", "test_accuracy", "test_loss"};
    const char *m = job->promote_metric;
    size_t i, n = sizeof names / sizeof *names;
    if (!job->promote_automatic)
        return 0;
    for (i = 0; i < n && strcmp(m, names[i]) != 0; i++)
        ;
    if (i == n)
        return fail(
            why, E_JOB,
            "promote.metric: \"%.100s\" is not one of accuracy, loss, val_accuracy, val_loss, test_accuracy, "
            "test_loss",
            m);
    if (strstr(m, "loss") && !job->promote_minimize)
        return fail(why, E_JOB, "promote.metric: the lower a %s the better: set promote.minimize", m);
    if ((strncmp(m, "val_", 4) == 0 && !(job->validation_rate > 0)) ||
        (strncmp(m, "test_", 5) == 0 && !(job->test_rate > 0)))
        return fail(why, E_JOB, "promote.metric: %s needs %s above 0", m,
                    m[0] == 'v' ? "validation_rate" : "test_rate");
    if (!(job->promote_min_improvement >= 0))
        return fail(why, E_JOB, "promote.min_improvement: %g: at least 0 is expected",
                    job->promote_min_improvement);
    return 0;
}

static bool rate_good(double v)
{
    return v >= 0 && v < 1;
}

int job_check(const struct training_job *job, bool with_data, struct job_settings *out, struct fail *why)
{
    int rc = model_name_check(job->model, why);
    if (rc)
        return fail_prefix(why, "model");
    if (!*job->network && job->base_version < 1)
        return fail(why, E_JOB, "network: a name, YAML text, or base_version is expected");
    if (*job->network && job->base_version)
        return fail(why, E_JOB,
                    "network and base_version: one of them says where the layers come from, not both");
    if (!rate_good(job->validation_rate) || !rate_good(job->test_rate) ||
        !rate_good(job->validation_rate + job->test_rate))
        return fail(why, E_JOB,
                    "validation_rate %g and test_rate %g: each from 0 to below 1, and so their sum",
                    job->validation_rate, job->test_rate);
    if (!job_loss_type(job->loss))
        return fail(why, E_JOB, "loss: one of %s is expected", loss_names());
    if (job->checkpoint_every < 0 || job->patience < 0 || job->max_runtime_s < 0 || !(job->min_delta >= 0))
        return fail(why, E_JOB, "checkpoint_every, patience, max_runtime_s and min_delta are at least 0");
    if (job->patience > 0 && !(job->validation_rate > 0))
        return fail(why, E_JOB, "stopping.patience looks at val_loss: it needs validation_rate above 0");
    if ((rc = promote_check(job, why)) || (with_data && (rc = ranges_check(job, why))))
        return rc;
    if ((rc = job_settings_parse(out, job->hyperparameters, job->hyperparameter_count, "hyperparameters",
                                 why)))
        return rc;
    rc = job_loss_check(out, job_loss_type(job->loss), 0, why);
    return rc ? fail_prefix(why, "hyperparameters") : 0;
}

/* Job and worker files are embedded too. */
static bool is_network(const char *text)
{
    return strstr(text, "\nlayers:") != NULL;
}

static int network_unknown(const char *name, struct fail *why)
{
    char known[200] = "";
    for (const struct embedded *e = embedded_files; e->path; e++) {
        int n = (int)strlen(e->path) - (int)strlen("config/.yaml");
        bool network = strncmp(e->path, "config/", 7) == 0 && n > 0 && is_network(e->text);
        if (!network || strlen(known) + (size_t)n + 3 > sizeof known)
            continue;
        snprintf(known + strlen(known), sizeof known - strlen(known), "%s%.*s", *known ? ", " : "", n,
                 e->path + 7);
    }
    return fail(why, E_JOB, "network: \"%.100s\" is neither shipped (%s) nor YAML text nor a file's path",
                name, known);
}

struct loss_metric job_metric(const struct training_job *job, int64_t sequence, enum job_state state)
{
    return (struct loss_metric){.job_id = job->job_id,
                                .model = job->model,
                                .sequence = sequence,
                                .state = state,
                                .loss = NAN,
                                .accuracy = NAN,
                                .val_loss = NAN,
                                .val_accuracy = NAN,
                                .learning_rate = NAN,
                                .samples_per_second = NAN,
                                .failure_reason = ""};
}

int job_network(struct graph **out, const char *network, struct fail *why)
{
    char path[160];
    size_t size;
    if (strchr(network, '\n'))
        return network_parse(out, "network", network, strlen(network), why);
    snprintf(path, sizeof path, "config/%.100s.yaml", network);
    const char *text = embedded_find(path, &size);
    if (!text || !is_network(text))
        return network_unknown(network, why);
    return network_parse(out, path, text, size, why);
}

static const char *output_rule(enum job_loss loss)
{
    return loss == LOSS_CROSS_ENTROPY ? "softmax" : loss == LOSS_LOG_LOSS ? "sigmoid" : "none";
}

int job_prepare(struct graph *g, const struct training_job *job, const struct job_settings *h,
                struct fail *why)
{
    int64_t channels = g->input.dim[0], outputs = shape_size(graph_output(g));
    int rc = job_loss_check(h, job_loss_type(job->loss), outputs, why);
    if (rc)
        return fail_prefix(why, "hyperparameters");
    if (job->label_count && job->label_count != outputs)
        return fail(why, E_JOB, "labels: %d names, but the network has %lld outputs", job->label_count,
                    (long long)outputs);
    if (job->label_count && (rc = graph_set_labels(g, job->label_count, job->labels, why)))
        return rc;
    if (h->mean_count > 1 && h->mean_count != channels)
        return fail(why, E_JOB, "mean, std: %d numbers, but the network's input has %lld channels",
                    h->mean_count, (long long)channels);
    if (augment_needs_image(&h->augment) && g->input.rank != 3)
        return fail(why, E_JOB,
                    "augment_...: flip, shift, crop, rotation, scale and cutout are for rows of [C, H, W]");
    if ((h->mean_count || h->mean_auto) && channels > JOB_CHANNELS)
        return fail(why, E_JOB, "mean, std: at most %d channels", JOB_CHANNELS);
    for (int i = 0; h->mean_count && i < channels; i++) {
        g->mean[i] = h->mean[h->mean_count > 1 ? i : 0];
        g->std[i] = h->std[h->mean_count > 1 ? i : 0];
        g->channels_normalised = i + 1;
    }
    snprintf(g->output, sizeof g->output, "%s", output_rule(job->loss));
    return 0;
}

void job_normalise(struct graph *g, const float *mean, const float *std, int channels)
{
    for (int i = 0; i < channels; i++) {
        g->mean[i] = mean[i];
        g->std[i] = std[i];
    }
    g->channels_normalised = channels;
}
