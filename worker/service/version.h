/* The version of the whole product, in one place. */
#ifndef WORKER_SERVICE_VERSION_H
#define WORKER_SERVICE_VERSION_H

#define MILLRACE_VERSION "0.1.0"

#endif
