/* `topics`: makes the topics that are missing, or lists them. Their names and settings are
 * worker/stream/topics.c.
 * Next to read: check.c, which looks at more than topics. */
#include <stdio.h>
#include <string.h>

#include "worker/commands/command.h"
#include "worker/stream/topics.h"

struct options {
    int64_t partitions, replication;
};

static const struct setting options[] = {
    {"partitions", SETTING_INT, offsetof(struct options, partitions), "4", 1, 10000, NULL,
     "of inference, predictions, shadow, samples and dead letters; jobs get 4, the others 1", false},
    {"replication", SETTING_INT, offsetof(struct options, replication), "-1", -1, 100, NULL,
     "copies of a partition; -1: what the broker says", false},
    {0},
};

static int topics_list(const struct context *cx, struct fail *why)
{
    int partitions[TOPICS], missing = 0;
    int rc = topics_look(&cx->settings, cx->timeout_ms, partitions, why);
    if (rc)
        return rc;
    for (int t = 0; t < TOPICS; t++) {
        char name[TOPIC_NAME];
        topic_full_name(&cx->settings, (enum topic)t, name);
        missing += partitions[t] == 0;
        if (cx->json)
            printf("%s{\"topic\":\"%s\",\"partitions\":%d}", t ? "," : "[", name, partitions[t]);
        else if (partitions[t])
            printf("%-32s %d partition%s\n", name, partitions[t], partitions[t] == 1 ? "" : "s");
        else
            printf("%-32s missing\n", name);
    }
    if (cx->json)
        puts("]");
    if (missing)
        fprintf(stderr, "%d missing; `millrace topics create` makes them\n", missing);
    return 0;
}

static int topics_make(const struct context *cx, struct fail *why)
{
    const struct options *o = cx->options;
    struct topic_report report[TOPICS];
    if (o->replication == 0)
        return fail(why, E_USAGE, "--replication: expected 1 or more, or -1 for the broker's own");
    int rc =
        topics_create(&cx->settings, (int)o->partitions, (int)o->replication, cx->timeout_ms, report, why);
    if (rc)
        return rc;
    for (int t = 0; t < TOPICS; t++) {
        const struct topic_report *r = &report[t];
        if (cx->json)
            printf("%s{\"topic\":\"%s\",\"partitions\":%d,\"created\":%s}", t ? "," : "[", r->name,
                   r->partitions, r->existed ? "false" : "true");
        else
            printf("%-32s %s, %d partition%s\n", r->name, r->existed ? "exists" : "created", r->partitions,
                   r->partitions == 1 ? "" : "s");
    }
    if (cx->json)
        puts("]");
    return 0;
}

static int run(const struct context *cx, struct fail *why)
{
    const char *word = cx->argc ? cx->argv[0] : "list";
    if (strcmp(word, "create") == 0)
        return topics_make(cx, why);
    if (strcmp(word, "list") == 0)
        return topics_list(cx, why);
    return command_unknown_word("subcommand", word, "create|list", why);
}

const struct command command_topics = {
    .name = "topics",
    .operands = "[create|list]",
    .max_operands = 1,
    .summary = "lists the topics, or makes those that are missing",
    .text = "Topics that exist are left as they are. Compaction, retention and message sizes are set as\n"
            "each topic needs them.",
    .options = options,
    .options_size = sizeof(struct options),
    .needs_settings = true,
    .run = run,
};
