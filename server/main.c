/* main.c - commands and life cycle of senetd; the only file that exits.
 *
 * The daemon listens first and loads then, so that probes get an answer meanwhile. SIGHUP loads the
 * model anew. SIGTERM or SIGINT: readiness goes off, after --drain-delay the socket closes, what
 * was accepted is answered within --drain-timeout, exit 0. A second signal exits at once, as does
 * the first one while the model is still being loaded: nothing was accepted yet.
 */
#include "batch.h"
#include "bench.h"
#include "classify.h"
#include "config.h"
#include "decoder.h"
#include "describe.h"
#include "health.h"
#include "http.h"
#include "keys.h"
#include "listener.h"
#include "log.h"
#include "metrics.h"
#include "notify.h"
#include "plot.h"
#include "profile.h"
#include "quantize.h"
#include "sandbox.h"
#include "service.h"
#include "tls.h"
#include "user.h"
#include "v2_stats.h"
#include "watchdog.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define EXIT_USAGE 2

/* Fresh pages are dear: let malloc keep what was freed instead of mapping it anew each time. */
static void keep_memory(void)
{
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 256 << 20);
}

/* ---- the daemon ------------------------------------------------------------------------------ */

/* Signals arrive as bytes in a pipe. A handler may run in any thread; sigwait would need them
 * blocked in all, and OpenBLAS starts threads of its own before main. */
static int signal_pipe[2];

static void on_signal(int signal)
{
    int cause = errno;
    unsigned char byte = (unsigned char)signal;
    (void)!TEMP_FAILURE_RETRY(write(signal_pipe[1], &byte, 1));
    errno = cause;
}

static enum error_code catch_signals(struct error *err)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    if (pipe2(signal_pipe, O_CLOEXEC) != 0)
        return error_set(err, ERROR_IO, "cannot make a pipe: %s", strerror(errno));
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    action.sa_flags |= SA_NOCLDSTOP;
    sigaction(SIGCHLD, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    return ERROR_NONE;
}

static int next_signal(void)
{
    struct pollfd pipe = {.fd = signal_pipe[0], .events = POLLIN};
    unsigned char byte;
    /* ThreadSanitizer runs a handler within poll, but not within read. */
    while (poll(&pipe, 1, -1) != 1 || read(signal_pipe[0], &byte, 1) != 1)
        continue; /* interrupted */
    return byte;
}

struct daemon {
    struct service service;
    struct http *public, *admin; /* admin may be NULL */
    struct watchdog *watchdog;
    struct decoder *decoder; /* NULL: decodes in its own threads */
};

/* A thread that ends the process at the next stop signal: with that status, or 128 + signal. */
struct exit_watch {
    pthread_t thread;
    bool running, cleanly;
};

static void *exit_on_signal(void *argument)
{
    const struct exit_watch *watch = argument;
    int signal = next_signal();
    while (signal == SIGHUP || signal == SIGCHLD)
        signal = next_signal();
    if (signal == 0)
        return NULL; /* end_watch */
    _exit(watch->cleanly ? EXIT_SUCCESS : 128 + signal);
}

static void begin_watch(struct exit_watch *watch, bool cleanly)
{
    watch->cleanly = cleanly;
    watch->running = pthread_create(&watch->thread, NULL, exit_on_signal, watch) == 0;
}

static void end_watch(struct exit_watch *watch)
{
    if (!watch->running)
        return;
    on_signal(0); /* no signal's number; cancelling the thread would upset AddressSanitizer */
    pthread_join(watch->thread, NULL);
}

static bool has_tls(const struct config *config)
{
    return config->tls_cert != NULL || config->tls_key != NULL;
}

static void reload_certificate(const struct config *config)
{
    struct error err = {0};
    if (has_tls(config) && tls_load(config->tls_cert, config->tls_key, &err) != ERROR_NONE)
        log_error("tls", "the old certificate goes on: %s", err.message);
}

