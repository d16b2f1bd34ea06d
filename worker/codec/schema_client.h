/* A client of a Confluent-compatible schema registry through libcurl. One thread; calls wait for the answer, but never longer than
 * SCHEMA_TRY_MS for each of the URLs, and end early when `stop` says so.
 *
 * schema_registry.url is a list: the next one is tried where one cannot be reached or is out of order (5xx, 429), and the one
 * that answered is asked first from then on. Password and token are read from their files at each request, so that they can
 * be renewed. Redirections are not followed: credentials go where the configuration says.
 *
 * All return 0, or: E_UNREACHABLE no URL answers as a schema registry does; E_DENIED it refuses us, or TLS refuses it; E_CONFIG a
 * file of ours is missing or no certificate; E_INTERRUPTED; E_UNKNOWN_SCHEMA it says that there is no such schema, subject or
 * version; E_FAILED it refuses the schema (incompatible, not valid), in its words. No text holds a secret. */
#ifndef WORKER_CODEC_SCHEMA_CLIENT_H
#define WORKER_CODEC_SCHEMA_CLIENT_H

#include <stdint.h>

#include "engine/fail.h"
#include "worker/service/settings.h"

enum { SCHEMA_TRY_MS = 3000 };

struct schema_client;

struct schema_stop {
    bool (*asked)(void *arg); /* NULL: never */
    void *arg;
};

int schema_client_open(struct schema_client **out, const struct settings *s, struct fail *why);
void schema_client_close(struct schema_client **c);
void schema_client_stop(struct schema_client *c, const struct schema_stop *stop); /* NULL: never; borrowed */

/* Whether it answers and lets us in. */
int schema_client_ping(struct schema_client *c, struct fail *why);
/* The schema of an id, malloc'd. E_UNKNOWN_SCHEMA also for one that is no Avro schema or refers to others. */
int schema_client_get(struct schema_client *c, uint32_t id, char **schema, struct fail *why);
/* The id of a schema in a subject ("<topic>-value"). */
int schema_client_find(struct schema_client *c, const char *subject, const char *schema, uint32_t *id,
                       struct fail *why);
/* ... that is put there when it is not there yet. */
int schema_client_register(struct schema_client *c, const char *subject, const char *schema, uint32_t *id,
                           struct fail *why);
/* Numbers of the versions of a subject, at most `room`, oldest first. */
int schema_client_versions(struct schema_client *c, const char *subject, int *versions, int room, int *count,
                           struct fail *why);
int schema_client_version(struct schema_client *c, const char *subject, int version, char **schema,
                          uint32_t *id, struct fail *why);
/* The compatibility level that holds for a subject: its own, else the server's. */
int schema_client_level(struct schema_client *c, const char *subject, char level[32], struct fail *why);

#endif
