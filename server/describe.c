/* describe.c - see describe.h. */
#include "describe.h"
#include "reply.h"

static const char *interpolation_name(enum interpolation interpolation)
{
    switch (interpolation) {
    case INTERPOLATION_BILINEAR:
        return "bilinear";
    case INTERPOLATION_BICUBIC:
        return "bicubic";
    case INTERPOLATION_LANCZOS:
        return "lanczos";
    }
    return "unknown";
}

static const char *crop_name(enum crop_mode mode)
{
    switch (mode) {
    case CROP_CENTER:
        return "center";
    case CROP_SQUASH:
        return "squash";
    }
    return "unknown";
}

/* ---- the model ------------------------------------------------------------------------------- */

static void write_preprocess(struct writer *w, const struct preprocess *preprocess)
{
    writer_key(w, "preprocess");
    writer_open(w, '{');
    writer_key_integer(w, "width", preprocess->width);
    writer_key_integer(w, "height", preprocess->height);
    writer_key_number(w, "crop_pct", preprocess->crop_pct, 6);
    writer_key_string(w, "crop_mode", crop_name(preprocess->crop_mode));
    writer_key_string(w, "interpolation", interpolation_name(preprocess->interpolation));
    writer_key(w, "mean");
    writer_floats(w, preprocess->mean, 3, 6);
    writer_key(w, "std");
    writer_floats(w, preprocess->std, 3, 6);
    writer_close(w, '}');
}

void describe_block_members(struct writer *w, const struct senet *model, size_t layer)
{
    const struct senet_block *block = senet_block(model, layer);
    reply_block_members(w, model, layer);
    writer_key_integer(w, "reduced", block->reduced);
    writer_key_number(w, "reduction", (double)block->channels / (double)block->reduced, 6);
}

void describe_model(struct writer *w, const struct senet *model)
{
    const struct senet_info *info = senet_info(model);
    writer_open(w, '{');
    writer_key_string(w, "name", info->name);
    writer_key_string(w, "architecture", info->architecture);
    writer_key_string(w, "layout", info->layout);
    writer_key_string(w, "sha256", info->sha256);
    writer_key_string(w, "precision", info->precision);
    writer_key_string(w, "kernels", info->kernels);
    writer_key_integer(w, "classes", info->classes);
    writer_key_integer(w, "residual_blocks", info->residual_blocks);
    writer_key_integer(w, "cardinality", info->cardinality);
    writer_key_integer(w, "excitation_floats", info->excitation_floats);
    writer_key_integer(w, "parameters", info->parameters);
    writer_key_integer(w, "packed_bytes", info->packed_bytes);
    writer_key_integer(w, "multiply_adds", (uint64_t)info->multiply_adds);
    write_preprocess(w, &info->preprocess);
    writer_key(w, "blocks");
    writer_open(w, '[');
    for (size_t i = 0; i < info->blocks; i++) {
        writer_open(w, '{');
        describe_block_members(w, model, i);
        writer_close(w, '}');
    }
    writer_close(w, ']');
    writer_key(w, "labels");
    writer_open(w, '[');
    for (size_t i = 0; i < info->classes; i++)
        writer_string(w, senet_label(model, i));
    writer_close(w, ']');
    writer_close(w, '}');
}

void describe_model_text(struct writer *w, const struct senet *model)
{
    const struct senet_info *info = senet_info(model);
    const struct preprocess *preprocess = &info->preprocess;
    writer_format(w, "model          %s\n", info->name);
    writer_format(w, "architecture   %s, %s layout, %zu residual blocks, cardinality %zu\n",
                  info->architecture, info->layout, info->residual_blocks, info->cardinality);
    writer_format(w, "sha256         %s\n", info->sha256);
    writer_format(w, "classes        %zu\n", info->classes);
    writer_format(w, "excitations    %zu blocks, %zu values an image\n", info->blocks,
                  info->excitation_floats);
    writer_format(w, "parameters     %zu, %.1f MiB folded and packed\n", info->parameters,
                  (double)info->packed_bytes / 1048576);
    writer_format(w, "input          %zu x %zu, crop %.4g of %s, %s\n", preprocess->width,
                  preprocess->height, preprocess->crop_pct, crop_name(preprocess->crop_mode),
                  interpolation_name(preprocess->interpolation));
    writer_format(w, "multiply-adds  %.0f an image\n", info->multiply_adds);
    writer_format(w, "kernels        %s, %s\n", info->kernels, info->precision);
}

void describe_version(struct writer *w, const struct senet *model)
{
    writer_open(w, '{');
    writer_key_string(w, "name", "senetd");
    writer_key_string(w, "version", SENETD_VERSION);
#ifdef __clang__
    writer_key_string(w, "compiler", "clang " __clang_version__);
#else
    writer_key_string(w, "compiler", "gcc " __VERSION__);
#endif
    writer_key_string(w, "kernels", model != NULL ? senet_info(model)->kernels : NULL);
    writer_key_string(w, "precision", model != NULL ? senet_info(model)->precision : NULL);
    writer_close(w, '}');
}