/* Until the daemon is asked to stop, or can decode no more, which is an error. */
static enum error_code wait_for_stop(struct daemon *daemon, struct error *err)
{
    struct service *service = &daemon->service;
    for (int signal = 0;; signal = next_signal()) {
        if (decoder_is_lost(daemon->decoder))
            return error_set(err, ERROR_INTERNAL, "the decoding processes are gone");
        if (signal == SIGHUP) {
            log_info("reload", "SIGHUP: loading '%s'", service->config->weights);
            reload_certificate(service->config);
            models_request_load(service->models);
        } else if (signal != 0 && signal != SIGCHLD) {
            log_info("stop", "SIG%s: answering what was accepted", sigabbrev_np(signal));
            return ERROR_NONE;
        }
    }
}

static void drain(struct daemon *daemon)
{
    const struct config *config = daemon->service.config;
    atomic_store_explicit(&daemon->service.state, SERVICE_DRAINING, memory_order_release);
    notify_stopping();
    struct timespec left = {.tv_sec = (time_t)config->drain_delay};
    while (nanosleep(&left, &left) != 0)
        continue; /* a signal that the watch takes */
    http_stop_accepting(daemon->public);
    http_wait_idle(daemon->public, (unsigned)config->drain_timeout);
}

static enum error_code open_admin(struct daemon *daemon, struct error *err)
{
    const struct config *config = daemon->service.config;
    struct listener listener;
    struct error busy = {0};
    if (strcmp(config->admin_listen, "off") == 0)
        return ERROR_NONE;
    enum error_code code = listener_open(config->admin_listen, &listener, &busy);
    if (code == ERROR_IO && config->sources[CONFIG_HAS_admin_listen] == CONFIG_DEFAULT) {
        /* A second daemon on this machine: nobody asked for this very address. */
        log_warn("listen", "no admin address, SIGHUP still reloads: %s", busy.message);
        return ERROR_NONE;
    }
    if (code != ERROR_NONE)
        return error_set(err, code, "--admin-listen: %s", busy.message);
    TRY(http_start(&daemon->service, &listener, true, &daemon->admin, err));
    log_info("listen", "admin http://%s", listener.name);
    return ERROR_NONE;
}

static enum error_code open_public(struct daemon *daemon, struct error *err)
{
    const struct config *config = daemon->service.config;
    struct listener listener;
    TRY(listener_open(config->listen, &listener, err));
    TRY(http_start(&daemon->service, &listener, false, &daemon->public, err));
    log_info("listen", "%s://%s", has_tls(config) ? "https" : "http", listener.name);
    return config->port_file != NULL ? listener_write_port(&listener, config->port_file, err)
                                     : ERROR_NONE;
}

static enum error_code load(struct daemon *daemon, struct error *err)
{
    struct exit_watch watch;
    notify_status("Loading the model");
    begin_watch(&watch, true);
    enum error_code code = models_load(daemon->service.models, err);
    end_watch(&watch);
    return code;
}

/* Before there are threads, which would be missing in the children. */
static enum error_code start_decoder(struct daemon *daemon, struct error *err)
{
    const struct config *config = daemon->service.config;
    const struct decoder_options options = {
        .processes = models_batch_options(config).decoders,
        .max_input = config->max_body,
        .max_pixels = config->max_pixels,
        .timeout = (unsigned)config->decode_timeout,
        .strict = config->sources[CONFIG_HAS_decoder] != CONFIG_DEFAULT,
    };
    return config->decoder == 0 ? decoder_start(&options, &daemon->decoder, err) : ERROR_NONE;
}

static enum error_code leave_root(const struct config *config, struct error *err)
{
    if (config->user != NULL)
        return user_become(config->user, err);
    if (geteuid() == 0)
        log_warn("user", "running as root; --user NAME would give that up");
    return ERROR_NONE;
}

