/* resample.c - antialiased resize, centre crop and normalisation; see image.h and resample.h.
 *
 * The arithmetic is Pillow's (its documented behaviour: convolution resampling whose support
 * scales with the reduction, weights renormalised where the window leaves the image, fixed point
 * with 22 fractional bits, rounding to 8 bits after the horizontal and after the vertical pass),
 * so that a model sees the pixels it was evaluated on. Only the pixels that the crop keeps are
 * computed, so even an image a million times wider than high costs no more than its crop.
 */
#include "resample.h"
#include "resample_passes.h"
#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define TABLE_MAX_WEIGHTS ((size_t)1 << 24)
#define TILE_WIDTH        4096 /* pixels that are transposed at a time, if no window is wider */
#define PI                3.14159265358979323846

void preprocess_default(struct preprocess *preprocess)
{
    *preprocess = (struct preprocess){.width = 224,
                                      .height = 224,
                                      .crop_pct = 0.875,
                                      .crop_mode = CROP_CENTER,
                                      .interpolation = INTERPOLATION_BILINEAR,
                                      .mean = {0.485F, 0.456F, 0.406F},
                                      .std = {0.229F, 0.224F, 0.225F}};
}

/* ---- filters ----------------------------------------------------------------------------- */

static double triangle(double x)
{
    x = fabs(x);
    return x < 1 ? 1 - x : 0;
}

/* Keys' cubic convolution with a = -1/2. */
static double cubic(double x)
{
    x = fabs(x);
    if (x < 1)
        return (1.5 * x - 2.5) * x * x + 1;
    return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

static double sinc(double x)
{
    return x == 0 ? 1 : sin(PI * x) / (PI * x);
}

static double lanczos3(double x)
{
    return fabs(x) < 3 ? sinc(x) * sinc(x / 3) : 0;
}

static const struct filter {
    double (*weight)(double x);
    double support;
} filters[] = {[INTERPOLATION_BILINEAR] = {triangle, 1},
               [INTERPOLATION_BICUBIC] = {cubic, 2},
               [INTERPOLATION_LANCZOS] = {lanczos3, 3}};

/* ---- one axis ---------------------------------------------------------------------------- */

/* `to` positions made of `from`. */
struct reduction {
    const struct filter *filter;
    size_t from;
    double ratio, scale; /* from / to; by how much the filter is widened: not where it enlarges */
};

static struct reduction reduction_of(enum interpolation interpolation, size_t from, size_t to)
{
    double ratio = (double)from / (double)to;
    return (struct reduction){&filters[interpolation], from, ratio, ratio > 1 ? ratio : 1};
}

/* The middle of output `index` among the inputs, and those that it reads: the end is not included.
 */
static double window_of(const struct reduction *reduction, size_t index, size_t *begin, size_t *end)
{
    double center = ((double)index + 0.5) * reduction->ratio;
    double support = reduction->filter->support * reduction->scale;
    double low = center - support + 0.5, high = center + support + 0.5;
    *begin = low > 0 ? (size_t)low : 0;
    *end = high < (double)reduction->from ? (size_t)high : reduction->from;
    assert(*begin < *end);
    return center;
}

static void fill_window(const struct reduction *reduction, size_t output, double *scratch,
                        struct axis *axis, size_t index)
{
    size_t begin, end;
    double center = window_of(reduction, output, &begin, &end), sum = 0;
    for (size_t i = begin; i < end; i++)
        sum += scratch[i - begin] =
            reduction->filter->weight(((double)i - center + 0.5) / reduction->scale);
    int32_t *weights = axis->weights + index * axis->taps;
    for (size_t i = 0; i < end - begin; i++) {
        double fixed = scratch[i] / (sum != 0 ? sum : 1) * (1 << FRACTION_BITS);
        weights[i] = (int32_t)(fixed < 0 ? fixed - 0.5 : fixed + 0.5);
    }
    axis->begin[index] = begin;
    axis->length[index] = end - begin;
}

static void axis_free(struct axis *axis)
{
    free(axis->begin);
    free(axis->length);
    free(axis->weights);
}

static enum error_code axis_new(enum interpolation interpolation, size_t from, size_t to,
                                size_t first, size_t count, struct axis *out, struct error *err)
{
    const struct reduction reduction = reduction_of(interpolation, from, to);
    size_t taps = (size_t)ceil(reduction.filter->support * reduction.scale) * 2 + 1;
    if (taps > TABLE_MAX_WEIGHTS / count)
        return error_set(err, ERROR_UNDECODABLE,
                         "a side of %zu pixels is too long to be shrunk to %zu", from, to);
    struct axis axis = {.count = count, .taps = taps};
    axis.begin = malloc(count * sizeof *axis.begin);
    axis.length = malloc(count * sizeof *axis.length);
    axis.weights = malloc(count * taps * sizeof *axis.weights);
    double *scratch = calloc(taps, sizeof *scratch);
    if (!axis.begin || !axis.length || !axis.weights || !scratch) {
        axis_free(&axis);
        free(scratch);
        return error_set(err, ERROR_MEMORY, "resize: out of memory");
    }
    for (size_t i = 0; i < count; i++)
        fill_window(&reduction, first + i, scratch, &axis, i);
    free(scratch);
    *out = axis;
    return ERROR_NONE;
}

/* ---- sizes as timm and torchvision compute them ------------------------------------------- */

struct geometry {
    size_t width, height; /* of the whole image after the resize */
    size_t left, top;     /* of the crop in it */
};

/* Python's round(x / 2): half to even. */
static size_t half(size_t x)
{
    return x / 2 + (x % 4 == 3);
}

static void geometry_init(size_t width, size_t height, const struct preprocess *p,
                          struct geometry *out)
{
    double w = (double)width, h = (double)height;
    double to_w = floor((double)p->width / p->crop_pct),
           to_h = floor((double)p->height / p->crop_pct);
    if (p->crop_mode == CROP_CENTER && p->width == p->height) {
        double size = to_w; /* shorter side to size, the longer one truncated */
        to_w = w <= h ? size : floor(size * w / h);
        to_h = w <= h ? floor(size * h / w) : size;
    } else if (p->crop_mode == CROP_CENTER) {
        double ratio = fmin(h / to_h, w / to_w); /* the smallest image that covers the target */
        to_w = fmax(nearbyint(w / ratio), (double)p->width);
        to_h = fmax(nearbyint(h / ratio), (double)p->height);
    }
    *out = (struct geometry){.width = (size_t)to_w, .height = (size_t)to_h};
    out->left = half(out->width - p->width);
    out->top = half(out->height - p->height);
}

size_t resample_shrink(size_t width, size_t height, const struct preprocess *preprocess)
{
    struct geometry to;
    geometry_init(width, height, preprocess, &to);
    size_t divisor = 8;
    while (divisor > 1 && (width / divisor < 2 * to.width || height / divisor < 2 * to.height))
        divisor /= 2;
    return divisor;
}

/* Inputs before and behind all that `count` outputs from `first` on read, where fewer are. */
static size_t margin_of(enum interpolation interpolation, size_t from, size_t to, size_t first,
                        size_t count)
{
    const struct reduction reduction = reduction_of(interpolation, from, to);
    size_t begin, end, unused;
    window_of(&reduction, first, &begin, &unused);
    window_of(&reduction, first + count - 1, &unused, &end);
    return begin < from - end ? begin : from - end;
}

void resample_margins(const struct image *image, const struct preprocess *p, size_t *columns,
                      size_t *rows)
{
    struct geometry to;
    geometry_init(image->full_width, image->full_height, p, &to);
    *columns = margin_of(p->interpolation, image->width, to.width, to.left, p->width);
    *rows = margin_of(p->interpolation, image->height, to.height, to.top, p->height);
}

/* ---- all together ------------------------------------------------------------------------ */

static enum error_code passes_allocate(struct passes *passes, struct error *err)
{
    const struct axis *columns = &passes->columns, *lines = &passes->lines;
    passes->first = lines->begin[0];
    passes->last = lines->begin[lines->count - 1] + lines->length[lines->count - 1];
    passes->tile_width = columns->taps > TILE_WIDTH ? columns->taps : TILE_WIDTH;
    if (passes->tile_width > passes->image->width)
        passes->tile_width = passes->image->width;
    passes->tile = malloc((passes->tile_width + SIDE) * CHUNK);
    passes->turned = malloc((columns->count + SIDE) * CHUNK);
    passes->rows = malloc((passes->last - passes->first) * columns->count * 3 + CHUNK);
    if (!passes->tile || !passes->turned || !passes->rows)
        return error_set(err, ERROR_MEMORY, "resize: out of memory");
    return ERROR_NONE;
}

static void run(const struct passes *passes, uint8_t *out)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        resample_avx2_run(passes, out);
        return;
    }
