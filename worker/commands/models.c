/* `models`: the model registry. Next to read: models_list.c, models_alias.c, models_judge.c, models_import.c,
 * models_export.c. */
#include <string.h>

#include "worker/commands/models_view.h"

#define AT(field) offsetof(struct models_options, field)
static const struct setting options[] = {
    {"model", SETTING_STRING, AT(model), "", 0, 100, NULL, "import: the model that gets the version", false},
    {"network", SETTING_STRING, AT(network), "", 0, 4000, NULL,
     "import of .safetensors: the network file (or a shipped name) that the weights belong to", false},
    {"promote", SETTING_BOOL, AT(promote), "false", 0, 0, NULL, "import: make the version what --alias means",
     false},
    {"alias", SETTING_STRING, AT(alias), "champion", 1, 100, NULL, "promote, rollback: the alias", false},
    {"workers", SETTING_BOOL, AT(workers), "false", 0, 0, NULL,
     "list: also who answers with which version, as the newest predictions say", false},
    {"reason", SETTING_STRING, AT(reason), "", 0, 1000, NULL, "approve, reject, retire: why, for the record",
     false},
    {"traffic", SETTING_REAL, AT(traffic), "1", 0, 1, NULL,
     "promote, rollback: share of the keys that the alias serves; 0 ends the alias", false},
    {"format", SETTING_CHOICE, AT(format), "onnx", 0, 0, "onnx|safetensors",
     "export: onnx, the version's own bytes; safetensors, its parameters alone", false},
    {"output", SETTING_STRING, AT(output), "", 0, 4096, NULL, "export: the file to write", false},
    {0},
};

static const struct {
    const char *word;
    int operands; /* behind the word */
    const char *operand;
    int (*run)(const struct context *cx, struct fail *why);
} words[] = {
    {"list", 0, "", models_list},
    {"show", 1, "NAME[@VERSION]", models_show},
    {"import", 1, "FILE", models_import},
    {"export", 1, "NAME[@VERSION]", models_export},
    {"promote", 1, "NAME[@VERSION]", models_promote},
    {"rollback", 1, "NAME[@VERSION]", models_rollback},
    {"approve", 1, "NAME@VERSION", models_approve},
    {"reject", 1, "NAME@VERSION", models_reject},
    {"retire", 1, "NAME@VERSION", models_retire},
};

static int run(const struct context *cx, struct fail *why)
{
    const char *word = cx->argc ? cx->argv[0] : "list";
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(words[i].word, word) != 0)
            continue;
        if (cx->argc && cx->argc - 1 != words[i].operands)
            return fail(why, E_USAGE, "models %s %s: %d operand%s expected, %d came", word, words[i].operand,
                        words[i].operands, words[i].operands == 1 ? " is" : "s are", cx->argc - 1);
        return words[i].run(cx, why);
    }
    return command_unknown_word("subcommand", word,
                                "list|show|import|export|promote|rollback|approve|reject|retire", why);
}

const struct command command_models = {
    .name = "models",
    .operands = "[show NAME[@VERSION]|import FILE|export NAME[@VERSION]|promote NAME[@VERSION]|rollback "
                "NAME[@VERSION]|approve|reject|retire NAME@VERSION]",
    .max_operands = 2,
    .summary = "the model registry: lists, shows, imports, exports, promotes, approves, rolls back",
    .text =
        "promote without a version takes the newest, rollback without one the version that the alias meant\n"
        "before. A version that is rejected or retired cannot be promoted and answers by number alone; what\n"
        "an alias means can be neither; a rejected one can be approved after all, a retired one not. What\n"
        "writes an event returns when a read_committed reader has seen it. import needs a worker with role\n"
        "train, which gives the version its number; exit 4 when none answers in time.",
    .options = options,
    .options_size = sizeof(struct models_options),
    .needs_settings = true,
    .run = run,
};