/* The last step of the start: what it took is forbidden now. */
static enum error_code guard(const struct config *config, struct error *err)
{
    int cause = config->seccomp == 0 ? sandbox_guard() : 0;
    if (cause == 0)
        return ERROR_NONE;
    if (config->sources[CONFIG_HAS_seccomp] != CONFIG_DEFAULT)
        return error_set(err, ERROR_INTERNAL, "--seccomp on: no filter is to be had: %s",
                         strerror(cause));
    log_warn("seccomp", "the daemon's system calls are not filtered: %s", strerror(cause));
    return ERROR_NONE;
}

static enum error_code serve(const struct config *config, struct error *err)
{
    struct daemon daemon = {.service = {.config = config}};
    struct service *service = &daemon.service;
    struct exit_watch watch = {0};
    TRY(start_decoder(&daemon, err));
    enum error_code code = catch_signals(err);
    if (code == ERROR_NONE)
        code = metrics_new(&service->metrics, err);
    if (code == ERROR_NONE)
        code = v2_stats_new(&service->v2_stats, err);
    if (code == ERROR_NONE && config->api_key_file != NULL)
        code = keys_load(config->api_key_file, &service->keys, err);
    if (code == ERROR_NONE && has_tls(config))
        code = tls_load(config->tls_cert, config->tls_key, err);
    if (code == ERROR_NONE)
        code = models_new(config, daemon.decoder, &service->models, err);
    if (code == ERROR_NONE)
        code = open_admin(&daemon, err);
    if (code == ERROR_NONE)
        code = open_public(&daemon, err);
    if (code == ERROR_NONE)
        code = leave_root(config, err);
    if (code == ERROR_NONE)
        code = load(&daemon, err);
    if (code == ERROR_NONE)
        code = watchdog_start(service->models, &daemon.watchdog, err);
    if (code == ERROR_NONE)
        code = guard(config, err);
    if (code == ERROR_NONE) {
        atomic_store_explicit(&service->state, SERVICE_READY, memory_order_release);
        models_notify_ready(service->models);
        code = wait_for_stop(&daemon, err);
        begin_watch(&watch, false);
        drain(&daemon);
    }
    if (service->models != NULL)
        models_close(service->models);
    http_stop(daemon.public);
    http_stop(daemon.admin);
    watchdog_stop(daemon.watchdog);
    models_free(service->models);
    decoder_stop(daemon.decoder);
    v2_stats_free(service->v2_stats);
    keys_free(service->keys);
    tls_unload();
    metrics_free(service->metrics);
    end_watch(&watch);
    if (code == ERROR_NONE)
        log_info("stop", "done");
    return code;
}

/* ---- commands without a server --------------------------------------------------------------- */

/* *good: whether every file was classified. */
static enum error_code classify(const struct config *config, bool *good, struct error *err)
{
    const struct batch_options options = models_batch_options(config);
    struct senet *model;
    struct batch *batch;
    TRY(models_open(config, &model, err));
    enum error_code code = batch_start(model, &options, &batch, err);
    if (code == ERROR_NONE) {
        bool json = config->json || !isatty(STDOUT_FILENO);
        *good = classify_files(config, model, batch, json, stdout);
        batch_stop(batch);
    }
    senet_close(model);
    return code;
}

/* profile or plot: what needs a model and its queue. */
static enum error_code with_batch(const struct config *config,
                                  enum error_code (*work)(const struct config *config,
                                                          const struct senet *senet,
                                                          struct batch *batch, struct error *err),
                                  struct error *err)
{
    const struct batch_options options = models_batch_options(config);
    struct senet *senet;
    struct batch *batch;
    TRY(models_open(config, &senet, err));
    enum error_code code = batch_start(senet, &options, &batch, err);
    if (code == ERROR_NONE) {
        code = work(config, senet, batch, err);
        batch_stop(batch);
    }
    senet_close(senet);
    return code;
}

static enum error_code bench(const struct config *config, struct error *err)
{
    struct senet *model;
    TRY(models_open(config, &model, err));
    bool json = config->json || (!isatty(STDOUT_FILENO) && !config->layers);
    enum error_code code = bench_run(config, model, models_threads(config), json, stdout, err);
    senet_close(model);
    return code;
}

