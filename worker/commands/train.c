/* `train`: which of its three ways a command line means. Next to read: train_submit.c, train_local.c, train_preview.c. */
#include "worker/commands/train_view.h"

#define AT(field) offsetof(struct train_options, field)
static const struct setting options[] = {
    {"dataset", SETTING_STRING, AT(dataset), "", 0, 4000, NULL,
     "offset ranges instead of the job file's: the JSON list that send --samples prints", false},
    {"detach", SETTING_BOOL, AT(detach), "false", 0, 0, NULL, "print the job's id and end", false},
    {"local", SETTING_BOOL, AT(local), "false", 0, 0, NULL, "train here, without Kafka: --data, --output",
     false},
    {"data", SETTING_STRING, AT(data), "", 0, 4000, NULL,
     "with --local or --preview: labelled rows (.npz, .idx, .bin, .avro, a folder of class folders)", false},
    {"output", SETTING_STRING, AT(output), "", 0, 4000, NULL, "with --local: the .onnx file to write", false},
    {"preview", SETTING_STRING, AT(preview), "", 0, 4000, NULL,
     "train nothing: draw training rows before and after augmentation into this .png file; rows of --data, "
     "or the "
     "job's own",
     false},
    {"base", SETTING_STRING, AT(base), "", 0, 4000, NULL,
     "with --local: begin with the layers and weights of this .onnx file (no network in the job)", false},
    {0},
};

static int run(const struct context *cx, struct fail *why)
{
    const struct train_options *o = cx->options;
    if (*o->preview)
        return o->local || *o->output || o->detach || *o->base
                   ? fail(why, E_USAGE, "--preview goes with --data or --dataset alone")
                   : train_preview(cx, why);
    if (!o->local && (*o->data || *o->output || *o->base))
        return fail(why, E_USAGE, "--data, --output and --base belong to --local");
    if (o->local && (*o->dataset || o->detach))
        return fail(why, E_USAGE, "--dataset and --detach do not go with --local");
    if (o->local && (!*o->data || !*o->output))
        return fail(why, E_USAGE, "--local needs --data FILE and --output MODEL.onnx");
    return o->local ? train_local(cx, why) : train_submit(cx, why);
}

const struct command command_train = {
    .name = "train",
    .operands = "JOB.yaml",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "submits a training job and follows it, or trains here (--local)",
    .text =
        "Shows the loss as it falls, and at the end the version that was made. Ctrl-C stops following (exit "
        "64);\n"
        "the job goes on: `millrace jobs show ID` and `millrace jobs stop ID`. Exit 1 when the job FAILED.\n"
        "`millrace help job` lists what a job file may say.",
    .options = options,
    .options_size = sizeof(struct train_options),
    .needs_settings = true,
    .run = run,
};
