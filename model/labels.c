/* labels.c - see labels.h. */
#include "labels.h"
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LABELS_MAX_BYTES (16u << 20)

/* The table as it lies in the repository, without a generated source. */
__asm__(".section .rodata\n"
        "senetd_imagenet_begin:\n"
        ".incbin \"weights/imagenet1k_labels.tsv\"\n"
        "senetd_imagenet_end:\n"
        ".previous\n");
extern const char imagenet_begin[] __asm__("senetd_imagenet_begin");
extern const char imagenet_end[] __asm__("senetd_imagenet_end");

/* What was called after errno = 0 failed: the file is to blame, unless memory lacked. */
static enum error_code blame(enum error_code code)
{
    return errno == ENOMEM ? ERROR_MEMORY : code;
}

/* A jansson string refuses what is not UTF-8. */
static bool is_utf8(const char *text)
{
    json_t *string = json_string(text);
    json_decref(string);
    return string != NULL;
}

static enum error_code split(const char *name, size_t classes, struct labels *labels,
                             struct error *err)
{
    size_t length = strlen(labels->text), lines = 0;
    while (length && (labels->text[length - 1] == '\n' || labels->text[length - 1] == '\r'))
        labels->text[--length] = 0;
    for (const char *p = labels->text; length && p; p = strchr(p + 1, '\n'))
        lines++;
    if (lines != classes)
        return error_set(err, ERROR_WEIGHTS, "%s: %zu labels, expected %zu, one for each class",
                         name, lines, classes);
    labels->names = calloc(lines + 1, sizeof *labels->names);
    if (!labels->names)
        return error_set(err, ERROR_MEMORY, "%s: out of memory", name);
    char *rest = labels->text;
    for (size_t i = 0; i < lines; i++) {
        char *line = strsep(&rest, "\n"), *tab = strrchr(line, '\t');
        size_t end = strlen(line);
        if (end && line[end - 1] == '\r')
            line[end - 1] = 0;
        labels->names[i] = tab ? tab + 1 : line;
        if (!*labels->names[i])
            return error_set(err, ERROR_WEIGHTS, "%s: line %zu: label is empty", name, i + 1);
        errno = 0;
        if (!is_utf8(labels->names[i]))
            return error_set(err, blame(ERROR_WEIGHTS), "%s: line %zu: %s", name, i + 1,
                             errno == ENOMEM ? "out of memory" : "label is not UTF-8");
    }
    labels->count = lines;
    return ERROR_NONE;
}

static enum error_code take_text(const char *name, char *text, size_t classes, struct labels *out,
                                 struct error *err)
{
    struct labels labels = {.text = text};
    enum error_code code = text ? split(name, classes, &labels, err)
                                : error_set(err, ERROR_MEMORY, "%s: out of memory", name);
    if (code != ERROR_NONE)
        labels_free(&labels);
    else
        *out = labels;
    return code;
}

enum error_code labels_read(const char *path, size_t classes, struct labels *out, struct error *err)
{
    FILE *file = fopen(path, "rbe");
    if (!file)
        return error_set(err, blame(ERROR_IO), "%s: cannot open: %s", path, strerror(errno));
    char *text = NULL;
    size_t capacity = 0;
    errno = 0;
    ssize_t length = getdelim(&text, &capacity, 0, file); /* the whole file, or up to a NUL */
    bool whole = feof(file) && length <= (ssize_t)LABELS_MAX_BYTES;
    enum error_code fault = blame(ERROR_WEIGHTS);
    int cause = ferror(file) && fault != ERROR_MEMORY ? errno : 0;
    fclose(file);
    if (cause != 0) {
        free(text);
        return error_set(err, ERROR_IO, "%s: cannot read: %s", path, strerror(cause));
    }
    if (!whole) {
        free(text);
        return error_set(err, fault, "%s: %s", path,
                         fault == ERROR_MEMORY ? "out of memory" : "not a text file of labels");
    }
    if (length < 0) { /* empty */
        free(text);
        text = calloc(1, 1);
    }
    return take_text(path, text, classes, out, err);
}

enum error_code labels_imagenet(struct labels *out, struct error *err)
{
    size_t size = (size_t)(imagenet_end - imagenet_begin);
    return take_text("built-in ImageNet-1k labels", strndup(imagenet_begin, size), 1000, out, err);
}

enum error_code labels_numbered(size_t classes, struct labels *out, struct error *err)
{
    char *text = NULL;
    size_t size;
    FILE *stream = open_memstream(&text, &size);
    if (!stream)
        return error_set(err, ERROR_MEMORY, "labels: out of memory");
    for (size_t i = 0; i < classes; i++)
        fprintf(stream, "class %zu\n", i);
    if (fclose(stream) != 0) {
        free(text);
        return error_set(err, ERROR_MEMORY, "labels: out of memory");
    }
    return take_text("numbered labels", text, classes, out, err);
}

void labels_free(struct labels *labels)
{
    free(labels->names);
    free(labels->text);
    *labels = (struct labels){0};
}
