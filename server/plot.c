/* plot.c - see plot.h.
 *
 * The SVG is written by hand: a few texts, one path for each colour of a strip, one for each curve.
 * Colours are safe for the colour-blind: a blue-orange diverging scale, a sequential one of
 * falling lightness, and the palette of Okabe and Ito with dashes for further classes.
 */
#include "plot.h"
#include "attention.h"
#include "figure.h"
#include "reference.h"
#include "relative.h"
#include "samples.h"
#include "writer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LEVELS 9 /* colours of a scale */

static const char *const diverging[LEVELS] = {"#08519c", "#3182bd", "#6baed6", "#bdd7e7", "#f2f2f2",
                                              "#fdd0a2", "#fd8d3c", "#d94801", "#8c2d04"};
static const char *const sequential[LEVELS] = {"#f7fbff", "#deebf7", "#c6dbef",
                                               "#9ecae1", "#6baed6", "#4292c6",
                                               "#2171b5", "#08519c", "#08306b"};

/* ---- SVG ---------------------------------------------------------------------------------------
 */

/* Text from outside: markup characters escaped, what XML does not allow replaced. */
static void escaped(struct writer *w, const char *text)
{
    for (size_t left = strlen(text), length; left > 0; text += length, left -= length) {
        length = writer_utf8_length((const unsigned char *)text, left);
        if (*text == '<')
            writer_text(w, "&lt;");
        else if (*text == '&')
            writer_text(w, "&amp;");
        else if (length == 0 || (unsigned char)*text < 32)
            writer_text(w, "?");
        else
            writer_raw(w, text, length);
        length += length == 0;
    }
}

/* A figure says what it was made of, the weights by their SHA-256. */
static void open_svg(struct writer *w, double width, double height, const char *title,
                     const struct senet *senet)
{
    writer_format(
        w,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %g %g\" width=\"%g\" "
        "height=\"%g\" font-family=\"sans-serif\" font-size=\"12\" role=\"img\">\n<title>",
        width, height, width, height);
    writer_text(w, title);
    writer_text(w, "</title>\n<desc>");
    escaped(w, senet_info(senet)->name);
    writer_format(w, ", sha256 %s</desc>\n<rect width=\"%g\" height=\"%g\" fill=\"#fff\"/>\n",
                  senet_info(senet)->sha256, width, height);
}

/* anchor: "start", "middle" or "end". */
static void text_at(struct writer *w, double x, double y, const char *anchor, const char *text)
{
    writer_format(w, "<text x=\"%g\" y=\"%g\" text-anchor=\"%s\">", x, y, anchor);
    escaped(w, text);
    writer_text(w, "</text>\n");
}

/* ---- one image ---------------------------------------------------------------------------------
 */

enum { STRIP_LEFT = 150, STRIP_WIDTH = 768, STRIP_HEIGHT = 18, STRIP_STEP = 24 };

struct portrait {
    const struct config *config;
    const struct senet *senet;
    const struct reference *reference; /* or NULL */
    struct writer w;
    enum error_code code;
    struct error *err;
};

/* A z-score of -4..4, or a gate of 0..1, to a level. */
static size_t level_of(const struct portrait *portrait, size_t i, float gate)
{
    double at = (double)gate;
    if (portrait->reference != NULL)
        at = 0.5 + (at - (double)portrait->reference->mean[i]) /
                       relative_scale(portrait->reference, i) / 8;
    double level = floor(at * LEVELS);
    return (size_t)fmin(fmax(level, 0), LEVELS - 1);
}

/* A path for each colour: the channels of that level, neighbours joined. */
static void draw_strip(struct portrait *portrait, const struct senet_block *block,
                       const float *gates, double y)
{
    const char *const *colours = portrait->reference != NULL ? diverging : sequential;
    double step = (double)STRIP_WIDTH / (double)block->channels;
    for (size_t level = 0; level < LEVELS; level++) {
        bool any = false;
        for (size_t i = 0; i < block->channels;) {
            size_t end = i;
            while (end < block->channels &&
                   level_of(portrait, block->offset + end, gates[end]) == level)
                end++;
            if (end > i) {
                if (!any)
                    writer_format(&portrait->w, "<path fill=\"%s\" d=\"", colours[level]);
                any = true;
                writer_format(&portrait->w, "M%.6g %gh%.5gv%dh-%.5gz",
                              STRIP_LEFT + (double)i * step, y, (double)(end - i) * step,
                              STRIP_HEIGHT, (double)(end - i) * step);
            }
            i = end + (end == i);
        }
        if (any)
            writer_text(&portrait->w, "\"/>\n");
    }
}

