/* classify.c - the three likeliest labels of a picture, by libsenet. Build it with
 *   cc classify.c -o classify $(pkg-config --cflags --libs libsenet)
 * and run it as ./classify WEIGHTS_DIRECTORY PICTURE */
#include <senet.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    static unsigned char bytes[20 << 20];
    struct error err = {0};
    struct image image = {0};
    struct senet *model;
    struct senet_context *context;
    FILE *file = argc == 3 ? fopen(argv[2], "rb") : NULL;
    size_t size = file != NULL ? fread(bytes, 1, sizeof bytes, file) : 0;
    if (image_decode(bytes, size, &(struct image_options){.max_pixels = 50000000}, &image, &err) ||
        senet_open(argv[1], NULL, &model, &err))
        return fprintf(stderr, "%s\n", err.message), EXIT_FAILURE;
    const struct senet_info *info = senet_info(model);
    const struct preprocess *how = &info->preprocess;
    float *input = malloc(3 * how->height * how->width * sizeof *input);
    float *logits = malloc(info->classes * sizeof *logits);
    if (image_preprocess(&image, how, input, &err) ||
        senet_context_new(model, 1, how->height, how->width, &context, &err))
        return fprintf(stderr, "%s\n", err.message), EXIT_FAILURE;
    struct senet_top top[3];
    senet_run(context, 1, input, logits, NULL);
    senet_top_k(logits, info->classes, 3, top);
    for (int i = 0; i < 3; i++)
        printf("%5.1f %%  %s\n", top[i].probability * 100, senet_label(model, top[i].index));
}
