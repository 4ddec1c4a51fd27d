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
PUBLIC_HEADERS := include/senet.h include/image.h include/error.h

# ---- libsenet, to embed the model in other programs ---------------------------------------------

$(O)/libsenet.a: $(MODEL)
	$(Q)rm -f $@ && ar rcs $@ $^

$(O)/libsenet.so.$(SOVERSION): $(MODEL)
	$(Q)$(CC) $(filter-out -pie,$(LDFLAGS_ALL)) -shared -Wl,-soname,$(@F) -Wl,--no-undefined \
	    -o $@ $^ $(LIBS_model)

# Always made anew: what it says depends on variables, not on files.
.PHONY: FORCE
$(O)/libsenet.pc: deploy/libsenet.pc.in FORCE
	$(Q)sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' \
	    -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' -e 's|@VERSION@|$(VERSION)|' \
	    -e 's|@LIBS@|$(LIBS_model)|' $< >$@

$(O)/senetd.service $(O)/config.json: $(O)/%: deploy/%.in FORCE
	$(Q)sed -e 's|@BINDIR@|$(BINDIR)|' -e 's|@SYSCONFDIR@|$(SYSCONFDIR)|' \
	    -e 's|@DATADIR@|$(DATADIR)|' $< >$@

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

DEPLOY_TOOLS := haproxy prometheus docker-compose iproute2 curl python3
ENGINE_TOOLS := docker.io debootstrap iptables

# What CI runs: every file by the program that reads it, and a fleet in network namespaces.
.PHONY: check-deploy test-deploy
check-deploy: deps
	@$(MAKE) --no-print-directory deps PACKAGES="$(DEPLOY_TOOLS)"
	@$(MAKE) --no-print-directory all
	tests/deploy/static.sh $(O)/senetd
	tests/deploy/fleet.py --senetd $(O)/senetd

# And with the demo model, throughput measured, and the images by a Docker engine. Root.
test-deploy: check-deploy
	@$(MAKE) --no-print-directory deps PACKAGES="$(ENGINE_TOOLS)"
	tests/deploy/fleet.py --senetd $(O)/senetd --weights weights/demo --throughput
	tests/deploy/docker.sh
