# Two images: `runtime` without weights (docker build --target runtime), and the default with the
# demo model. docker build -t senetd . && docker run --rm -p 8080:8080 senetd
#
# One binary serves all CPUs of an architecture: kernels are chosen when it starts. The packages of
# the runtime stage are those that the linked binary asks for, as dpkg-shlibdeps finds them; of
# OpenBLAS' package the LAPACK and BLAS interfaces go, which nothing here is linked with.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
WORKDIR /src
COPY Makefile ./
COPY deploy/deploy.mk deploy/
RUN apt-get update && apt-get install -y --no-install-recommends make && make deps
COPY . .
RUN make install DESTDIR=/stage PREFIX=/usr DEFAULT_WEIGHTS=/weights/demo && \
    strip /stage/usr/bin/senetd && \
    deploy/runtime-packages.sh /stage/usr/bin/senetd >/stage/packages && cat /stage/packages

FROM ${BASE} AS runtime
COPY --from=build /stage/packages /usr/share/senetd/packages
RUN apt-get update && \
    apt-get install -y --no-install-recommends $(cat /usr/share/senetd/packages) && \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/* /var/cache/ldconfig/* \
        /var/log/* /usr/share/doc/* /usr/share/man/* /usr/share/locale/* \
        /usr/lib/*/openblas-pthread/liblapack.so.3 /usr/lib/*/openblas-pthread/libblas.so.3
COPY --from=build /stage/usr/bin/senetd /usr/bin/senetd
ARG REVISION=unknown
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="senetd" \
      org.opencontainers.image.description="SE-ResNet inference over HTTP, with excitation vectors" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# OpenBLAS would start a thread a core that nobody uses.
ENV SENETD_LISTEN=:8080 OPENBLAS_NUM_THREADS=1
# A number, so that Kubernetes can see that it is not root.
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s --retries=3 \
    CMD ["/usr/bin/senetd", "health"]
ENTRYPOINT ["/usr/bin/senetd"]

# Models of your own: -v $PWD/mymodel:/weights/mymodel:ro -e SENETD_WEIGHTS=/weights/mymodel.
# No VOLUME line: it would copy the 50 MB below into a fresh volume at every start.
FROM runtime AS demo
COPY weights/demo /weights/demo
