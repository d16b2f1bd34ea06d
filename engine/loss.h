/* All losses, one table. Losses take logits (cross entropy, log loss) or values (mse) and give gradient SUMS
 * and a weight; the optimiser divides. */
#ifndef ENGINE_LOSS_H
#define ENGINE_LOSS_H

struct loss_type;

/* "cross_entropy", "mse", "log_loss"; NULL: unknown. */
const struct loss_type *loss_find(const char *name);
const char *loss_name(const struct loss_type *loss);
/* "cross_entropy, mse, log_loss", for messages. */
const char *loss_names(void);

#endif
