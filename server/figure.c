/* figure.c - see figure.h.
 *
 * PNG is made by rsvg-convert, librsvg's own program, where it is installed. It is run and not
 * linked: with it pango, cairo, fontconfig and GLib would be in the daemon, some 20 libraries for a
 * command that few use, and text wants installed fonts anyway. It reads a file of ours and writes
 * to another, so it never waits for us, and no path is ever its argument.
 */
#include "figure.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/wait.h>

extern char **environ;

static char program[] = "rsvg-convert";
static char *const ask_version[] = {program, (char[]){"--version"}, NULL};
static char *const render[] = {program, (char[]){"--format=png"}, (char[]){"--zoom=2"}, NULL};

static const char *ending(const char *path)
{
    const char *slash = strrchr(path, '/'), *dot = strrchr(slash != NULL ? slash : path, '.');
    return dot != NULL ? dot : "";
}

static bool is_png(const char *path)
{
    return strcasecmp(ending(path), ".png") == 0;
}

static enum error_code start(char *const *arguments, int from, int to, pid_t *pid,
                             struct error *err)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none;
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attributes);
    sigemptyset(&none);
    posix_spawn_file_actions_adddup2(&files, from, 0);
    posix_spawn_file_actions_adddup2(&files, to, 1);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    int failure = posix_spawnp(pid, program, &files, &attributes, arguments, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    if (failure == ENOENT)
        return error_set(err, ERROR_IO,
                         "PNG needs the program %s (Debian: apt-get install librsvg2-bin); without "
                         "it, give a name that ends in .svg",
                         program);
    return failure == 0 ? ERROR_NONE
                        : error_set(err, ERROR_IO, "cannot run %s: %s", program, strerror(failure));
}

/* Runs it to its end on these two files. */
static enum error_code run(char *const *arguments, FILE *from, FILE *to, struct error *err)
{
    pid_t pid;
    int status;
    TRY(start(arguments, fileno(from), fileno(to), &pid, err));
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return error_set(err, ERROR_IO, "cannot wait for %s: %s", program, strerror(errno));
    if (WIFSIGNALED(status))
        return error_set(err, ERROR_IO, "%s was ended by signal %d", program, WTERMSIG(status));
    if (WEXITSTATUS(status) != 0)
        return error_set(err, ERROR_IO, "%s failed with status %d", program, WEXITSTATUS(status));
    return ERROR_NONE;
}

/* Appends all of the file. */
static bool take(FILE *file, struct writer *w)
{
    char piece[1 << 16];
    size_t got;
    rewind(file);
    while ((got = fread(piece, 1, sizeof piece, file)) > 0)
        writer_raw(w, piece, got);
    return !ferror(file) && !w->failed;
}

static enum error_code convert(const struct writer *svg, FILE *from, FILE *to, struct writer *png,
                               struct error *err)
{
    if (fwrite(svg->bytes, 1, svg->size, from) != svg->size || fflush(from) != 0)
        return error_set(err, ERROR_IO, "cannot write a temporary file: %s", strerror(errno));
    rewind(from);
    TRY(run(render, from, to, err));
    return take(to, png) ? ERROR_NONE : error_set(err, ERROR_MEMORY, "no memory for the picture");
}

static enum error_code make_png(const struct writer *svg, struct writer *png, struct error *err)
{
    FILE *from = tmpfile(), *to = tmpfile();
    enum error_code code =
        from != NULL && to != NULL
            ? convert(svg, from, to, png, err)
            : error_set(err, ERROR_IO, "cannot make a temporary file: %s", strerror(errno));
    if (from != NULL)
        fclose(from);
    if (to != NULL)
        fclose(to);
    return code;
}

enum error_code figure_check(const char *path, struct error *err)
{
    if (!is_png(path)) {
        if (*ending(path) == '\0' || strcasecmp(ending(path), ".svg") == 0)
            return ERROR_NONE;
        return error_set(err, ERROR_USAGE, "cannot write '%s': expected a name in .svg or .png",
                         path);
    }
    FILE *nothing = fopen("/dev/null", "r+e");
    if (nothing == NULL)
        return error_set(err, ERROR_IO, "cannot open /dev/null: %s", strerror(errno));
    enum error_code code = run(ask_version, nothing, nothing, err);
    fclose(nothing);
    return code;
}

static enum error_code write_bytes(const char *path, const struct writer *w, struct error *err)
{
    FILE *file = fopen(path, "wbe");
    if (file == NULL)
        return error_set(err, ERROR_IO, "cannot write '%s': %s", path, strerror(errno));
    bool whole = fwrite(w->bytes, 1, w->size, file) == w->size;
    whole = fclose(file) == 0 && whole;
    return whole ? ERROR_NONE
                 : error_set(err, ERROR_IO, "cannot write '%s': %s", path, strerror(errno));
}

enum error_code figure_write(const char *path, const struct writer *w, struct error *err)
{
    struct writer png = {0};
    if (w->failed)
        return error_set(err, ERROR_MEMORY, "no memory for the figure");
    enum error_code code = is_png(path) ? make_png(w, &png, err) : ERROR_NONE;
    if (code == ERROR_NONE)
        code = write_bytes(path, is_png(path) ? &png : w, err);
    writer_free(&png);
    return code;
}
