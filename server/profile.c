/* profile.c - see profile.h.
 *
 * Sums, not samples, are kept, so that memory and the partial file stay the same size however many
 * photos there are: Welford's of every gate, over all photos and of each class, and a histogram of
 * every gate, whose bins of 1/256 the quantiles are read from.
 */
#include "profile.h"
#include "monotonic.h"
#include "progress.h"
#include "reference.h"
#include "samples.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BINS          256
#define SAVE_EVERY_NS 20000000000
#define FIRST_GROUP   8 /* files, so that the bar shows soon */
#define PATH_BYTES    4200

/* What tells one profile from another, and how far it is; the head of the partial file. */
struct progress {
    char format[16];
    char sha256[65];
    uint64_t floats, classes, files, fingerprint; /* of the list of files */
    uint64_t done, images;
};

struct profile {
    const struct config *config;
    const struct senet *senet;
    struct samples samples;
    struct progress progress;
    char output[PATH_BYTES], partial[PATH_BYTES + 8];
    double *mean, *squares;             /* [floats] */
    uint32_t *histogram;                /* [floats][BINS] */
    uint64_t *class_images;             /* [classes] */
    double *class_mean, *class_squares; /* [classes][floats] */
    struct progress_bar bar;
    int64_t saved_ns;
    uint64_t resumed; /* files that an earlier run had done */
};

/* ---- sums --------------------------------------------------------------------------------------
 */

static void add(uint64_t images, size_t floats, const float *gates, double *mean, double *squares)
{
    for (size_t i = 0; i < floats; i++) {
        double distance = (double)gates[i] - mean[i];
        mean[i] += distance / (double)images;
        squares[i] += distance * ((double)gates[i] - mean[i]);
    }
}

/* Of a group of files. */
struct group {
    struct profile *profile;
    size_t first;
};

static void report(void *context, size_t index, const struct batch_image *image)
{
    const struct group *group = context;
    struct profile *profile = group->profile;
    const struct sample *sample = &profile->samples.files[group->first + index];
    size_t floats = profile->progress.floats, class = sample->class;
    if (image->error.code != ERROR_NONE) {
        progress_clear(&profile->bar);
        fprintf(stderr, "%s: %s\n", sample->path, image->error.message);
        return;
    }
    add(++profile->progress.images, floats, image->excitations, profile->mean, profile->squares);
    for (size_t i = 0; i < floats; i++) {
        size_t bin = (size_t)(image->excitations[i] * BINS);
        profile->histogram[i * BINS + (bin < BINS ? bin : BINS - 1)]++;
    }
    if (!profile->samples.by_folder) {
        struct senet_top top;
        senet_top_k(image->logits, profile->progress.classes, 1, &top);
        class = top.index;
    }
    if (class != SAMPLES_NO_CLASS)
        add(++profile->class_images[class], floats, image->excitations,
            profile->class_mean + class * floats, profile->class_squares + class * floats);
}

/* The value that a share `level` of a gate's images stays under, even within a bin. */
static double quantile(const uint32_t *bins, uint64_t images, double level)
{
    double rank = level * (double)images, below = 0;
    for (size_t i = 0; i < BINS; i++) {
        if (bins[i] > 0 && below + bins[i] >= rank)
            return ((double)i + (rank - below) / bins[i]) / BINS;
        below += bins[i];
    }
    return 1;
}

/* ---- the partial file --------------------------------------------------------------------------
 */

struct piece {
    void *bytes;
    size_t size;
};

enum { PIECES = 6 };

static void list_pieces(struct profile *profile, struct piece pieces[PIECES])
{
    size_t floats = profile->progress.floats, classes = profile->progress.classes;
    const struct piece all[PIECES] = {
        {profile->mean, floats * sizeof(double)},
        {profile->squares, floats * sizeof(double)},
        {profile->histogram, floats * BINS * sizeof(uint32_t)},
        {profile->class_images, classes * sizeof(uint64_t)},
        {profile->class_mean, classes * floats * sizeof(double)},
        {profile->class_squares, classes * floats * sizeof(double)},
    };
    memcpy(pieces, all, sizeof all);
}

