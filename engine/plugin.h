/* Backends in libraries of their own, for backend.c. */
#ifndef ENGINE_PLUGIN_H
#define ENGINE_PLUGIN_H

#include "engine/backend_ops.h"

/* Loads millrace-NAME.so: the file that MILLRACE_PLUGINS/ has, else the one beside this program, else the one in
 * ../lib/millrace from there. E_UNSUPPORTED: not there (*there false), cannot be loaded, or made from other sources.
 * *library is for dlclose. */
int plugin_load(const struct backend_ops **ops, void **library, bool *there, const char *name,
                struct fail *why);

#endif