#endif
    passes_run(passes, out);
}

static void passes_free(struct passes *passes)
{
    axis_free(&passes->columns);
    axis_free(&passes->lines);
    free(passes->tile);
    free(passes->turned);
    free(passes->rows);
}

enum error_code image_crop(const struct image *image, const struct preprocess *p, uint8_t *out,
                           struct error *err)
{
    assert(image->width && image->height);
    struct geometry to;
    geometry_init(image->full_width, image->full_height, p, &to);
    struct passes passes = {.image = image};
    enum error_code code =
        axis_new(p->interpolation, image->width, to.width, to.left, p->width, &passes.columns, err);
    if (code == ERROR_NONE)
        code = axis_new(p->interpolation, image->height, to.height, to.top, p->height,
                        &passes.lines, err);
    if (code == ERROR_NONE)
        code = passes_allocate(&passes, err);
    if (code == ERROR_NONE)
        run(&passes, out);
    passes_free(&passes);
    return code;
}

void image_normalise(const uint8_t *restrict crop, const struct preprocess *p, float *restrict out)
{
    size_t area = p->width * p->height;
    float of[3][256]; /* every value of a channel, normalised */
    for (size_t c = 0; c < 3; c++)
        for (size_t v = 0; v < 256; v++)
            of[c][v] = ((float)v / 255 - p->mean[c]) / p->std[c];
    for (size_t i = 0; i < area; i++, crop += 3) {
        out[i] = of[0][crop[0]];
        out[area + i] = of[1][crop[1]];
        out[2 * area + i] = of[2][crop[2]];
    }
}

enum error_code image_preprocess(const struct image *image, const struct preprocess *preprocess,
                                 float *out, struct error *err)
{
    uint8_t *crop = malloc(preprocess->width * preprocess->height * 3);
    if (!crop)
        return error_set(err, ERROR_MEMORY, "preprocessing: out of memory");
    enum error_code code = image_crop(image, preprocess, crop, err);
    if (code == ERROR_NONE)
        image_normalise(crop, preprocess, out);
    free(crop);
    return code;
}
