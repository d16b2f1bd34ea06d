/* A network as data: layers in order with their settings, inputs and weights, and what travels with
 * them (labels, preprocessing, lineage). Read from a network YAML or an ONNX file, written as ONNX.
 * `net_open` makes it run. Host memory only; a graph knows no backend and no batch size. */
#ifndef ENGINE_GRAPH_H
#define ENGINE_GRAPH_H

#include "engine/tensor.h"

struct layer_type;
struct rng;

enum { GRAPH_NAME = 128, GRAPH_INPUTS = 16, GRAPH_PARAMS = 8, GRAPH_INPUT = -1 };

/* A parameter or a state of a node, by the order of its layer type's parameters. */
struct graph_param {
    char name[GRAPH_NAME]; /* "conv1.weight" */
    struct shape shape;
    float *data; /* owned, malloc; NULL: fresh values are drawn when the net opens */
    bool state;  /* running statistics: saved, never stepped, decayed or clipped */
};

struct graph_node {
    char name[GRAPH_NAME]; /* unique in the graph */
    const struct layer_type *type;
    void *settings;                        /* owned; the struct that type->settings describes */
    int inputs[GRAPH_INPUTS], input_count; /* earlier nodes, or GRAPH_INPUT */
    struct graph_param params[GRAPH_PARAMS];
    int param_count;
    struct shape shape; /* of one row's output, without N; filled by graph_finish */
    int line;           /* in the YAML, for messages; 0: none */
};

struct graph {
    char name[GRAPH_NAME]; /* "lenet" */
    char file[256];        /* where it was read, for messages */
    struct shape input;    /* of one row: C, H, W, without N */
    char input_name[GRAPH_NAME], output_name[GRAPH_NAME];
    struct graph_node *nodes; /* in topological order; the last one's output is the network's */
    int count, capacity;
    char **labels; /* owned; NULL when there are none */
    int label_count;
    float mean[16], std[16]; /* (x / 255 - mean) / std for UINT8 and images; by channel */
    int channels_normalised; /* 0: no preprocessing known */
    char output[16];         /* "softmax", "sigmoid", "none", or "" (contract.md says how it is chosen) */
    char **metadata;         /* key, value, key, value...: other metadata_props, kept */
    int metadata_count;      /* pairs */
};

/* An empty graph; `input` is the shape of one row. */
int graph_new(struct graph **out, const char *name, struct shape input, struct fail *why);
void graph_free(struct graph **g);
/* A deep copy, weights included. */
int graph_copy(struct graph **out, const struct graph *g, struct fail *why);

/* Appends a node of the layer type named, with default settings; inputs default to the node before. name
 * NULL: type's name and a number ("conv1"). The pointer is good until the next graph_add. */
int graph_add(struct graph_node **out, struct graph *g, const char *type, const char *name, struct fail *why);
/* Copies n = shape_size(shape) floats into parameter `index` of the node. */
int graph_set_param(struct graph *g, int node, int index, const char *name, struct shape shape,
                    const float *data, struct fail *why);
/* Runs every layer's shape rule and parameter list, fills shapes and parameter names, checks shapes of
 * weights that are there. Called by the readers; calling it again is harmless. */
int graph_finish(struct graph *g, struct fail *why);

/* Takes a node out and frees it; who read it reads its first input. */
void graph_drop(struct graph *g, int index);
/* For NET_INFER and NET_EXPLAIN, where weights are constants: a batch norm over a conv or dense that nobody else
 * reads goes into that one's weights and bias, the rest stay. Every parameter has data. */
int graph_fold(struct graph *g, struct fail *why);
/* The shapes that a node's inputs have, checked; E_NETWORK without its name. */
int graph_input_shapes(const struct graph *g, int index, struct shape in[GRAPH_INPUTS], struct fail *why);

int graph_index(const struct graph *g, const char *node_name); /* -1: none */
struct shape graph_output(const struct graph *g);              /* of one row */
/* Draws every parameter that has no data yet: He for layers followed by relu, Xavier otherwise, zero biases;
 * or as the layer's `init` says. A pure function of seed and graph. */
int graph_init(struct graph *g, uint64_t seed, struct fail *why);
double graph_flops(const struct graph *g); /* multiply and add counted apart, forward, one row */
int64_t graph_param_count(const struct graph *g);
int graph_set_labels(struct graph *g, int n, const char *const *labels, struct fail *why);
const char *graph_metadata(const struct graph *g, const char *key); /* NULL: absent */
int graph_set_metadata(struct graph *g, const char *key, const char *value, struct fail *why);
/* "softmax", "sigmoid" or "none": how `score` is made of the output, contract.md's rule. */
const char *graph_score_rule(const struct graph *g);

/* engine/files: by extension and content (.onnx, .yaml); verifies what it reads, E_FILE with the place. */
int graph_read(struct graph **out, const char *path, struct fail *why);
int network_parse(struct graph **out, const char *name, const char *yaml, size_t size, struct fail *why);
int network_write(const struct graph *g, const char *path, struct fail *why);
int onnx_parse(struct graph **out, const char *name, const void *bytes, size_t size, struct fail *why);
/* Bytes are malloc'd, the caller frees them. The same graph gives the same bytes. */
int onnx_print(const struct graph *g, void **bytes, size_t *size, struct fail *why);

#endif