static enum error_code quantize(const struct config *config, struct error *err)
{
    struct senet *senet;
    TRY(models_open(config, &senet, err));
    enum error_code code = quantize_run(config, senet, err);
    senet_close(senet);
    return code;
}

static enum error_code check(const struct config *config, struct error *err)
{
    struct senet *model;
    TRY(models_open(config, &model, err));
    enum error_code code = models_try(model, err);
    if (code == ERROR_NONE) {
        struct writer out = {0};
        describe_model_text(&out, model);
        fwrite(out.bytes, 1, out.size, stdout);
        writer_free(&out);
    }
    senet_close(model);
    return code;
}

static enum error_code check_path(const char *option, const char *path, struct error *err)
{
    if (path == NULL || access(path, R_OK) == 0)
        return ERROR_NONE;
    return error_set(err, ERROR_IO, "--%s: cannot read '%s': %s", option, path, strerror(errno));
}

/* What the daemon would meet before it loads the model; config_parse has seen the rest. */
static enum error_code check_config(const struct config *config, struct error *err)
{
    TRY(listener_check(config->listen, err));
    if (strcmp(config->admin_listen, "off") != 0)
        TRY(listener_check(config->admin_listen, err));
    TRY(check_path("weights", config->weights, err));
    TRY(check_path("labels", config->labels, err));
    if (has_tls(config))
        TRY(tls_load(config->tls_cert, config->tls_key, err));
    tls_unload();
    puts("the configuration is valid");
    return ERROR_NONE;
}

/* Runs the command; whether it went well. */
static bool run(const struct config *config, struct error *err)
{
    bool good = true;
    switch (config->command) {
    case COMMAND_HELP:
        config_help(stdout);
        return true;
    case COMMAND_VERSION:
        puts("senetd " SENETD_VERSION);
        return true;
    case COMMAND_BENCH:
        return bench(config, err) == ERROR_NONE;
    case COMMAND_HEALTH:
        if (health_probe(config, err) != ERROR_NONE)
            return false;
        puts(config->live ? "live" : "ready");
        return true;
    case COMMAND_CHECK:
        return check(config, err) == ERROR_NONE;
    case COMMAND_CHECK_CONFIG:
        return check_config(config, err) == ERROR_NONE;
    case COMMAND_PRINT_CONFIG:
        config_print(config, config->json, stdout);
        return true;
    case COMMAND_CLASSIFY:
        return classify(config, &good, err) == ERROR_NONE && good;
    case COMMAND_PROFILE:
        return with_batch(config, profile_run, err) == ERROR_NONE;
    case COMMAND_PLOT:
        return with_batch(config, plot_run, err) == ERROR_NONE;
    case COMMAND_QUANTIZE:
        return quantize(config, err) == ERROR_NONE;
    case COMMAND_SERVE:
        log_set_up((enum log_format)config->log_format, (enum log_level)config->log_level);
        return serve(config, err) == ERROR_NONE;
    }
    return false;
}

int main(int argc, char **argv)
{
    struct config config;
    struct error err = {0};
    keep_memory();
    json_object_seed(0); /* before threads race to do it */
    unsigned formats;
    if (config_parse(argc, argv, &config, &err) != ERROR_NONE ||
        (config.formats != NULL &&
         image_parse_formats(config.formats, &formats, &err) != ERROR_NONE)) {
        fprintf(stderr, "senetd: %s\n", err.message);
        config_free(&config);
        return EXIT_USAGE;
    }
    bool good = run(&config, &err);
    if (err.code != ERROR_NONE && config.command == COMMAND_SERVE)
        log_error("stop", "%s", err.message);
    else if (err.code != ERROR_NONE)
        fprintf(stderr, "senetd: %s\n", err.message);
    if (fflush(stdout) != 0)
        good = false;
    config_free(&config);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