static void draw_legend(struct portrait *portrait, double y)
{
    bool relative = portrait->reference != NULL;
    struct writer *w = &portrait->w;
    text_at(w, STRIP_LEFT - 10, y + 11, "end", relative ? "z-score" : "gate");
    for (size_t i = 0; i < LEVELS; i++)
        writer_format(w, "<rect x=\"%zu\" y=\"%g\" width=\"40\" height=\"14\" fill=\"%s\"/>\n",
                      STRIP_LEFT + 40 * i, y, relative ? diverging[i] : sequential[i]);
    text_at(w, STRIP_LEFT, y + 28, "start", relative ? "-4" : "0");
    text_at(w, STRIP_LEFT + 20 * LEVELS, y + 28, "middle", relative ? "0" : "0.5");
    text_at(w, STRIP_LEFT + 40 * LEVELS, y + 28, "end", relative ? "4" : "1");
    if (relative)
        text_at(w, STRIP_LEFT + 40 * LEVELS + 20, y + 11, "start",
                "(gate - mean) / std of the reference photos; a column is a channel");
    else
        text_at(w, STRIP_LEFT + 40 * LEVELS + 20, y + 11, "start", "a column is a channel");
}

static void draw_classes(struct portrait *portrait, const struct batch_image *image, double y)
{
    struct senet_top top[5];
    size_t classes = senet_info(portrait->senet)->classes, k = classes < 5 ? classes : 5;
    senet_top_k(image->logits, classes, k, top);
    for (size_t i = 0; i < k; i++) {
        double at = y + 18 * (double)i, share = (double)top[i].probability;
        char number[16];
        snprintf(number, sizeof number, "%.1f %%", 100 * share);
        text_at(&portrait->w, STRIP_LEFT - 10, at + 12, "end",
                senet_label(portrait->senet, top[i].index));
        writer_format(&portrait->w,
                      "<rect x=\"%d\" y=\"%g\" width=\"%.4g\" height=\"14\" fill=\"#2171b5\"/>\n",
                      STRIP_LEFT, at, fmax(1, 400 * share));
        text_at(&portrait->w, STRIP_LEFT + 8 + 400 * share, at + 12, "start", number);
    }
}

static void draw_portrait(void *context, size_t index, const struct batch_image *image)
{
    struct portrait *portrait = context;
    size_t blocks = senet_info(portrait->senet)->blocks;
    const char *path = portrait->config->files[index], *slash = strrchr(path, '/');
    if (image->error.code != ERROR_NONE) {
        portrait->code =
            error_set(portrait->err, image->error.code, "%s: %s", path, image->error.message);
        return;
    }
    open_svg(&portrait->w, STRIP_LEFT + STRIP_WIDTH + 40, 190 + STRIP_STEP * (double)blocks,
             "Classes and excitations of an image", portrait->senet);
    text_at(&portrait->w, STRIP_LEFT, 20, "start", slash != NULL ? slash + 1 : path);
    draw_classes(portrait, image, 32);
    for (size_t i = 0; i < blocks; i++) {
        const struct senet_block *block = senet_block(portrait->senet, i);
        double y = 136 + STRIP_STEP * (double)i;
        char label[64];
        snprintf(label, sizeof label, "%s (%zu)", block->name, block->channels);
        text_at(&portrait->w, STRIP_LEFT - 10, y + 13, "end", label);
        draw_strip(portrait, block, image->excitations + block->offset, y);
    }
    draw_legend(portrait, 146 + STRIP_STEP * (double)blocks);
    writer_text(&portrait->w, "</svg>\n");
}

static enum error_code plot_image(const struct config *config, const struct senet *senet,
                                  struct batch *batch, struct error *err)
{
    char path[4200];
    struct reference *reference = NULL;
    struct error ignored = {0};
    reference_path(config->weights, path, sizeof path);
    if (access(path, F_OK) == 0 && reference_read(path, senet, &reference, &ignored) != ERROR_NONE)
        fprintf(stderr, "'%s' is not used: %s\n", path, ignored.message);
    struct portrait portrait = {
        .config = config, .senet = senet, .reference = reference, .err = err};
    enum error_code code = samples_run(batch, config, (const char *const *)config->files, 1,
                                       draw_portrait, &portrait, err);
    if (code == ERROR_NONE)
        code = portrait.code;
    if (code == ERROR_NONE)
        code = figure_write(config->output, &portrait.w, err);
    writer_free(&portrait.w);
    reference_free(reference);
    return code;
}

/* ---- classes -----------------------------------------------------------------------------------
 */

