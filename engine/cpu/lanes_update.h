/* The optimisers' updates for one instruction set. They know nothing of lanes: a parameter is a parameter, and
 * the loops of ref/updates.h vectorise as they are. Included by lanes_avx512.c and its like. */
#include "engine/ref/updates.h"
