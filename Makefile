# senetd - make, run, install, test, check-asan, check-tsan, check-valgrind, lint, format, eval-demo; see
# README.md.
#
# The folders are compiled with -I flags that keep them apart: model/ cannot see server/ and the
# reverse; both see include/.

VERSION := 0.1.0
BUILD ?= release
CC ?= gcc
ifeq ($(origin CC),default)
CC := gcc
endif
LISTEN ?= 127.0.0.1:8080
WEIGHTS ?= weights/demo
# What an installed senetd serves when it is told nothing.
DEFAULT_WEIGHTS ?= weights/demo

# build/ holds the release; other builds keep their own folder below it.
O := build$(if $(filter-out release,$(BUILD)),/$(BUILD))

PACKAGES := build-essential pkg-config ca-certificates libmicrohttpd-dev libgnutls28-dev libgmp-dev \
            libjansson-dev libjpeg62-turbo-dev libpng-dev libwebp-dev zlib1g-dev libseccomp-dev libstb-dev \
            libopenblas-pthread-dev nettle-dev libcurl4-openssl-dev libcmocka-dev bash-completion \
            node-d3-axis node-d3-scale node-d3-scale-chromatic node-d3-selection node-d3-shape
TOOLS := clang clang-format valgrind shellcheck curl

WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes \
            -Wmissing-prototypes -Wcast-align -Wpointer-arith -Wwrite-strings -Wvla \
            -Wswitch-enum -Wformat=2 -Wno-sign-conversion
X86 := $(filter x86_64%,$(shell $(CC) -dumpmachine))
ARM64 := $(filter aarch64%,$(shell $(CC) -dumpmachine))
# Shadow stack and indirect branch tracking where the CPU and kernel have them (CET).
HARDENING := -fstack-protector-strong -fstack-clash-protection -fPIE -fvisibility=hidden \
             $(if $(X86),-fcf-protection=full)
LINK_x86 := -Wl,-z,ibt,-z,shstk
BASE_FLAGS := -std=c17 -D_GNU_SOURCE -DSENETD_VERSION='"$(VERSION)"' \
              -DSENETD_WEIGHTS='"$(DEFAULT_WEIGHTS)"' -pthread -g -MMD -MP \
              $(WARNINGS) $(HARDENING) $(if $(CI),-Werror)
FLAGS_release := -O3 -fno-math-errno -D_FORTIFY_SOURCE=2
FLAGS_asan := -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
FLAGS_tsan := -O1 -fsanitize=thread -fno-omit-frame-pointer
FLAGS_valgrind := -O1
LINK_release := -pie -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed $(if $(X86),$(LINK_x86))
LINK_asan := -fsanitize=address,undefined
LINK_tsan := -fsanitize=thread
LINK_valgrind :=
FLAGS_fuzz := -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
LINK_fuzz := -fsanitize=address,undefined

# make V=1 shows the commands.
Q = $(if $(V),,@echo '  $(notdir $@)' &&)

CFLAGS_ALL = $(BASE_FLAGS) $(FLAGS_$(BUILD)) $(CFLAGS)
LDFLAGS_ALL = $(LINK_$(BUILD)) $(LDFLAGS)
LIBS_model = $(shell pkg-config --libs jansson nettle libjpeg libpng libwebp libwebpdemux) \
             -lopenblas -lm -pthread
LIBS_server = $(shell pkg-config --libs libmicrohttpd gnutls gmp libseccomp zlib)
LIBS_test = $(shell pkg-config --libs cmocka libcurl zlib)

MODEL := $(patsubst model/%.c,$(O)/model/%.o,$(wildcard model/*.c))
SERVER := $(patsubst server/%.c,$(O)/server/%.o,$(wildcard server/*.c))
# Tests link everything but the daemon's main.
LINKED := $(filter-out $(O)/server/main.o,$(MODEL) $(SERVER))
TESTS := $(patsubst tests/%.c,$(O)/tests/%,$(wildcard tests/*/test_*.c))
# Sanitizers take minutes for SE-ResNet-50, and see the same code in the tiny models.
ifneq ($(filter asan tsan,$(BUILD)),)
TESTS := $(filter-out %/test_golden_demo,$(TESTS))
endif