enum {
    PANEL_WIDTH = 380,
    PANEL_HEIGHT = 170,
    PANEL_LEFT = 50,
    PANEL_STEP_X = 450,
    PANEL_STEP_Y = 230,
    PANEL_COLUMNS = 2,
    MOST_PANELS = 6,
    MOST_POINTS = 64, /* of a curve */
    MOST_CURVES = 24,
};

struct roles {
    const struct senet *senet;
    const struct samples *samples;
    struct attention *attention;
    size_t first;  /* file of the group */
    size_t images; /* that counted */
};

static void count_role(void *context, size_t index, const struct batch_image *image)
{
    struct roles *roles = context;
    const struct sample *sample = &roles->samples->files[roles->first + index];
    if (image->error.code != ERROR_NONE)
        fprintf(stderr, "%s: %s\n", sample->path, image->error.message);
    else if (sample->class != SAMPLES_NO_CLASS) {
        attention_add(roles->attention, "", roles->images, sample->class, image->excitations);
        roles->images++;
    }
}

static enum error_code run_roles(struct roles *roles, const struct config *config,
                                 struct batch *batch, struct error *err)
{
    size_t most = samples_group(config);
    const char **paths = calloc(most, sizeof *paths);
    enum error_code code =
        paths == NULL ? error_set(err, ERROR_MEMORY, "no memory for %zu files", most) : ERROR_NONE;
    for (; code == ERROR_NONE && roles->first < roles->samples->count; roles->first += most) {
        size_t left = roles->samples->count - roles->first, count = left < most ? left : most;
        for (size_t i = 0; i < count; i++)
            paths[i] = roles->samples->files[roles->first + i].path;
        code = samples_run(batch, config, paths, count, count_role, roles, err);
    }
    free(paths);
    return code;
}

/* The paper's blocks SE_2_3, SE_3_4, SE_4_6, SE_5_1, SE_5_2, SE_5_3, whatever the depths: the last
 * of stages 2 to 4 and those of the last stage, the last ones where there are more. */
static size_t choose_blocks(const struct senet *senet, size_t out[MOST_PANELS])
{
    size_t blocks = senet_info(senet)->blocks, count = 0;
    for (size_t i = 0; i < blocks; i++) {
        bool last_of_stage =
            i + 1 == blocks || senet_block(senet, i + 1)->stage != senet_block(senet, i)->stage;
        bool last_stage = senet_block(senet, i)->stage == senet_block(senet, blocks - 1)->stage;
        if ((last_of_stage || (last_stage && blocks - i <= 3)) && count < MOST_PANELS)
            out[count++] = i;
    }
    return count;
}

static void set_stroke(struct writer *w, size_t curve)
{
    static const char *const colours[] = {"#000000", "#e69f00", "#56b4e9", "#009e73",
                                          "#d55e00", "#0072b2", "#cc79a7", "#999933"};
    static const char *const dashes[] = {"", " stroke-dasharray=\"5 2\"",
                                         " stroke-dasharray=\"1 2\""};
    writer_format(w, "fill=\"none\" stroke=\"%s\"%s", colours[curve % 8], dashes[curve / 8 % 3]);
}

/* Every step-th channel, as straight lines between them; browsers show the label of a curve that
 * is pointed at. */
static void draw_curve(struct writer *w, const double *mean, size_t channels, size_t step, double x,
                       double y, size_t curve, const char *label)
{
    writer_text(w, "<path ");
    set_stroke(w, curve);
    writer_text(w, " d=\"");
    for (size_t i = 0; i < channels; i += step)
        writer_format(w, "%c%.4g %.5g", i > 0 ? 'L' : 'M',
                      x + (double)PANEL_WIDTH * (double)i / (double)(channels - 1),
                      y + PANEL_HEIGHT * (1 - mean[i]));
    writer_text(w, "\"><title>");
    escaped(w, label);
    writer_text(w, "</title></path>\n");
}

static void draw_frame(struct writer *w, const struct senet_block *block, size_t step, double x,
                       double y)
{
    char title[96];
    snprintf(title, sizeof title, "%s (%s)", block->paper_name, block->name);
    text_at(w, x, y - 8, "start", title);
    writer_format(w,
                  "<rect x=\"%g\" y=\"%g\" width=\"%d\" height=\"%d\" fill=\"none\" "
                  "stroke=\"#888\"/>\n",
                  x, y, PANEL_WIDTH, PANEL_HEIGHT);
    text_at(w, x - 6, y + 10, "end", "1");
    text_at(w, x - 6, y + PANEL_HEIGHT, "end", "0");
    if (step > 1)
        snprintf(title, sizeof title, "channel, one of every %zu of %zu", step, block->channels);
    else
        snprintf(title, sizeof title, "channel, of %zu", block->channels);
    text_at(w, x + PANEL_WIDTH / 2.0, y + PANEL_HEIGHT + 16, "middle", title);
}

