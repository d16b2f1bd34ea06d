/* What setting.c gives setting_read.c. */
#ifndef ENGINE_SETTING_INSIDE_H
#define ENGINE_SETTING_INSIDE_H

#include "engine/setting.h"

enum { WORDS_MOST = 256, KEY_MOST = 256 };

/* A value as it was written: one word, or the items of a list. */
struct setting_words {
    int n;
    bool list;
    const char *v[WORDS_MOST];
};

void *setting_field(const struct setting *s, const void *of);
/* Parses, checks the bounds and stores; the text of a failure begins with the key, its place is the caller's. */
int setting_assign(const struct setting *s, void *into, const struct setting_words *w, struct fail *why);
/* From "64", "[a, b]" or "a, b". */
int setting_assign_text(const struct setting *s, void *into, const char *text, struct fail *why);
int setting_map_set(struct setting_map *m, const char *key, const char *value, int line, int column,
                    struct fail *why);

#endif
