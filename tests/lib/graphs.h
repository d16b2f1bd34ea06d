/* Graphs for tests, and what it means that two are equal. All fail the running cmocka test. */
#ifndef TESTS_LIB_GRAPHS_H
#define TESTS_LIB_GRAPHS_H

#include "engine/graph.h"

/* config/lenet.yaml with weights of seed 1, labels, preprocessing and some lineage. */
struct graph *graph_lenet(void);
/* Every layer type there is, small, with settings other than the defaults; weights of seed 2. */
struct graph *graph_everything(void);
/* Layers, settings, edges, shapes, parameters by bits and by name, and what travels with them; not `file`. */
void graphs_equal(const struct graph *a, const struct graph *b);

#endif
