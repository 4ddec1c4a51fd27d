/* samples.c - see samples.h. */
#include "samples.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- finding -----------------------------------------------------------------------------------
 */

static bool same_letter(char a, char b)
{
    bool a_plain = isalnum((unsigned char)a) || (unsigned char)a > 127;
    bool b_plain = isalnum((unsigned char)b) || (unsigned char)b > 127;
    return a_plain && b_plain ? tolower((unsigned char)a) == tolower((unsigned char)b)
                              : a_plain == b_plain;
}

static bool names_class(const char *folder, const char *label)
{
    while (*folder != '\0' && *label != '\0' && same_letter(*folder, *label)) {
        folder++;
        label++;
    }
    return *folder == '\0' && *label == '\0';
}

static size_t class_of(const char *folder, const struct senet *senet)
{
    size_t classes = senet_info(senet)->classes;
    for (size_t i = 0; i < classes; i++)
        if (names_class(folder, senet_label(senet, i)))
            return i;
    char *end;
    unsigned long number = strtoul(folder, &end, 10);
    return isdigit((unsigned char)folder[0]) && *end == '\0' && number < classes ? (size_t)number
                                                                                 : SAMPLES_NO_CLASS;
}

static enum error_code append(struct samples *samples, char *path, size_t class, struct error *err)
{
    if ((samples->count & (samples->count - 1)) == 0) {
        size_t room = samples->count > 0 ? 2 * samples->count : 1;
        struct sample *grown = realloc(samples->files, room * sizeof *grown);
        if (grown == NULL) {
            free(path);
            return error_set(err, ERROR_MEMORY, "no memory for a list of %zu files", room);
        }
        samples->files = grown;
    }
    samples->files[samples->count++] = (struct sample){path, class};
    return ERROR_NONE;
}

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* Of the files from first on keeps limit, spread evenly. */
static void thin_out(struct samples *samples, size_t first, size_t limit)
{
    size_t count = samples->count - first;
    if (limit == 0 || count <= limit)
        return;
    struct sample *files = samples->files + first;
    for (size_t i = 0, kept = 0; i < count; i++) {
        if (kept < limit && i == kept * count / limit)
            files[kept++] = files[i];
        else
            free(files[i].path);
    }
    samples->count = first + limit;
}

/* The directory's files, then, at depth 0, its folders'. */
static enum error_code scan(const char *directory, size_t class, size_t depth,
                            const struct senet *senet, size_t limit, struct samples *out,
                            struct error *err)
{
    struct dirent **entries;
    size_t first = out->count;
    int count = scandir(directory, &entries, is_visible, alphasort);
    if (count < 0)
        return error_set(err, ERROR_IO, "cannot read the directory '%s': %s", directory,
                         strerror(errno));
    enum error_code code = ERROR_NONE;
    for (int folders = 0; folders < 2; folders++) {
        for (int i = 0; i < count && code == ERROR_NONE; i++) {
            struct stat status;
            char *path;
            if (asprintf(&path, "%s/%s", directory, entries[i]->d_name) < 0) {
                code = error_set(err, ERROR_MEMORY, "no memory for a list of files");
                continue;
            }
            bool known = stat(path, &status) == 0;
            if (!folders && known && S_ISREG(status.st_mode)) {
                code = append(out, path, class, err);
                continue;
            }
            if (folders && depth == 0 && known && S_ISDIR(status.st_mode))
                code = scan(path, class_of(entries[i]->d_name, senet), 1, senet, limit, out, err);
            free(path);
        }
        if (!folders)
            thin_out(out, first, limit);
    }
    for (int i = 0; i < count; i++)
        free(entries[i]);
    free(entries);
    return code;
}

enum error_code samples_find(const char *directory, const struct senet *senet, size_t limit,
                             struct samples *out, struct error *err)
{
    *out = (struct samples){0};
    TRY(scan(directory, SAMPLES_NO_CLASS, 0, senet, limit, out, err));
    if (out->count == 0)
        return error_set(err, ERROR_USAGE, "no files in '%s' or its folders", directory);
    for (size_t i = 0; i < out->count; i++)
        out->by_folder = out->by_folder || out->files[i].class != SAMPLES_NO_CLASS;
    return ERROR_NONE;
}

void samples_free(struct samples *samples)
{
    for (size_t i = 0; i < samples->count; i++)
        free(samples->files[i].path);
    free(samples->files);
    *samples = (struct samples){0};
}

/* ---- running -----------------------------------------------------------------------------------
 */

enum error_code samples_read(const char *path, size_t max_bytes, uint8_t **out, size_t *size,
                             struct error *err)
{
    uint8_t *bytes = NULL;
    size_t capacity = 0, used = 0, got = 1;
    enum error_code code = ERROR_NONE;
    FILE *file = fopen(path, "rbe");
    if (file == NULL)
        return error_set(err, ERROR_IO, "cannot open: %s", strerror(errno));
    while (got > 0 && code == ERROR_NONE) {
        if (used == capacity) {
            capacity = capacity == 0 ? 256 << 10 : 2 * capacity;
            uint8_t *grown = realloc(bytes, capacity);
            if (grown == NULL)
                code = error_set(err, ERROR_MEMORY, "no memory for the file");
            else
                bytes = grown;
        }
        if (code == ERROR_NONE)
            got = fread(bytes + used, 1, capacity - used, file);
        used += got;
        if (used > max_bytes)
            code = error_set(err, ERROR_TOO_LARGE, "more than %zu bytes", max_bytes);
    }
    if (code == ERROR_NONE && ferror(file))
        code = error_set(err, ERROR_IO, "cannot read: %s", strerror(errno));
    fclose(file);
    if (code != ERROR_NONE) {
        free(bytes);
        return code;
    }
    *out = bytes;
    *size = used;
    return ERROR_NONE;
}

static void on_done(struct job *job)
{
    sem_post(job->context);
}

size_t samples_group(const struct config *config)
{
    return config->max_images < config->queue ? config->max_images : config->queue;
}

enum error_code samples_run(struct batch *batch, const struct config *config,
                            const char *const *paths, size_t count, samples_report *report,
                            void *context, struct error *err)
{
    struct job *job;
    sem_t done;
    TRY(batch_job_new(batch, count, &job, err));
    uint8_t **bytes = calloc(count, sizeof *bytes);
    enum error_code code =
        bytes == NULL ? error_set(err, ERROR_MEMORY, "no memory for %zu files", count) : ERROR_NONE;
    for (size_t i = 0; bytes != NULL && i < count; i++) {
        struct batch_image *image = &job->images[i];
        if (samples_read(paths[i], config->max_body, &bytes[i], &image->size, &image->error) ==
            ERROR_NONE)
            image->bytes = bytes[i];
    }
    sem_init(&done, 0, 0);
    job->context = &done;
    job->done = on_done;
    if (code == ERROR_NONE)
        code = batch_submit(batch, job, err);
    if (code == ERROR_NONE) {
        while (sem_wait(&done) != 0)
            continue; /* interrupted */
        for (size_t i = 0; i < count; i++)
            report(context, i, &job->images[i]);
    }
    batch_drain(batch); /* on_done has left the semaphore */
    sem_destroy(&done);
    for (size_t i = 0; bytes != NULL && i < count; i++)
        free(bytes[i]);
    free(bytes);
    batch_job_free(job);
    return code;
}
