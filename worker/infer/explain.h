/* Saliency maps for the rows that ask for one: a second net of the same model, opened when the first request asks. The
 * runner's own: one thread. */
#ifndef WORKER_INFER_EXPLAIN_H
#define WORKER_INFER_EXPLAIN_H

#include "worker/infer/router.h"

/* Opens the net when there is none. A model that cannot be explained here (a layer without a way back, no memory) is the
 * request's fault: E_BAD_REQUEST with the reason. */
int explain_prepare(struct served *s, struct fail *why);
/* After net_forward on the rows that wait in `in`, of s: the map of each row's largest output into the answers that want one. */
int explain_rows(struct served *s, const struct intake *in, struct fail *why);
void explainer_close(struct explainer **e); /* NULL inside is fine */

#endif