static enum error_code save(struct profile *profile, struct error *err)
{
    char beside[PATH_BYTES + 16];
    struct piece pieces[PIECES];
    snprintf(beside, sizeof beside, "%s.new", profile->partial);
    FILE *file = fopen(beside, "wbe");
    if (file == NULL)
        return error_set(err, ERROR_IO, "cannot write '%s': %s", beside, strerror(errno));
    list_pieces(profile, pieces);
    bool whole = fwrite(&profile->progress, sizeof profile->progress, 1, file) == 1;
    for (size_t i = 0; i < PIECES && whole; i++)
        whole = fwrite(pieces[i].bytes, 1, pieces[i].size, file) == pieces[i].size;
    whole = fclose(file) == 0 && whole;
    if (whole && rename(beside, profile->partial) == 0)
        return ERROR_NONE;
    int cause = errno;
    unlink(beside);
    return error_set(err, ERROR_IO, "cannot write '%s': %s", profile->partial, strerror(cause));
}

/* False where there is no partial file of this very profile; then all sums are zero. */
static bool resume(struct profile *profile)
{
    struct piece pieces[PIECES];
    struct progress found, *ours = &profile->progress;
    FILE *file = fopen(profile->partial, "rbe");
    if (file == NULL)
        return false;
    bool same = fread(&found, sizeof found, 1, file) == 1 &&
                memcmp(found.format, ours->format, sizeof found.format) == 0 &&
                memcmp(found.sha256, ours->sha256, sizeof found.sha256) == 0 &&
                found.floats == ours->floats && found.classes == ours->classes &&
                found.files == ours->files && found.fingerprint == ours->fingerprint &&
                found.done <= found.files && found.images <= found.done;
    bool whole = same;
    list_pieces(profile, pieces);
    for (size_t i = 0; i < PIECES && whole; i++)
        whole = fread(pieces[i].bytes, 1, pieces[i].size, file) == pieces[i].size;
    fclose(file);
    for (size_t i = 0; i < PIECES && !whole && same; i++)
        memset(pieces[i].bytes, 0, pieces[i].size);
    if (whole) {
        *ours = found;
        profile->resumed = found.done;
        fprintf(stderr, "going on after %llu of %llu files, from '%s'\n",
                (unsigned long long)found.done, (unsigned long long)found.files, profile->partial);
    } else {
        fprintf(stderr, "'%s' is of another profile: beginning anew\n", profile->partial);
    }
    return whole;
}

/* ---- interruption ------------------------------------------------------------------------------
 */

static volatile sig_atomic_t interrupted;

static void on_signal(int signal)
{
    (void)signal;
    interrupted = 1;
}

/* The first signal ends the run after its group, a second one at once. */
static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static enum error_code stop_here(struct profile *profile, struct error *err)
{
    TRY(save(profile, err));
    return error_set(err, ERROR_DRAINING,
                     "interrupted after %llu of %llu files; the same command goes on from there",
                     (unsigned long long)profile->progress.done,
                     (unsigned long long)profile->progress.files);
}

/* ---- the command -------------------------------------------------------------------------------
 */

/* FNV-1a over the paths. */
static uint64_t fingerprint(const struct samples *samples)
{
    uint64_t hash = 0xcbf29ce484222325;
    for (size_t i = 0; i < samples->count; i++)
        for (const char *at = samples->files[i].path;; at++) {
            hash = (hash ^ (unsigned char)*at) * 0x100000001b3;
            if (*at == '\0')
                break;
        }
    return hash;
}

static enum error_code prepare(struct profile *profile, struct error *err)
{
    const struct senet_info *info = senet_info(profile->senet);
    const struct config *config = profile->config;
    size_t floats = info->excitation_floats, classes = info->classes;
    if (info->blocks == 0)
        return error_set(err, ERROR_USAGE,
                         "the model is a plain ResNet: no block has squeeze-and-excitation");
    TRY(samples_find(config->images, profile->senet, config->limit, &profile->samples, err));
    if (config->output != NULL)
        snprintf(profile->output, sizeof profile->output, "%s", config->output);
    else
        reference_path(config->weights, profile->output, sizeof profile->output);
    snprintf(profile->partial, sizeof profile->partial, "%s.partial", profile->output);
    struct progress *progress = &profile->progress;
    snprintf(progress->format, sizeof progress->format, "profile 1");
    memcpy(progress->sha256, info->sha256, sizeof progress->sha256);
    progress->floats = floats;
    progress->classes = classes;
    progress->files = profile->samples.count;
    progress->fingerprint = fingerprint(&profile->samples);
    profile->mean = calloc(floats, sizeof(double));
    profile->squares = calloc(floats, sizeof(double));
    profile->histogram = calloc(floats * BINS, sizeof(uint32_t));
    profile->class_images = calloc(classes, sizeof(uint64_t));
    profile->class_mean = calloc(classes * floats, sizeof(double));
    profile->class_squares = calloc(classes * floats, sizeof(double));
    if (profile->mean == NULL || profile->squares == NULL || profile->histogram == NULL ||
        profile->class_images == NULL || profile->class_mean == NULL ||
        profile->class_squares == NULL)
        return error_set(err, ERROR_MEMORY, "no memory for the sums of %zu gates", floats);
    return ERROR_NONE;
}