.PHONY: all deps run test check-asan check-tsan lint format clean eval-demo
.DELETE_ON_ERROR:
.SECONDARY:

all: $(O)/senetd

$(O)/senetd: $(MODEL) $(SERVER)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS_model) $(LIBS_server)

# AddressSanitizer sees a wrong address of the kernels; UBSan's checks of each of their thousands of
# unrolled loads beside it would take minutes to compile.
ifeq ($(BUILD),asan)
$(O)/model/kernels_%.o: FLAGS_asan += -fno-sanitize=pointer-overflow,null,alignment,object-size
endif

# Position-independent: they are linked into libsenet.so as well.
$(O)/model/%.o: model/%.c Makefile
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) -fPIC $(CFLAGS_ISA) $(CFLAGS_LOOPS) -Iinclude -Imodel -c -o $@ $<

$(O)/server/%.o: server/%.c Makefile
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) -Iinclude -Iserver -c -o $@ $<

# Where a loop begins within a line of the instruction cache is worth some percent, and else left to
# chance. Words kept for a tile's next tap would take the registers of its sums.
$(O)/model/kernels_%.o: CFLAGS_LOOPS = -falign-functions=64 -falign-loops=64 -fno-predictive-commoning

# Backends, and the resize, are the only files with an instruction set of their own; they are chosen
# at run time.
# Contraction into fused multiply-adds is what they are for.
# On other architectures than their own these files are empty.
ifneq ($(X86),)
# PREFETCHW is an instruction for CPUs that tell of it, and does nothing on others that have AVX2.
ISA_x86 := -mfma -mprfchw -ffp-contract=fast
$(O)/model/kernels_avx512.o: CFLAGS_ISA = -mavx512f $(ISA_x86)
$(O)/model/kernels_avx512_bf16.o: CFLAGS_ISA = -mavx512bw -mavx512bf16 $(ISA_x86)
$(O)/model/kernels_avx512f_bf16.o: CFLAGS_ISA = -mavx512bw $(ISA_x86)
$(O)/model/kernels_avx512_int8.o: CFLAGS_ISA = -mavx512bw -mavx512vnni -mavx512bf16 $(ISA_x86)
$(O)/model/kernels_avx512vnni_int8.o: CFLAGS_ISA = -mavx512bw -mavx512vnni $(ISA_x86)
$(O)/model/kernels_amx_bf16.o $(O)/model/kernels_amx_int8.o: \
    CFLAGS_ISA = -mamx-tile -mamx-int8 -mamx-bf16 -mavx512bw -mavx512bf16 $(ISA_x86)
$(O)/model/kernels_avxvnni_int8.o: CFLAGS_ISA = -mavx2 -mavxvnni $(ISA_x86)
$(O)/model/kernels_avx2.o $(O)/model/kernels_avx2_bf16.o $(O)/model/kernels_avx2_int8.o: \
    CFLAGS_ISA = -mavx2 $(ISA_x86)
endif
$(O)/model/resample_avx2.o: CFLAGS_ISA = $(if $(X86),-mavx2)
$(O)/model/kernels_neon.o $(O)/model/kernels_neon_bf16.o $(O)/model/kernels_neon_int8.o: \
    CFLAGS_ISA = -ffp-contract=fast
$(O)/model/kernels_neondot_int8.o: CFLAGS_ISA = $(if $(ARM64),-march=armv8.2-a+dotprod) -ffp-contract=fast

# The assembler includes the label table; make has to know.
$(O)/model/labels.o: weights/imagenet1k_labels.tsv
$(O)/server/openapi.o: server/openapi.json

# ---- the page: server/ui and d3 as Debian packages it, gathered, gzipped and built in -------------

