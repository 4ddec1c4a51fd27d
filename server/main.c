/* main.c - commands and life cycle of senetd; the only file that exits.
 *
 * The daemon listens first and loads then, so that probes get an answer meanwhile. Signals are
 * blocked in every thread and taken by sigwait here. SIGTERM or SIGINT: readiness goes off, the
 * socket closes, what was accepted is answered, exit 0. A second signal exits at once.
 */
#include "batch.h"
#include "bench.h"
#include "classify.h"
#include "config.h"
#include "describe.h"
#include "health.h"
#include "http.h"
#include "listener.h"
#include "log.h"
#include "metrics.h"
#include "service.h"

#include <errno.h>
#include <jansson.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXIT_USAGE 2
/* Within the 30 s that Kubernetes leaves between SIGTERM and SIGKILL. */
#define GRACE_S 25

static sigset_t stop_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    return set;
}

/* Fresh pages are dear: let malloc keep what was freed instead of mapping it anew each time. */
static void keep_memory(void)
{
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 256 << 20);
}

/* ---- the daemon ------------------------------------------------------------------------------ */

static void *exit_on_signal(void *unused)
{
    sigset_t set = stop_signals();
    int signal;
    (void)unused;
    sigwait(&set, &signal);
    _exit(128 + signal);
}

/* Serves until a signal other than SIGHUP, then answers what was accepted. */
static void serve_until_signal(struct service *service, struct http *http)
{
    sigset_t set = stop_signals();
    int signal;
    pthread_t watcher;
    sigaddset(&set, SIGHUP);
    while (sigwait(&set, &signal) != 0 || signal == SIGHUP) {
        log_info("reload", "SIGHUP: loading '%s'", service->config->weights);
        models_request_load(service->models);
    }
    log_info("stop", "SIG%s: answering what was accepted", sigabbrev_np(signal));
    bool watched = pthread_create(&watcher, NULL, exit_on_signal, NULL) == 0;
    atomic_store_explicit(&service->state, SERVICE_DRAINING, memory_order_release);
    http_stop_accepting(http);
    http_wait_idle(http, GRACE_S);
    models_close(service->models);
    if (watched) {
        pthread_cancel(watcher);
        pthread_join(watcher, NULL);
    }
}

static enum error_code serve(const struct config *config, struct error *err)
{
    struct service service = {.config = config};
    struct listener listener;
    struct http *http = NULL;
    sigset_t set = stop_signals();
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    TRY(metrics_new(&service.metrics, err));
    enum error_code code = models_new(config, &service.models, err);
    if (code == ERROR_NONE)
        code = listener_open(config->listen, &listener, err);
    if (code == ERROR_NONE)
        code = http_start(&service, &listener, &http, err);
    if (code == ERROR_NONE)
        log_info("listen", "http://%s", listener.name);
    if (code == ERROR_NONE && config->port_file != NULL)
        code = listener_write_port(&listener, config->port_file, err);
    if (code == ERROR_NONE)
        code = models_load(service.models, err);
    if (code == ERROR_NONE) {
        atomic_store_explicit(&service.state, SERVICE_READY, memory_order_release);
        serve_until_signal(&service, http);
    }
    http_stop(http);
    models_free(service.models);
    metrics_free(service.metrics);
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

static enum error_code bench(const struct config *config, struct error *err)
{
    struct senet *model;
    TRY(models_open(config, &model, err));
    bool json = config->json || !isatty(STDOUT_FILENO);
    enum error_code code = bench_run(config, model, models_threads(config), json, stdout, err);
    senet_close(model);
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
    TRY(check_path("weights", config->weights, err));
    TRY(check_path("labels", config->labels, err));
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
    case COMMAND_SERVE:
        log_use_json(!isatty(STDERR_FILENO));
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
    if (config_parse(argc, argv, &config, &err) != ERROR_NONE) {
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