static enum error_code run_files(struct profile *profile, struct batch *batch, struct error *err)
{
    struct progress *progress = &profile->progress;
    size_t most = samples_group(profile->config);
    const char **paths = calloc(most, sizeof *paths);
    if (paths == NULL)
        return error_set(err, ERROR_MEMORY, "no memory for %zu files", most);
    enum error_code code = ERROR_NONE;
    progress_begin(&profile->bar, profile->resumed);
    profile->saved_ns = profile->bar.begin_ns;
    catch_signals();
    while (progress->done < progress->files && code == ERROR_NONE && !interrupted) {
        struct group group = {profile, progress->done};
        size_t left = progress->files - progress->done, count = left < most ? left : most;
        if (progress->done == profile->resumed && count > FIRST_GROUP)
            count = FIRST_GROUP;
        for (size_t i = 0; i < count; i++)
            paths[i] = profile->samples.files[group.first + i].path;
        code = samples_run(batch, profile->config, paths, count, report, &group, err);
        progress->done += count;
        progress_show(&profile->bar, progress->done, progress->files);
        int64_t now = monotonic_ns();
        if (code == ERROR_NONE && now - profile->saved_ns > SAVE_EVERY_NS) {
            code = save(profile, err);
            profile->saved_ns = now;
        }
    }
    progress_end(&profile->bar);
    free(paths);
    return code == ERROR_NONE && progress->done < progress->files ? stop_here(profile, err) : code;
}

static float deviation(double squares, uint64_t images)
{
    return images > 0 ? (float)sqrt(squares / (double)images) : 0;
}

static enum error_code write_reference(const struct profile *profile, struct error *err)
{
    const struct progress *progress = &profile->progress;
    struct reference *reference;
    size_t floats = progress->floats;
    TRY(reference_new(profile->senet, &reference, err));
    const char *source = profile->config->source;
    reference->images = progress->images;
    snprintf(reference->source, sizeof reference->source, "%s",
             source != NULL ? source : profile->config->images);
    snprintf(reference->grouping, sizeof reference->grouping, "%s",
             profile->samples.by_folder ? "folder" : "prediction");
    for (size_t i = 0; i < floats; i++) {
        reference->mean[i] = (float)profile->mean[i];
        reference->std[i] = deviation(profile->squares[i], progress->images);
        for (size_t q = 0; q < REFERENCE_LEVELS; q++)
            reference->quantiles[q * floats + i] = (float)quantile(
                profile->histogram + i * BINS, progress->images, reference_levels[q]);
    }
    for (size_t c = 0; c < progress->classes; c++) {
        reference->class_images[c] = (float)profile->class_images[c];
        for (size_t i = c * floats; i < (c + 1) * floats; i++) {
            reference->class_mean[i] = (float)profile->class_mean[i];
            reference->class_std[i] =
                deviation(profile->class_squares[i], profile->class_images[c]);
        }
    }
    enum error_code code = reference_write(reference, profile->senet, profile->output, err);
    reference_free(reference);
    return code;
}

static enum error_code work(struct profile *profile, struct batch *batch, struct error *err)
{
    TRY(prepare(profile, err));
    if (access(profile->partial, F_OK) == 0)
        resume(profile);
    TRY(run_files(profile, batch, err));
    if (profile->progress.images == 0)
        return error_set(err, ERROR_USAGE, "none of the %llu files is an image that decodes",
                         (unsigned long long)profile->progress.files);
    TRY(write_reference(profile, err));
    unlink(profile->partial);
    const struct progress *progress = &profile->progress;
    fprintf(stderr, "%s: %llu photos, %llu files left out\n", profile->output,
            (unsigned long long)progress->images,
            (unsigned long long)(progress->files - progress->images));
    return ERROR_NONE;
}

enum error_code profile_run(const struct config *config, const struct senet *senet,
                            struct batch *batch, struct error *err)
{
    struct profile *profile = calloc(1, sizeof *profile);
    if (profile == NULL)
        return error_set(err, ERROR_MEMORY, "no memory for a profile");
    profile->config = config;
    profile->senet = senet;
    enum error_code code = work(profile, batch, err);
    samples_free(&profile->samples);
    free(profile->mean);
    free(profile->squares);
    free(profile->histogram);
    free(profile->class_images);
    free(profile->class_mean);
    free(profile->class_squares);
    free(profile);
    return code;
}