static void draw_panel(struct writer *w, const struct roles *roles, const size_t *classes,
                       size_t class_count, size_t layer, size_t place)
{
    const struct senet_block *block = senet_block(roles->senet, layer);
    size_t step = (block->channels + MOST_POINTS - 1) / MOST_POINTS;
    size_t row = place / PANEL_COLUMNS, column = place % PANEL_COLUMNS;
    double x = PANEL_LEFT + (double)(column * PANEL_STEP_X);
    double y = 60 + (double)(row * PANEL_STEP_Y);
    double *mean = calloc(2 * block->channels, sizeof *mean);
    if (mean == NULL) {
        w->failed = true;
        return;
    }
    writer_format(w, "<g id=\"%s\">\n", block->name);
    draw_frame(w, block, step, x, y);
    for (size_t i = 0; i < class_count; i++) {
        attention_class_statistics(roles->attention, classes[i], block->offset, block->channels,
                                   mean, mean + block->channels);
        draw_curve(w, mean, block->channels, step, x, y, i, senet_label(roles->senet, classes[i]));
    }
    writer_text(w, "</g>\n");
    free(mean);
}

static int by_number(const void *a, const void *b)
{
    const size_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void draw_roles(struct writer *w, const struct roles *roles)
{
    size_t layers[MOST_PANELS], classes[ATTENTION_CLASSES];
    uint64_t images[ATTENTION_CLASSES];
    size_t panels = choose_blocks(roles->senet, layers);
    size_t class_count = attention_classes(roles->attention, classes, images);
    qsort(classes, class_count, sizeof *classes, by_number);
    if (class_count > MOST_CURVES)
        class_count = MOST_CURVES;
    size_t rows = (panels + 1) / 2, legend_rows = (class_count + 3) / 4;
    double width = 2 * PANEL_STEP_X, legend = 40 + (double)(rows * PANEL_STEP_Y);
    char title[96];
    open_svg(w, width, legend + 20 * (double)legend_rows + 10,
             "Mean gates of each class at chosen blocks", roles->senet);
    snprintf(title, sizeof title, "Mean gate of each class over %zu photos", roles->images);
    text_at(w, PANEL_LEFT, 24, "start", title);
    for (size_t i = 0; i < panels; i++)
        draw_panel(w, roles, classes, class_count, layers[i], i);
    for (size_t i = 0; i < class_count; i++) {
        size_t row = i / 4;
        double x = PANEL_LEFT + 210 * (double)(i % 4), y = legend + 20 * (double)row;
        writer_text(w, "<path ");
        set_stroke(w, i);
        writer_format(w, " stroke-width=\"2\" d=\"M%g %gh28\"/>\n", x, y);
        text_at(w, x + 34, y + 4, "start", senet_label(roles->senet, classes[i]));
    }
    writer_text(w, "</svg>\n");
}

static enum error_code plot_classes(const struct config *config, const struct senet *senet,
                                    struct batch *batch, struct error *err)
{
    struct samples samples;
    struct writer w = {0};
    struct roles roles = {.senet = senet, .samples = &samples};
    enum error_code code = samples_find(config->classes, senet, config->limit, &samples, err);
    if (code == ERROR_NONE && !samples.by_folder)
        code = error_set(err, ERROR_USAGE, "no folder in '%s' is named after a class such as '%s'",
                         config->classes, senet_label(senet, 0));
    if (code == ERROR_NONE)
        code = attention_new(senet_info(senet)->excitation_floats, &roles.attention, err);
    if (code == ERROR_NONE)
        code = run_roles(&roles, config, batch, err);
    if (code == ERROR_NONE && roles.images == 0)
        code = error_set(err, ERROR_USAGE, "no file in '%s' is an image that decodes",
                         config->classes);
    if (code == ERROR_NONE) {
        draw_roles(&w, &roles);
        code = figure_write(config->output, &w, err);
    }
    writer_free(&w);
    attention_free(roles.attention);
    samples_free(&samples);
    return code;
}

enum error_code plot_run(const struct config *config, const struct senet *senet,
                         struct batch *batch, struct error *err)
{
    if (senet_info(senet)->blocks == 0)
        return error_set(err, ERROR_USAGE,
                         "the model is a plain ResNet: no block has squeeze-and-excitation");
    TRY(figure_check(config->output, err));
    return config->classes != NULL ? plot_classes(config, senet, batch, err)
                                   : plot_image(config, senet, batch, err);
}
