/* One line an event on stderr: text on a terminal, JSON otherwise. Any thread. Fields are key, value pairs:
 *   log_event(LOG_INFO, "promoted", "model", "digits", "version", log_text("%d", 3), NULL)
 * gives {"at":"2026-01-02T03:04:05.678Z","level":"info","event":"promoted","model":"digits","version":3}. */
#ifndef WORKER_SERVICE_LOG_H
#define WORKER_SERVICE_LOG_H

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_AUTO, LOG_TEXT, LOG_JSON };

void log_open(enum log_format format, enum log_level level);
/* For services: of one event at most `lines` in a second, 0: all. What was left out is told, as a field `left_out` of the next
 * line of that event, or by a line "log lines left out" once a second has passed and anything else is logged. */
void log_limit(int lines);
/* `event` is a short sentence without values; fields are name, value strings, NULL ends the list. A value
 * that is a JSON number is printed as one. */
void log_event(enum log_level level, const char *event, ...) __attribute__((sentinel));
/* For field values: formats into one of a few buffers of the calling thread, good until the eighth next call.
 */
const char *log_text(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