UI := build/ui
# In the order of their use of each other.
D3 := $(foreach m,array collection color format interpolate path time time-format scale \
                  scale-chromatic selection shape axis,/usr/share/nodejs/d3-$(m)/dist/d3-$(m).min.js)
D3_LICENCES := $(foreach f,$(D3),/usr/share/doc/node-$(basename $(basename $(notdir $(f))))/copyright)
UI_FILES := $(patsubst server/ui/%,$(UI)/%,$(wildcard server/ui/*)) \
            $(addprefix $(UI)/,d3.js cat.jpg licences.txt)

$(UI)/%: server/ui/%
	@mkdir -p $(@D) && cp $< $@
$(UI)/cat.jpg: tests/data/cat.jpg
	@mkdir -p $(@D) && cp $< $@
$(UI)/d3.js: $(D3)
	@mkdir -p $(@D) && cat $^ >$@
$(UI)/licences.txt: $(D3_LICENCES)
	@mkdir -p $(@D) && tail -n +1 $^ >$@
$(UI)/%.gz: $(UI)/%
	@gzip -9nc $< >$@
$(UI)/page_etag.h: $(UI_FILES)
	@echo "#define PAGE_ETAG \"$$(cat $^ | sha256sum | cut -c 1-16)\"" >$@

$(O)/server/page.o: $(UI)/page_etag.h $(UI_FILES:%=%.gz)
$(O)/server/page.o: BASE_FLAGS += -I$(UI)

$(O)/tests/%.o: tests/%.c Makefile
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) -Iinclude -Imodel -Iserver -Itests -c -o $@ $<

# Helpers shared by the tests of a folder: every file there that is not itself a test.
define test_rule
$(O)/tests/$(1)/test_%: $(O)/tests/$(1)/test_%.o $(patsubst tests/%.c,$(O)/tests/%.o,$(filter-out tests/$(1)/test_%,$(wildcard tests/$(1)/*.c))) $(LINKED)
	$$(Q)$$(CC) $$(LDFLAGS_ALL) $$(LDFLAGS_TEST) -o $$@ $$^ $$(LIBS_model) $$(LIBS_server) $$(LIBS_test)
endef
$(foreach folder,unit golden http,$(eval $(call test_rule,$(folder))))

# These run kernels for tile registers on CPUs that have none; see tests/amx/emulator.h.
ON_TILES := $(patsubst %,$(O)/tests/%,unit/test_kernels unit/test_pointwise unit/test_calibration \
                                      golden/test_cores golden/test_golden_demo)
$(ON_TILES): $(O)/tests/amx/emulator.o
$(ON_TILES): LDFLAGS_TEST = -Wl,--wrap=amx_supported

-include $(wildcard $(O)/*/*.d $(O)/tests/*/*.d)

# ---- set-up and running ----------------------------------------------------------------------

SUDO := $(if $(filter-out 0,$(shell id -u)),sudo)
deps:
	@missing=$$(for p in $(PACKAGES); do \
	    dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'install ok installed' || echo $$p; done); \
	if [ -n "$$missing" ]; then $(SUDO) apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq --no-install-recommends $$missing; fi

# A fresh make reads the new packages' pkg-config files.
run: deps
	@$(MAKE) --no-print-directory all
	@echo "try:  curl -F image=@tests/data/cat.jpg http://$(LISTEN)/classify"
	@exec $(O)/senetd --weights $(WEIGHTS) --listen $(LISTEN)

test: deps
	@$(MAKE) --no-print-directory run-tests

.PHONY: run-tests
run-tests: $(O)/senetd $(TESTS)
	@BUILD_DIR=$(O) tests/run.sh $(TESTS) $(if $(filter release,$(BUILD)),tests/deploy/test_install.sh)

check-asan check-tsan: check-%:
	@$(MAKE) --no-print-directory BUILD=$* test

# Valgrind sees plain code: no sanitizer, little optimisation.
.PHONY: check-valgrind
check-valgrind: deps tools
	@$(MAKE) --no-print-directory BUILD=valgrind all
	@tests/valgrind.sh build/valgrind/senetd

# What numpy, safetensors and an XML parser make of the answers and figures; the example clients.
.PHONY: check-arrays
check-arrays: deps
	@$(MAKE) --no-print-directory deps PACKAGES="python3-venv libxml2-utils librsvg2-bin nodejs"
	@$(MAKE) --no-print-directory all
	test -d build/arrays || python3 -m venv build/arrays
	build/arrays/bin/pip install -q numpy safetensors requests matplotlib
	build/arrays/bin/python tests/scripts/test_arrays.py $(O)/senetd

# The Open Inference Protocol by the clients of Triton and KServe.
.PHONY: test-v2
test-v2: deps
	@$(MAKE) --no-print-directory deps PACKAGES=python3-venv
	@$(MAKE) --no-print-directory all
	test -d build/v2 || python3 -m venv build/v2
	build/v2/bin/pip install -q 'tritonclient[http]' kserve pillow
	build/v2/bin/python tests/v2/test_clients.py $(O)/senetd

# The page in Chromium, and with README=1 the screenshot that README.md shows.
.PHONY: test-browser
test-browser: deps
	@$(MAKE) --no-print-directory deps PACKAGES="chromium fonts-dejavu-core curl python3-venv"
	@$(MAKE) --no-print-directory all
	test -d build/browser || python3 -m venv build/browser
	build/browser/bin/pip install -q playwright axe-playwright-python
	build/browser/bin/python tests/browser/test_page.py --senetd $(O)/senetd --weights $(WEIGHTS) \
	    $(if $(README),--readme deploy/page.jpg)

# libFuzzer, all for SECONDS side by side, under ASan and UBSan.
SECONDS ?= 60
FUZZERS := $(patsubst tests/fuzz/%.c,$(O)/tests/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
$(O)/tests/fuzz/fuzz_%: $(O)/tests/fuzz/fuzz_%.o $(LINKED)
	$(Q)$(CC) $(LDFLAGS_ALL) -fsanitize=fuzzer -o $@ $^ $(LIBS_model) $(LIBS_server)

# The kernels see no foreign bytes, and take minutes to compile with all the instrumentation.
ifeq ($(BUILD),fuzz)
$(O)/model/kernels_%.o: override CC := gcc
$(O)/model/kernels_%.o: FLAGS_fuzz := -O1
endif

.PHONY: fuzz run-fuzz
fuzz: deps tools
	@$(MAKE) --no-print-directory deps PACKAGES="libclang-rt-dev python3"
	@$(MAKE) --no-print-directory BUILD=fuzz CC=clang CI= run-fuzz
run-fuzz: $(FUZZERS)
	@tests/fuzz/run.sh $(O)/tests/fuzz $(SECONDS)

# The n-th allocation of a request or a start fails, for every n, or each EVERY-th; see the test.
EVERY ?= 1
ALLOC := $(O)/tests/alloc
$(ALLOC)/failing.so: tests/alloc/failing.c tests/alloc/failing.h Makefile
	@mkdir -p $(@D)
	$(Q)$(CC) $(BASE_FLAGS) -O2 -fPIC -fno-builtin -shared -o $@ $<
$(ALLOC)/check_alloc: $(patsubst %,$(ALLOC)/%.o,check_alloc trials) \
                       $(patsubst %,$(O)/tests/http/%.o,client daemon pictures) $(LINKED)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS_model) $(LIBS_server) $(LIBS_test)

.PHONY: check-alloc run-check-alloc
check-alloc: deps
	@$(MAKE) --no-print-directory run-check-alloc
run-check-alloc: $(O)/senetd $(ALLOC)/failing.so $(ALLOC)/check_alloc
	@EVERY=$(EVERY) BUILD_DIR=$(O) tests/run.sh $(ALLOC)/check_alloc

# The n-th system call of a request, a reload or a life fails, for every n, or each EVERY-th; see
# the test.
IO := $(O)/tests/io
$(IO)/faulty.so: tests/io/faulty.c tests/io/faulty.h Makefile
	@mkdir -p $(@D)
	$(Q)$(CC) $(BASE_FLAGS) -O2 -fPIC -fno-builtin -shared -o $@ $<
$(IO)/check_io: $(IO)/check_io.o $(patsubst %,$(O)/tests/http/%.o,client daemon pictures) $(LINKED)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS_model) $(LIBS_server) $(LIBS_test)

.PHONY: check-io run-check-io
check-io: deps
	@$(MAKE) --no-print-directory run-check-io
run-check-io: $(O)/senetd $(IO)/faulty.so $(IO)/check_io
	@EVERY=$(EVERY) BUILD_DIR=$(O) tests/run.sh $(IO)/check_io

# Thousands of damaged pictures through the running daemon; see the script.
INPUTS ?= 20000
.PHONY: torture
torture: deps
	@$(MAKE) --no-print-directory deps PACKAGES=python3
	@$(MAKE) --no-print-directory all
	python3 tests/abuse/torture.py --senetd $(O)/senetd --inputs $(INPUTS)

# What the compiler and the linker were asked for, looked up in the program.
.PHONY: check-hardening
check-hardening: deps
	@$(MAKE) --no-print-directory all
	@tests/hardening.sh build/senetd

# The running daemon against server/openapi.json, by schemathesis.
.PHONY: test-openapi
test-openapi: deps
	@$(MAKE) --no-print-directory deps PACKAGES=python3-venv
	@$(MAKE) --no-print-directory all
	test -d build/openapi || python3 -m venv build/openapi
	build/openapi/bin/pip install -q schemathesis
	build/openapi/bin/python tests/v2/test_openapi.py $(O)/senetd

# ---- the demo model's accuracy, through the daemon ---------------------------------------------

# PHOTOS: the training set's folder or .tar with val/CLASS/*.jpg. With TORCH=1 every decision is
# compared with timm on PyTorch (pip install torch timm).
PHOTOS ?= photos11.tar
eval-demo: deps
	@$(MAKE) --no-print-directory all
	python3 tests/eval_demo.py --data $(PHOTOS) --senetd $(O)/senetd --weights $(WEIGHTS) \
	    $(if $(TORCH),--torch $(WEIGHTS))

# The drift in /metrics after a stream of those photos, of the same in gray, and of noise.
.PHONY: eval-drift
eval-drift: deps
	@$(MAKE) --no-print-directory deps PACKAGES=python3-venv
	@$(MAKE) --no-print-directory all
	test -d build/drift || python3 -m venv build/drift
	build/drift/bin/pip install -q numpy pillow
	build/drift/bin/python tests/eval_drift.py --data $(PHOTOS) --senetd $(O)/senetd \
	    --weights $(WEIGHTS) $(if $(CARD),--card $(WEIGHTS)/MODEL_CARD.md)

# All that README.md shows of the demo model: to be made anew with new weights. PHOTOS is a folder.
.PHONY: figures
figures: deps
	@$(MAKE) --no-print-directory all
	$(O)/senetd plot --weights $(WEIGHTS) --classes $(PHOTOS)/val -o deploy/roles.svg
	python3 tests/scripts/roles.py --write
	@$(MAKE) --no-print-directory test-browser README=1

# ---- speed ------------------------------------------------------------------------------------

# Every operation beside OpenBLAS's path and the roofline, measured just before, on one core.
.PHONY: bench
bench: all
	@mkdir -p build/bench
	@$(O)/senetd bench --weights $(WEIGHTS) --threads 1 --layers on >build/bench/own.txt
	@$(O)/senetd bench --weights $(WEIGHTS) --threads 1 --layers on --kernels blas >build/bench/blas.txt
	@awk -f tests/bench/layers.awk build/bench/blas.txt build/bench/own.txt

# The same network in senetd, ONNX Runtime, OpenVINO and PyTorch, in turns; BENCH: further options,
# see the script.
.PHONY: bench-peers
bench-peers: deps
	@$(MAKE) --no-print-directory all $(O)/libsenet.so.$(SOVERSION)
	test -d build/peers || python3 -m venv build/peers
	build/peers/bin/pip install -q torch torchvision timm safetensors onnx onnxruntime openvino nncf
	build/peers/bin/python tests/bench/peers.py --senetd $(O)/senetd --weights $(WEIGHTS) $(BENCH)

# Its convolutions beside oneDNN's of the same shapes; BENCH: further options.
.PHONY: bench-onednn
bench-onednn: deps
	@$(MAKE) --no-print-directory deps PACKAGES="libdnnl-dev python3-venv"
	@$(MAKE) --no-print-directory all
	test -d build/peers || python3 -m venv build/peers
	build/peers/bin/pip install -q torch torchvision timm safetensors pillow
	build/peers/bin/python tests/bench/onednn.py --senetd $(O)/senetd --weights $(WEIGHTS) $(BENCH)

include deploy/deploy.mk

# The daemon under load, beside its engine alone; BENCH: further options, see the scripts.
.PHONY: bench-server bench-soak bench-server-peers
bench-server: deps
	@$(MAKE) --no-print-directory deps PACKAGES="wrk python3"
	@$(MAKE) --no-print-directory all
	python3 tests/bench/server.py --senetd $(O)/senetd --weights $(WEIGHTS) $(BENCH)

MINUTES ?= 30
bench-soak:
	@$(MAKE) --no-print-directory bench-server BENCH="--soak $(MINUTES) $(BENCH)"

# Beside FastAPI with ONNX Runtime and LitServe, in turns.
bench-server-peers: deps
	@$(MAKE) --no-print-directory deps PACKAGES="wrk python3-venv"
	@$(MAKE) --no-print-directory all
	test -d build/peers || python3 -m venv build/peers
	build/peers/bin/pip install -q torch torchvision timm safetensors onnx onnxruntime pillow \
	    fastapi uvicorn python-multipart litserve
	build/peers/bin/python tests/bench/server_peers.py --senetd $(O)/senetd --weights $(WEIGHTS) \
	    $(BENCH)

# ---- keeping the sources in order --------------------------------------------------------------

SOURCES := $(wildcard include/*.h model/*.[ch] server/*.[ch] tests/*/*.[ch])

.PHONY: tools
tools:
	@$(MAKE) --no-print-directory deps PACKAGES="$(TOOLS)"

format: tools
	clang-format -i $(SOURCES)

lint: deps tools
	@$(MAKE) --no-print-directory all
	clang-format --dry-run -Werror $(SOURCES)
	shellcheck tests/*.sh tests/fuzz/run.sh tests/deploy/*.sh deploy/*.sh weights/*.sh .ci/run
	tests/lint.sh $(O)

# cppcheck, and clang-tidy with the checks of .clang-tidy; the kernels' vector code is beyond the former.
CHECKED := $(filter-out model/kernels_%,$(wildcard model/*.c)) $(wildcard server/*.c)
CPPCHECK := cppcheck --quiet --error-exitcode=1 --enable=warning,performance,portability \
            --suppressions-list=tests/cppcheck.txt --std=c11 -D_GNU_SOURCE -Iinclude -Imodel -Iserver
.PHONY: check-static
check-static: deps
	@$(MAKE) --no-print-directory deps PACKAGES="cppcheck clang-tidy"
	@$(MAKE) --no-print-directory $(UI)/page_etag.h
	$(CPPCHECK) $(CHECKED)
	printf '%s\n' $(CHECKED) | xargs -n 1 -P $$(nproc) clang-tidy --quiet

clean:
	rm -rf build
