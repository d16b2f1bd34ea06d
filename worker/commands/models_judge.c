/* `models approve`, `reject` and `retire`: what people say of a version. The event goes under the version's key and repeats its
 * whole record, lineage and all. */
#include <stdio.h>
#include <string.h>

#include "worker/commands/models_view.h"

/* An alias that means the version and serves; NULL: none. */
static const char *alias_of(const struct registry *r, const struct model_version_event *v)
{
    const struct model_version_event *e;
    for (int i = 0; (e = registry_at(r, i, NULL)); i++)
        if ((e->event == EVENT_PROMOTED || e->event == EVENT_ROLLED_BACK) && e->traffic > 0 &&
            e->version == v->version && strcmp(e->model, v->model) == 0)
            return e->alias;
    return NULL;
}

static int judge_check(const struct registry *r, const struct model_version_event *v, enum version_event as,
                       struct fail *why)
{
    const char *alias = alias_of(r, v);
    if (v->event == EVENT_RETIRED)
        return fail(why, E_FAILED, "%s@%lld is RETIRED, which is for good", v->model, (long long)v->version);
    if (as != EVENT_APPROVED && alias)
        return fail(why, E_FAILED, "%s@%s means version %lld: promote or roll back to another version first",
                    v->model, alias, (long long)v->version);
    return 0;
}

static int judge_write(const struct context *cx, const struct model_version_event *v, enum version_event as,
                       struct fail *why)
{
    const struct models_options *o = cx->options;
    struct model_version_event e = *v;
    e.event = as;
    e.reason = o->reason;
    int rc = models_event_write(cx, &e, why);
    if (rc)
        return rc;
    if (cx->json)
        printf("{\"event\":\"%s\",\"model\":\"%s\",\"version\":%lld}\n", version_event_name(as), e.model,
               (long long)e.version);
    else
        printf("%s@%lld is %s now\n", e.model, (long long)e.version, version_event_name(as));
    return 0;
}

static int judge(const struct context *cx, enum version_event as, struct fail *why)
{
    const struct model_version_event *v;
    struct registry *r = NULL;
    char model[128];
    int64_t version;
    int rc = models_operand(cx, model, &version, why);
    if (!rc && !version)
        rc = fail(why, E_USAGE, "NAME@VERSION is expected, not %.100s", cx->argv[1]);
    if (rc || (rc = registry_load(&r, &cx->settings, cx->timeout_ms, why)))
        return rc;
    v = registry_version(r, model, version);
    rc = v ? judge_check(r, v, as, why)
           : fail(why, E_FAILED, "there is no version %s@%lld (millrace models lists them)", model,
                  (long long)version);
    if (!rc)
        rc = judge_write(cx, v, as, why);
    registry_free(&r);
    return rc;
}

int models_approve(const struct context *cx, struct fail *why)
{
    return judge(cx, EVENT_APPROVED, why);
}

int models_reject(const struct context *cx, struct fail *why)
{
    return judge(cx, EVENT_REJECTED, why);
}

int models_retire(const struct context *cx, struct fail *why)
{
    return judge(cx, EVENT_RETIRED, why);
}
