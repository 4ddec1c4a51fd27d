/* webp.c - WebP by libwebp; see codec.h. Of an animation the first frame on its canvas, which is
 * black where the frame leaves it free, as in Pillow. */
#include "codec.h"
#include <stdbool.h>
#include <string.h>

#include <webp/decode.h>
#include <webp/demux.h>

/* Peak bytes a pixel: RGB, and what libwebp keeps of the whole picture beside it. */
enum { MEMORY_LOSSY = 3, MEMORY_LOSSLESS = 7, MEMORY_LOSSY_ALPHA = 8 };

static size_t memory_of(const WebPBitstreamFeatures *features)
{
    enum { LOSSY = 1 };
    if (features->format != LOSSY)
        return MEMORY_LOSSLESS;
    return features->has_alpha ? MEMORY_LOSSY_ALPHA : MEMORY_LOSSY;
}

static enum error_code failed(const struct codec_input *in, VP8StatusCode status, struct error *err)
{
    if (status == VP8_STATUS_OUT_OF_MEMORY)
        return error_set(err, ERROR_MEMORY, "webp: out of memory");
    return codec_broken(in,
                        status == VP8_STATUS_NOT_ENOUGH_DATA       ? "it is cut short"
                        : status == VP8_STATUS_UNSUPPORTED_FEATURE ? "an unsupported feature"
                                                                   : "it is no valid bitstream",
                        err);
}

static bool covers(const WebPIterator *frame, const struct image *canvas)
{
    return (size_t)frame->width == canvas->width && (size_t)frame->height == canvas->height;
}

/* Decodes a frame into its place on the canvas. */
static enum error_code draw(const struct codec_input *in, const WebPIterator *frame,
                            struct image *canvas, struct error *err)
{
    WebPDecoderConfig config;
    size_t x = (size_t)frame->x_offset, y = (size_t)frame->y_offset, stride = 3 * canvas->width;
    size_t begin = y * stride + 3 * x, end = canvas->height * stride;
    if (!WebPInitDecoderConfig(&config))
        return error_set(err, ERROR_INTERNAL, "webp: another version of the library");
    if (x + (size_t)frame->width > canvas->width || y + (size_t)frame->height > canvas->height)
        return codec_broken(in, "a frame leaves the canvas", err);
    if (!covers(frame, canvas))
        memset(canvas->pixels, 0, end);
    config.output.colorspace = MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA.rgba = canvas->pixels + begin;
    config.output.u.RGBA.stride = (int)stride;
    config.output.u.RGBA.size = end - begin;
    VP8StatusCode status = WebPDecode(frame->fragment.bytes, frame->fragment.size, &config);
    WebPFreeDecBuffer(&config.output);
    return status == VP8_STATUS_OK ? ERROR_NONE : failed(in, status, err);
}

static enum error_code decode_frame(const struct codec_input *in, const WebPDemuxer *demuxer,
                                    struct image *out, struct error *err)
{
    size_t width = WebPDemuxGetI(demuxer, WEBP_FF_CANVAS_WIDTH);
    size_t height = WebPDemuxGetI(demuxer, WEBP_FF_CANVAS_HEIGHT);
    size_t frames = WebPDemuxGetI(demuxer, WEBP_FF_FRAME_COUNT);
    WebPIterator frame;
    WebPBitstreamFeatures features;
    struct image canvas;
    if (!WebPDemuxGetFrame(demuxer, 1, &frame))
        return codec_broken(in, "it has no frame", err);
    VP8StatusCode status = WebPGetFeatures(frame.fragment.bytes, frame.fragment.size, &features);
    enum error_code code = status != VP8_STATUS_OK
                               ? failed(in, status, err)
                               : codec_check(in, width, height, frames, memory_of(&features), err);
    if (code == ERROR_NONE)
        code = codec_allocate(in, width, height, &canvas, err);
    if (code == ERROR_NONE) {
        code = draw(in, &frame, &canvas, err);
        if (code == ERROR_NONE)
            *out = canvas;
        else
            image_free(&canvas);
    }
    WebPDemuxReleaseIterator(&frame);
    return code;
}

enum error_code webp_decode(const struct codec_input *in, struct image *out, struct error *err)
{
    WebPBitstreamFeatures features;
    VP8StatusCode status = WebPGetFeatures(in->bytes, in->size, &features);
    if (status != VP8_STATUS_OK)
        return failed(in, status, err);
    TRY(codec_check(in, (size_t)features.width, (size_t)features.height, 1, MEMORY_LOSSY, err));
    const WebPData data = {in->bytes, in->size};
    WebPDemuxer *demuxer = WebPDemux(&data);
    if (demuxer == NULL)
        return codec_broken(in, "it is cut short, or its chunks are out of order", err);
    enum error_code code = decode_frame(in, demuxer, out, err);
    WebPDemuxDelete(demuxer);
    return code;
}
